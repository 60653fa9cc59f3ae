// What is open on the screen: dialogs, drawers, the composer's mode. Nothing here leaves the page.
import { signal } from "@preact/signals";
import type { Channel, Id, Message, User } from "../api/types";
import { load, save } from "../store/storage";
import { Table } from "../store/table";

export type Overlay =
  | { kind: "create-guild" }
  | { kind: "join-guild" }
  | { kind: "create-channel"; guild: Id }
  | { kind: "invite"; channel: Channel }
  | { kind: "delete"; message: Message }
  | { kind: "person"; user: User; guild: Id | null }
  | { kind: "keys" }
  | { kind: "switcher" }
  | { kind: "settings" };

export const overlay = signal<Overlay | null>(null);

/** Which column covers the conversation on a narrow screen. */
export const drawer = signal<"places" | "members" | null>(null);

export const showsMembers = signal(load("members", true));
export function toggleMembers(): void {
  if (isNarrow.value) drawer.value = drawer.value === "members" ? null : "members";
  else save("members", (showsMembers.value = !showsMembers.value));
}

function watchMedia(query: string) {
  const media = matchMedia(query);
  const matches = signal(media.matches);
  media.addEventListener("change", () => (matches.value = media.matches));
  return matches;
}

/** Columns are drawers below this width. */
export const isNarrow = watchMedia("(max-width: 899px)");
/** A finger, not a mouse: focus is not moved into a field unasked, since that opens the keyboard. */
export const isTouch = watchMedia("(pointer: coarse)");

export type Theme = "system" | "dark" | "light";
export const theme = signal<Theme>(load<Theme>("theme", "system"));
export function setTheme(next: Theme): void {
  theme.value = next;
  save("theme", next === "system" ? null : next);
  if (next === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = next;
}

/** Whether new messages are read out by a screen reader. */
export const announces = signal(load("announces", true));
export function setAnnounces(next: boolean): void {
  announces.value = next;
  save("announces", next);
}

/** What the composer of a channel is doing besides writing. */
export interface Composing {
  readonly replyTo: Message | null;
  readonly editing: Id | null;
}
const WRITING: Composing = { replyTo: null, editing: null };
const composing = new Table<Id, Composing>();

export function composingIn(channel: Id): Composing {
  return composing.get(channel) ?? WRITING;
}
export function startReply(message: Message): void {
  composing.set(message.channel_id, { replyTo: message, editing: null });
  focusComposer();
}
export function startEdit(message: Message): void {
  composing.set(message.channel_id, { ...composingIn(message.channel_id), editing: message.id });
}
export function stopEdit(channel: Id): void {
  composing.set(channel, { ...composingIn(channel), editing: null });
}
export function stopReply(channel: Id): void {
  composing.set(channel, { ...composingIn(channel), replyTo: null });
}

/** Raised to move the focus into the composer. */
export const composerFocus = signal(0);
export function focusComposer(): void {
  composerFocus.value++;
}

/** Raised to bring the newest messages in sight. */
export const presentWanted = signal(0);

/** A message to bring in sight; `count` makes a repeated jump to the same message a new one. */
export const jump = signal<{ readonly channel: Id; readonly message: Id; readonly count: number } | null>(null);
export function jumpTo(channel: Id, message: Id): void {
  jump.value = { channel, message, count: (jump.peek()?.count ?? 0) + 1 };
}
