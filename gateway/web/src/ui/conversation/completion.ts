// Completion of names while writing, and the way between what people write (@ada, #general) and what travels (<@id>).
// Pure.
import type { Channel, Id, User } from "../../api/types";

export interface Candidate {
  readonly id: Id;
  /** What stands in the text, without the sigil. */
  readonly text: string;
  /** What the list shows besides. */
  readonly hint: string;
}

export interface Query {
  readonly sigil: "@" | "#" | ":";
  readonly prefix: string;
  /** Where the sigil stands. */
  readonly start: number;
}

export const CANDIDATES_MAX = 8;

/** The name being written at the caret, if one is. */
export function queryAt(text: string, caret: number): Query | null {
  // An emoji wants two letters: ":)" and "3:4" are no names.
  const match = /(?:^|[\s(])(?:([@#])([^\s@#]{0,32})|(:)([a-z]{2,32}))$/.exec(text.slice(0, caret));
  if (!match) return null;
  const prefix = match[2] ?? match[4] ?? "";
  return { sigil: (match[1] ?? match[3]) as Query["sigil"], prefix, start: caret - prefix.length - 1 };
}

/** Names that begin with the prefix come before names that contain it. */
export function candidates(prefix: string, all: Iterable<Candidate>): Candidate[] {
  const wanted = prefix.toLowerCase();
  const first: Candidate[] = [];
  const second: Candidate[] = [];
  for (const one of all) {
    const text = one.text.toLowerCase();
    if (text.startsWith(wanted)) first.push(one);
    else if (text.includes(wanted) || one.hint.toLowerCase().includes(wanted)) second.push(one);
    if (first.length >= CANDIDATES_MAX) break;
  }
  return [...first, ...second].slice(0, CANDIDATES_MAX);
}

const WORD_END = "(?![\\p{L}\\p{N}_-])";

function escapeForPattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Replaces written names by references, outside of code. Longer names win over their beginnings. */
export function toWire(text: string, users: readonly User[], channels: readonly Channel[]): string {
  if (!/[@#]/.test(text)) return text;
  const byText = new Map<string, string>();
  for (const user of users) byText.set(`@${user.username.toLowerCase()}`, `<@${user.id}>`);
  for (const channel of channels) if (channel.name) byText.set(`#${channel.name.toLowerCase()}`, `<#${channel.id}>`);
  const written = [...byText.keys()].filter((one) => text.toLowerCase().includes(one)).sort((a, b) => b.length - a.length);
  if (written.length === 0) return text;
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}<])(?:${written.map(escapeForPattern).join("|")})${WORD_END}`, "giu");
  return text
    .split(/(```[^]*?```|`[^`\n]*`)/)
    .map((part, index) => (index % 2 === 1 ? part : part.replace(pattern, (found) => byText.get(found.toLowerCase()) ?? found)))
    .join("");
}

/** The other way, for editing. References to the unknown stay as they are. */
export function fromWire(text: string, userOf: (id: Id) => User | undefined, channelOf: (id: Id) => Channel | undefined): string {
  return text.replace(/<(@!?|#)(\d+)>/g, (whole, sigil: string, id: Id) => {
    const name = sigil === "#" ? channelOf(id)?.name : userOf(id)?.username;
    return name ? `${sigil[0]}${name}` : whole;
  });
}
