// A message of mine being rewritten in place.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Channel, Message } from "../../api/types";
import { notifyError } from "../../store/notices";
import { useApp } from "../context";
import { focusComposer, overlay, stopEdit } from "../layout";
import { fromWire, toWire } from "./completion";
import { TextField } from "./TextField";

export function EditBox({ message, channel }: { message: Message; channel: Channel }) {
  const app = useApp();
  const { state } = app;
  const field = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(() =>
    fromWire(message.content, (id) => state.users.peek(id), (id) => state.channels.peek(id)),
  );
  useLayoutEffect(() => {
    const element = field.current;
    element?.focus();
    element?.setSelectionRange(element.value.length, element.value.length);
  }, []);
  const close = (): void => {
    stopEdit(channel.id);
    focusComposer();
  };
  const submit = async (): Promise<void> => {
    const content = toWire(text.trim(), mentionable(), channel.guild_id ? state.channelsOf(channel.guild_id) : []);
    if (content === "") {
      overlay.value = { kind: "delete", message };
      return;
    }
    if (content === message.content) return close();
    try {
      await app.edit(message, content);
      close();
    } catch (error) {
      notifyError(error);
    }
  };
  const mentionable = () => (channel.guild_id ? state.members(channel.guild_id).values().map((one) => one.user) : (channel.recipients ?? []));
  return (
    <div class="edit-box">
      <TextField
        channel={channel}
        value={text}
        label="Edit the message"
        field={field}
        onInput={setText}
        onSubmit={() => void submit()}
        onKey={(event) => {
          if (event.key !== "Escape") return false;
          close();
          return true;
        }}
      />
      <p class="hint">
        Escape to{" "}
        <button type="button" class="link" onClick={close}>
          cancel
        </button>
        , Enter to{" "}
        <button type="button" class="link" onClick={() => void submit()}>
          save
        </button>
      </p>
    </div>
  );
}
