// A message of mine on its way: greyed until the server has it, with a word when that takes long, red with a choice when
// it did not get there.
import { useEffect, useState } from "preact/hooks";
import type { Pending } from "../../store/outbox";
import { Markdown } from "../../markdown/Markdown";
import { Avatar } from "../Avatar";
import { useApp } from "../context";
import { memo } from "../memo";
import { formatHeading } from "../time";
import { mentionResolver } from "./mentions";

/** A message that is on its way for longer is said to wait. */
const PATIENCE_MS = 1_500;

export const PendingRow = memo<{ pending: Pending; rowKey: string; isGrouped: boolean }>(({ pending, rowKey, isGrouped }) => {
  const app = useApp();
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    setLate(false);
    if (pending.state !== "sending") return;
    const timer = setTimeout(() => setLate(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [pending.nonce, pending.state]);
  const channel = app.state.channels.get(pending.channelId);
  const author = app.state.users.get(pending.authorId);
  if (!channel || !author) return <li data-key={rowKey} class="message" />;
  const name = app.state.nameOf(author, channel.guild_id);
  const hasFailed = pending.state === "failed";
  return (
    <li class={`message ${isGrouped ? "message-grouped" : ""} ${hasFailed ? "message-failed" : "message-sending"}`} data-key={rowKey} tabIndex={-1}>
      <div class="message-side">{!isGrouped && <Avatar id={author.id} name={name} size={40} />}</div>
      <div class="message-body">
        {!isGrouped && (
          <div class="message-head">
            <span class="author">{name}</span>
            <time>{formatHeading(pending.createdAtMs, Date.now())}</time>
          </div>
        )}
        <Markdown text={pending.content} mentions={mentionResolver(app, channel)} />
        {!hasFailed && isLate && (
          <p class="waiting" role="status">
            Waiting for the server…
          </p>
        )}
        {hasFailed && (
          <p class="failure" role="alert">
            <span>Not sent. {pending.error}</span>
            <button type="button" class="link" onClick={() => app.mailer.retry(pending)}>
              Retry
            </button>
            <button type="button" class="link" onClick={() => app.mailer.discard(pending)}>
              Discard
            </button>
          </p>
        )}
      </div>
    </li>
  );
});
