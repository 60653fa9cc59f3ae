// What the conversation shows, as a list of rows: days, the line "new messages", messages (grouped by author) and
// what is still on its way. Pure: messages in, rows out, oldest first. Keys stay the same while a row means the same.
import type { Id, Message } from "../api/types";
import { MessageType } from "../api/types";
import type { Pending } from "./outbox";
import { isNewer } from "./snowflake";

/** Messages of one author closer together than this share one heading, in milliseconds. */
export const GROUP_WITHIN_MS = 7 * 60_000;

export type Row =
  | { readonly kind: "day"; readonly key: string; readonly timeMs: number }
  | { readonly kind: "new"; readonly key: string }
  | { readonly kind: "message"; readonly key: string; readonly message: Message; readonly isGrouped: boolean }
  | { readonly kind: "pending"; readonly key: string; readonly pending: Pending; readonly isGrouped: boolean };

/** True for the keys of messages: they stay between the same neighbors, whatever loads around them. */
export function isMessageKey(key: string): boolean {
  return /^(?:pending:)?\d+$/.test(key);
}

interface Previous {
  readonly authorId: Id;
  readonly timeMs: number;
  readonly isPlain: boolean;
}

function dayKey(timeMs: number): string {
  const date = new Date(timeMs);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

function continues(previous: Previous | null, authorId: Id, timeMs: number): boolean {
  return previous !== null && previous.isPlain && previous.authorId === authorId && timeMs - previous.timeMs < GROUP_WITHIN_MS;
}

export function isPlainMessage(message: Message): boolean {
  return message.type === MessageType.Default || message.type === MessageType.Reply;
}

/** `newAfter` places the line before the first message newer than it; null leaves it out. */
export function buildRows(messages: readonly Message[], pending: readonly Pending[], newAfter: Id | null): Row[] {
  const rows: Row[] = [];
  let previous: Previous | null = null;
  let day = "";
  let hasNewLine = newAfter === null;
  const startDay = (timeMs: number): void => {
    const key = dayKey(timeMs);
    if (key === day) return;
    day = key;
    previous = null;
    rows.push({ kind: "day", key: `day:${key}`, timeMs });
  };
  for (const message of messages) {
    const timeMs = Date.parse(message.timestamp);
    startDay(timeMs);
    if (!hasNewLine && isNewer(message.id, newAfter)) {
      hasNewLine = true;
      previous = null;
      rows.push({ kind: "new", key: "new" });
    }
    const isPlain = isPlainMessage(message);
    const isGrouped = isPlain && message.type !== MessageType.Reply && continues(previous, message.author.id, timeMs);
    rows.push({ kind: "message", key: message.id, message, isGrouped });
    previous = { authorId: message.author.id, timeMs, isPlain };
  }
  for (const one of pending) {
    startDay(one.createdAtMs);
    const isGrouped = one.replyTo === null && continues(previous, one.authorId, one.createdAtMs);
    rows.push({ kind: "pending", key: `pending:${one.nonce}`, pending: one, isGrouped });
    previous = { authorId: one.authorId, timeMs: one.createdAtMs, isPlain: true };
  }
  return rows;
}
