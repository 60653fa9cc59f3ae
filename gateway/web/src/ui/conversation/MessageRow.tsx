// One message: who, when, what, and what can be done with it.
import { useState } from "preact/hooks";
import type { Channel, Message } from "../../api/types";
import { MessageType } from "../../api/types";
import { Markdown } from "../../markdown/Markdown";
import { plainText } from "../../markdown/parse";
import { mentionsMe } from "../../store/dispatch";
import { isPlainMessage } from "../../store/rows";
import { Avatar } from "../Avatar";
import { useApp } from "../context";
import { ReplyIcon } from "../icons";
import { jumpTo, overlay } from "../layout";
import { memo } from "../memo";
import { formatClock, formatFull, formatHeading } from "../time";
import { Attachments, Embeds } from "./Attachments";
import { EditBox } from "./EditBox";
import { mentionName, mentionResolver } from "./mentions";
import { MessageTools } from "./MessageTools";
import { Reactions } from "./Reactions";

interface Props {
  message: Message;
  channel: Channel;
  isGrouped: boolean;
  isEditing: boolean;
  isFlashing: boolean;
}

export const MessageRow = memo<Props>(({ message, channel, isGrouped, isEditing, isFlashing }) => {
  const app = useApp();
  const [isPicking, setPicking] = useState(false);
  // The tools are made when they are needed: most rows pass by unused.
  const [isPointed, setPointed] = useState(false);
  const [hasFocus, setFocus] = useState(false);
  if (!isPlainMessage(message)) return <SystemRow message={message} channel={channel} />;
  const timeMs = Date.parse(message.timestamp);
  const name = app.state.nameOf(message.author, channel.guild_id);
  const classes = ["message"];
  if (isGrouped) classes.push("message-grouped");
  if (mentionsMe(app.state, channel, message) && channel.guild_id) classes.push("message-mention");
  if (isFlashing) classes.push("message-flash");
  if (isPicking || isEditing) classes.push("message-active");
  const person = (): void => void (overlay.value = { kind: "person", user: message.author, guild: channel.guild_id ?? null });
  const edited = message.edited_timestamp ? (
    <span class="edited" title={formatFull(Date.parse(message.edited_timestamp))}>
      (edited)
    </span>
  ) : null;
  return (
    <li
      class={classes.join(" ")}
      data-key={message.id}
      tabIndex={-1}
      onPointerEnter={() => setPointed(true)}
      onPointerLeave={() => setPointed(false)}
      onFocusIn={() => setFocus(true)}
      onFocusOut={(event) => setFocus(event.currentTarget.contains(event.relatedTarget as Node | null))}
    >
      {message.type === MessageType.Reply && <Quote message={message} channel={channel} />}
      <div class="message-side">
        {isGrouped ? (
          <time class="message-clock" dateTime={message.timestamp} title={formatFull(timeMs)}>
            {formatClock(timeMs)}
          </time>
        ) : (
          <Avatar id={message.author.id} name={name} size={40} />
        )}
      </div>
      <div class="message-body">
        {!isGrouped && (
          <div class="message-head">
            <button type="button" class="author" onClick={person}>
              {name}
            </button>
            {message.author.bot && <span class="badge">Bot</span>}
            <time dateTime={message.timestamp} title={formatFull(timeMs)}>
              {formatHeading(timeMs, Date.now())}
            </time>
          </div>
        )}
        {isEditing ? (
          <EditBox message={message} channel={channel} />
        ) : (
          (message.content !== "" || edited) && <Markdown text={message.content} mentions={mentionResolver(app, channel)} suffix={edited} />
        )}
        <Attachments list={message.attachments ?? []} />
        <Embeds list={message.embeds ?? []} mentions={mentionResolver(app, channel)} />
        <Reactions message={message} channel={channel} />
      </div>
      {!isEditing && (isPointed || hasFocus || isPicking) && <MessageTools message={message} channel={channel} onPicking={setPicking} isPicking={isPicking} />}
    </li>
  );
});

/** The one line of the message that this one answers; a click goes there. */
function Quote({ message, channel }: { message: Message; channel: Channel }) {
  const app = useApp();
  const id = message.message_reference?.message_id;
  const quoted = message.referenced_message ?? app.state.history(channel.id).value.messages.find((one) => one.id === id);
  if (!quoted) {
    return (
      <div class="quote">
        <ReplyIcon />
        <span>{id && message.referenced_message === undefined ? <QuoteLink channel={channel} id={id} /> : <em>The original message was deleted.</em>}</span>
      </div>
    );
  }
  const text = plainText(quoted.content, (mention) => mentionName(app, channel, mention));
  return (
    <div class="quote">
      <ReplyIcon />
      <button type="button" onClick={() => jumpTo(channel.id, quoted.id)} title="Go to this message">
        <Avatar id={quoted.author.id} name={app.state.nameOf(quoted.author, channel.guild_id)} size={16} />
        <strong>{app.state.nameOf(quoted.author, channel.guild_id)}</strong>
        <span>{text || "(no text)"}</span>
      </button>
    </div>
  );
}

function QuoteLink({ channel, id }: { channel: Channel; id: string }) {
  return (
    <button type="button" onClick={() => jumpTo(channel.id, id)}>
      <span>Go to the message this answers</span>
    </button>
  );
}

function SystemRow({ message, channel }: { message: Message; channel: Channel }) {
  const { state } = useApp();
  const name = state.nameOf(message.author, channel.guild_id);
  const timeMs = Date.parse(message.timestamp);
  return (
    <li class="message message-system" data-key={message.id} tabIndex={-1}>
      <div class="message-side" aria-hidden="true">
        →
      </div>
      <div class="message-body">
        <strong>{name}</strong> {message.type === MessageType.MemberJoin ? "joined." : message.content}{" "}
        <time dateTime={message.timestamp} title={formatFull(timeMs)}>
          {formatHeading(timeMs, Date.now())}
        </time>
      </div>
    </li>
  );
}
