// Where messages are written. Drafts are kept per channel, also across a reload.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Channel } from "../../api/types";
import { ChannelType } from "../../api/types";
import { Permission } from "../../store/permissions";
import { load, save } from "../../store/storage";
import { useApp } from "../context";
import { CloseIcon, SendIcon, SmileIcon } from "../icons";
import { composerFocus, composingIn, isTouch, presentWanted, startEdit, stopReply } from "../layout";
import { toWire } from "./completion";
import { LazyPicker } from "./MessageTools";
import { TextField } from "./TextField";

/** The longest message the server takes, in characters. */
export const CONTENT_MAX = 2_000;
/** From here on the characters that are left are shown. */
const COUNT_FROM = 1_800;

export function Composer({ channel }: { channel: Channel }) {
  const { state } = useApp();
  if (!state.may(channel, Permission.SendMessages)) {
    return <div class="composer composer-closed">You may read this channel, but not write in it.</div>;
  }
  return <OpenComposer key={channel.id} channel={channel} />;
}

function OpenComposer({ channel }: { channel: Channel }) {
  const app = useApp();
  const { state } = app;
  const field = useRef<HTMLTextAreaElement>(null);
  const emojiButton = useRef<HTMLButtonElement>(null);
  const [text, setText] = useState(() => load(`draft.${channel.id}`, ""));
  const [isPicking, setPicking] = useState(false);
  const { replyTo } = composingIn(channel.id);
  const name = channel.type === ChannelType.Direct ? state.channelName(channel) : `#${state.channelName(channel)}`;
  const left = CONTENT_MAX - [...text].length;

  useLayoutEffect(() => {
    if (!isTouch.peek()) field.current?.focus();
  }, [channel.id]);
  const asked = composerFocus.value;
  useEffect(() => {
    if (asked > 0) field.current?.focus();
  }, [asked]);

  const write = (value: string): void => {
    setText(value);
    save(`draft.${channel.id}`, value === "" ? null : value);
    if (value.trim() !== "") app.typed(channel.id);
  };
  const submit = (): void => {
    const content = text.trim();
    if (content === "" || left < 0) return;
    const users = channel.guild_id ? state.members(channel.guild_id).values().map((one) => one.user) : (channel.recipients ?? []);
    presentWanted.value++;
    app.send(channel.id, toWire(content, users, channel.guild_id ? state.channelsOf(channel.guild_id) : []), replyTo?.id ?? null);
    setText("");
    save(`draft.${channel.id}`, null);
    stopReply(channel.id);
    field.current?.focus();
  };
  const key = (event: KeyboardEvent): boolean => {
    if (event.key === "Escape") {
      if (replyTo) stopReply(channel.id);
      else markRead();
      return true;
    }
    if (event.key === "ArrowUp" && text === "") return editLast();
    return false;
  };
  const markRead = (): void => {
    state.newLines.delete(channel.id);
    app.acknowledge(channel.id);
  };
  const editLast = (): boolean => {
    const mine = state.history(channel.id).value.messages.findLast((one) => one.author.id === state.me.value?.id);
    if (!mine) return false;
    startEdit(mine);
    return true;
  };
  const pick = (emoji: string): void => {
    setPicking(false);
    const at = field.current?.selectionStart ?? text.length;
    write(text.slice(0, at) + emoji + text.slice(at));
    field.current?.focus();
  };

  return (
    <form
      class="composer"
      aria-label={`Write to ${name}`}
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {replyTo && (
        <div class="replying">
          <span>
            Replying to <strong>{state.nameOf(replyTo.author, channel.guild_id)}</strong>
          </span>
          <button type="button" class="icon-button icon-small" aria-label="Do not reply" onClick={() => stopReply(channel.id)}>
            <CloseIcon />
          </button>
        </div>
      )}
      <div class={replyTo ? "composer-box composer-box-joined" : "composer-box"}>
        <TextField channel={channel} value={text} label={`Message ${name}`} placeholder={`Message ${name}`} field={field} onInput={write} onSubmit={submit} onKey={key} />
        {left <= CONTENT_MAX - COUNT_FROM && (
          <span class={left < 0 ? "count count-over" : "count"} role="status">
            {left}
          </span>
        )}
        <button ref={emojiButton} type="button" class="icon-button" aria-label="Insert an emoji" title="Insert an emoji" aria-expanded={isPicking} onClick={() => setPicking(!isPicking)}>
          <SmileIcon />
        </button>
        <button type="submit" class="icon-button send" aria-label="Send" title="Send" disabled={text.trim() === "" || left < 0}>
          <SendIcon />
        </button>
      </div>
      {isPicking && <LazyPicker anchor={emojiButton.current} onPick={pick} onClose={() => setPicking(false)} />}
    </form>
  );
}
