// Ids: 64-bit numbers as decimal strings; the upper 42 bits are milliseconds since 2015-01-01.
// They are compared as strings (length first), because a JavaScript number cannot hold them.
import type { Id } from "../api/types";

const EPOCH_MS = 1_420_070_400_000n;

/** Negative, zero or positive, as `a` is older than, the same as, or newer than `b`. */
export function compareIds(a: Id, b: Id): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

export function isNewer(a: Id | null | undefined, b: Id | null | undefined): boolean {
  return compareIds(a ?? "0", b ?? "0") > 0;
}

/** When the id was minted, in milliseconds since 1970. */
export function timeOfId(id: Id): number {
  return Number((BigInt(id) >> 22n) + EPOCH_MS);
}

/** The smallest id minted at that time. */
export function idAtTime(ms: number): Id {
  const elapsed = BigInt(Math.max(0, Math.floor(ms))) - EPOCH_MS;
  return String((elapsed > 0n ? elapsed : 0n) << 22n);
}

/** A nonce for one send: unique per tab and attempt, short enough for the server's 25 characters. */
export function mintNonce(nowMs: number, random: () => number): string {
  return String((BigInt(idAtTime(nowMs)) | BigInt(Math.floor(random() * 4_194_304))).toString());
}
