// A person or guild as initials on a color of their own, the same on every device: the id chooses it.
// The initials are drawn by the stylesheet: they are decoration beside the name, not text.
import type { Id, Status } from "../api/types";

const COLORS = 10;

function colorOf(id: Id): number {
  // FNV-1a with a last mix: ids of one day differ in few digits.
  let hash = 0x811c9dc5;
  for (const digit of id) hash = Math.imul(hash ^ digit.charCodeAt(0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) % COLORS;
}

/** Up to two letters: the first of the first two words, or the first of the only one. */
export function initials(name: string): string {
  const words = name.split(/[\s_.-]+/).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const letters = words.slice(0, 2).map((word) => [...word].find((one) => /[\p{L}\p{N}]/u.test(one)) ?? "");
  return letters.join("").toUpperCase() || "?";
}

const STATUS_WORDS: Record<Status, string> = {
  online: "online",
  idle: "idle",
  dnd: "do not disturb",
  offline: "offline",
  invisible: "offline",
};

export function statusWord(status: Status): string {
  return STATUS_WORDS[status];
}

export function Avatar({ id, name, size, status }: { id: Id; name: string; size: 16 | 32 | 40 | 80; status?: Status | undefined }) {
  return (
    <span class={`avatar avatar-${size} tint-${colorOf(id)}`} data-initials={initials(name)} aria-hidden="true">
      {status && <span class={`status status-${status}`} />}
    </span>
  );
}

export function GuildTile({ id, name }: { id: Id; name: string }) {
  return <span class={`tile tint-${colorOf(id)}`} data-initials={initials(name)} aria-hidden="true" />;
}
