// Messages on their way to the server. They wait in the local store, so that a reload loses none; the nonce makes a
// repeated send the same message. Pure, except for `restore` and `persist`.
import type { Id } from "../api/types";
import { load, save } from "./storage";

const KEY = "outbox";
/** More than this many unsent messages are not kept across a reload. */
const KEPT_MAX = 50;

export interface Pending {
  readonly nonce: string;
  readonly channelId: Id;
  readonly authorId: Id;
  readonly content: string;
  readonly replyTo: Id | null;
  readonly createdAtMs: number;
  readonly state: "sending" | "failed";
  readonly error: string | null;
}

export type Outbox = readonly Pending[];

/** What was unsent when the page closed counts as failed: the person decides whether it is still worth saying. */
export function restore(): Outbox {
  const kept = load<Pending[]>(KEY, []);
  if (!Array.isArray(kept)) return [];
  return kept.map((one) => ({ ...one, state: "failed", error: one.error ?? "The page was closed before this was sent." }));
}

export function persist(outbox: Outbox): void {
  save(KEY, outbox.length > 0 ? outbox.slice(-KEPT_MAX) : null);
}

export function added(outbox: Outbox, pending: Pending): Outbox {
  return [...outbox, pending];
}

export function removed(outbox: Outbox, nonce: string): Outbox {
  return outbox.some((one) => one.nonce === nonce) ? outbox.filter((one) => one.nonce !== nonce) : outbox;
}

export function marked(outbox: Outbox, nonce: string, state: Pending["state"], error: string | null): Outbox {
  return outbox.map((one) => (one.nonce === nonce ? { ...one, state, error } : one));
}
