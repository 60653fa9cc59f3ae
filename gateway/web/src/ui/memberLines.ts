// The lines of the member column: by hoisted role, then online, then offline, by name inside each.
//
// A large guild changes all the time: members arrive in chunks of a thousand, presences one by one. Names are sorted once
// per set of members, statuses are looked up in one pass, and either happens at most four times a second.
import { effect, untracked } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import type { Member, Role, Status } from "../api/types";
import type { Guild, State } from "../store/state";

export type Line =
  | { readonly heading: string; readonly count: number }
  | { readonly member: Member; readonly name: string; readonly status: Status };

interface Named {
  readonly member: Member;
  readonly name: string;
}

const EVERY_MS = 250;
const collator = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });

export function sortByName(members: readonly Member[]): Named[] {
  const named = members.map((member) => ({ member, name: member.nick ?? member.user.global_name ?? member.user.username }));
  return named.sort((a, b) => collator.compare(a.name, b.name));
}

export function groupMembers(sorted: readonly Named[], roles: ReadonlyMap<string, Role>, statusOf: (id: string) => Status): Line[] {
  const hoisted = [...roles.values()].filter((role) => role.hoist).sort((a, b) => b.position - a.position);
  const groups = new Map<string, Line[]>([...hoisted.map((role) => role.id), "online", "offline"].map((key) => [key, []]));
  for (const { member, name } of sorted) {
    const status = statusOf(member.user.id);
    const isOffline = status === "offline" || status === "invisible";
    const role = isOffline ? undefined : hoisted.find((one) => member.roles.includes(one.id));
    groups.get(isOffline ? "offline" : (role?.id ?? "online"))?.push({ member, name, status });
  }
  const title = (key: string): string => (key === "online" ? "Online" : key === "offline" ? "Offline" : (roles.get(key)?.name ?? key));
  return [...groups].flatMap(([key, lines]) => (lines.length === 0 ? [] : [{ heading: title(key), count: lines.length }, ...lines]));
}

export function useMemberLines(state: State, guild: Guild): readonly Line[] {
  const [lines, setLines] = useState<readonly Line[]>([]);
  useEffect(() => {
    const members = state.members(guild.id);
    let sorted: Named[] = [];
    let isSorted = false;
    let timer = 0;
    const draw = (): void => {
      timer = 0;
      if (!isSorted) sorted = sortByName(members.peekValues());
      isSorted = true;
      setLines(groupMembers(sorted, guild.roles, (id) => state.presences.peek(id) ?? "offline"));
    };
    const later = (): void => {
      if (timer === 0) timer = window.setTimeout(draw, EVERY_MS);
    };
    const stops = [
      effect(() => {
        members.watch();
        isSorted = false;
        untracked(later);
      }),
      effect(() => {
        state.presences.watch();
        untracked(later);
      }),
    ];
    draw();
    return () => {
      window.clearTimeout(timer);
      for (const stop of stops) stop();
    };
  }, [state, guild.id, guild.roles]);
  return lines;
}
