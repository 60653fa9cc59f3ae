// Reads the newest message of the open channel out to a screen reader, unless silenced in the settings.
import { useEffect, useRef, useState } from "preact/hooks";
import { plainText } from "../markdown/parse";
import { useApp } from "./context";
import { mentionName } from "./conversation/mentions";
import { announces } from "./layout";
import type { Id } from "../api/types";

export function LiveRegion() {
  const app = useApp();
  const { state } = app;
  const [text, setText] = useState("");
  const said = useRef<{ channel: Id; message: Id } | null>(null);
  const channelId = state.openChannel.value;
  const history = channelId ? state.history(channelId).value : null;
  const newest = history?.hasNewer ? undefined : history?.messages.at(-1);
  useEffect(() => {
    const before = said.current;
    if (channelId && newest) said.current = { channel: channelId, message: newest.id };
    const channel = channelId ? state.channels.peek(channelId) : undefined;
    // The first sight of a channel is not news.
    if (!announces.value || !channel || !newest || before?.channel !== channelId || before.message === newest.id) return;
    if (newest.author.id === state.me.peek()?.id) return;
    const words = plainText(newest.content, (mention) => mentionName(app, channel, mention));
    setText(`${state.nameOf(newest.author, channel.guild_id)}: ${words}`);
  }, [channelId, newest?.id]);
  return (
    <div class="visually-hidden" aria-live="polite" role="log" aria-label="New messages">
      {text}
    </div>
  );
}
