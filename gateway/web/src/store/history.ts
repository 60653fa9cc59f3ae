// The loaded window of one channel's history: messages in ascending order of id, and whether more lies on either side.
// Every function is pure. The window holds at most WINDOW_MAX messages: a person may scroll through a million without
// the page growing, because what was left behind is dropped and loaded again on the way back.
import type { Emoji, Id, Message, Reaction } from "../api/types";
import { compareIds } from "./snowflake";

/** How many messages of one channel stay in memory. */
export const WINDOW_MAX = 400;
/** How many messages a channel opens with: two screens. */
export const FIRST_PAGE_SIZE = 50;
/** How many messages are asked for while scrolling: as many as the server gives at once. */
export const PAGE_SIZE = 100;

export interface History {
  readonly messages: readonly Message[];
  /** Older messages exist on the server that are not in the window. */
  readonly hasOlder: boolean;
  /** Newer messages exist on the server that are not in the window; live messages do not enter it then. */
  readonly hasNewer: boolean;
  /** False until the first page has arrived. */
  readonly isLoaded: boolean;
}

export const EMPTY_HISTORY: History = { messages: [], hasOlder: true, hasNewer: false, isLoaded: false };

function ascending(page: readonly Message[]): Message[] {
  return [...page].sort((a, b) => compareIds(a.id, b.id));
}

/** Position of the first message with an id >= `id`. */
export function lowerBound(messages: readonly Message[], id: Id): number {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareIds(messages[middle]!.id, id) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Puts `added` into `messages`; a message that is in both is taken from `added`. */
function union(messages: readonly Message[], added: readonly Message[]): Message[] {
  const byId = new Map(messages.map((message) => [message.id, message]));
  for (const message of added) byId.set(message.id, message);
  return ascending([...byId.values()]);
}

/** The newest page: the window starts anew, except where it already overlaps the page. */
export function withLatest(history: History, page: readonly Message[], limit: number): History {
  const latest = ascending(page);
  const oldest = latest[0];
  const last = history.messages.at(-1);
  const overlaps = history.isLoaded && !history.hasNewer && oldest && last && compareIds(oldest.id, last.id) <= 0;
  if (overlaps) {
    // Inside the page's span the page is the truth: what it lacks was deleted while nobody listened.
    const kept = history.messages.slice(0, lowerBound(history.messages, oldest.id));
    return trimOldest({ ...history, messages: union(kept, latest), hasNewer: false });
  }
  return { messages: latest, hasOlder: page.length >= limit, hasNewer: false, isLoaded: true };
}

/** A page from before the window. */
export function withOlder(history: History, page: readonly Message[], limit: number): History {
  const messages = union(history.messages, page);
  const excess = Math.max(0, messages.length - WINDOW_MAX);
  return {
    messages: excess > 0 ? messages.slice(0, WINDOW_MAX) : messages,
    hasOlder: page.length >= limit,
    hasNewer: history.hasNewer || excess > 0,
    isLoaded: true,
  };
}

/** A page from after the window. */
export function withNewer(history: History, page: readonly Message[], limit: number): History {
  return trimOldest({ ...history, messages: union(history.messages, page), hasNewer: page.length >= limit });
}

/** A page around one message; both sides may have more. */
export function withAround(page: readonly Message[]): History {
  return { messages: ascending(page), hasOlder: true, hasNewer: true, isLoaded: true };
}

/** A message that was just created. It enters the window only if the window reaches the present. */
export function withCreated(history: History, message: Message): History {
  if (!history.isLoaded || history.hasNewer) return history;
  return trimOldest({ ...history, messages: union(history.messages, [message]) });
}

export function withUpdated(history: History, id: Id, change: (message: Message) => Message): History {
  const index = lowerBound(history.messages, id);
  const found = history.messages[index];
  if (found?.id !== id) return history;
  return { ...history, messages: history.messages.with(index, change(found)) };
}

export function withDeleted(history: History, ids: readonly Id[]): History {
  const gone = new Set(ids);
  const messages = history.messages.filter((message) => !gone.has(message.id));
  return messages.length === history.messages.length ? history : { ...history, messages };
}

function trimOldest(history: History): History {
  const excess = history.messages.length - WINDOW_MAX;
  if (excess <= 0) return history;
  return { ...history, messages: history.messages.slice(excess), hasOlder: true };
}

export function sameEmoji(a: Emoji, b: Emoji): boolean {
  return a.id === b.id && (a.id !== null || a.name === b.name);
}

/** Counts one reaction of one user in (`delta` 1) or out (-1). Repeating my own changes nothing. */
export function withReaction(message: Message, emoji: Emoji, delta: 1 | -1, isMine: boolean): Message {
  const reactions = message.reactions ?? [];
  const found = reactions.find((reaction) => sameEmoji(reaction.emoji, emoji));
  if (isMine && (found?.me ?? false) === (delta > 0)) return message;
  const count = (found?.count ?? 0) + delta;
  const next: Reaction = { emoji, count, me: isMine ? delta > 0 : (found?.me ?? false) };
  if (!found) return delta > 0 ? { ...message, reactions: [...reactions, next] } : message;
  return {
    ...message,
    reactions: count > 0 ? reactions.map((one) => (one === found ? next : one)) : reactions.filter((one) => one !== found),
  };
}
