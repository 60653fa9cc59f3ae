// The members of a guild: by hoisted role, then online, then offline. Rows are of one height and drawn only in sight,
// so that a guild of a hundred thousand costs what a guild of ten costs.
import { computed } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Member, Role, Status } from "../api/types";
import type { App } from "../store/app";
import type { Guild } from "../store/state";
import { Avatar, statusWord } from "./Avatar";
import { useApp } from "./context";
import { CloseIcon } from "./icons";
import { drawer, isNarrow, overlay } from "./layout";
import { useRoving } from "./roving";

const ROW_PX = 44;
const OVERSCAN_ROWS = 10;

type Line = { readonly heading: string; readonly count: number } | { readonly member: Member; readonly name: string; readonly status: Status };

export function groupMembers(members: readonly Member[], roles: ReadonlyMap<string, Role>, statusOf: (id: string) => Status, nameOf: (member: Member) => string): Line[] {
  const hoisted = [...roles.values()].filter((role) => role.hoist).sort((a, b) => b.position - a.position);
  const groups = new Map<string, Line[]>(hoisted.map((role) => [role.id, []]));
  groups.set("online", []).set("offline", []);
  for (const member of members) {
    const status = statusOf(member.user.id);
    const isOffline = status === "offline" || status === "invisible";
    const role = isOffline ? undefined : hoisted.find((one) => member.roles.includes(one.id));
    groups.get(isOffline ? "offline" : (role?.id ?? "online"))?.push({ member, name: nameOf(member), status });
  }
  const title = (key: string): string => (key === "online" ? "Online" : key === "offline" ? "Offline" : (roles.get(key)?.name ?? key));
  const collator = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });
  return [...groups].flatMap(([key, lines]) => {
    if (lines.length === 0) return [];
    const sorted = lines.sort((a, b) => ("name" in a && "name" in b ? collator.compare(a.name, b.name) : 0));
    return [{ heading: title(key), count: lines.length }, ...sorted];
  });
}

function linesOf(app: App, guild: Guild): Line[] {
  const { state } = app;
  return groupMembers(
    state.members(guild.id).values(),
    guild.roles,
    (id) => state.presences.get(id) ?? "offline",
    (member) => member.nick ?? member.user.global_name ?? member.user.username,
  );
}

export function MemberColumn({ guild }: { guild: Guild }) {
  const app = useApp();
  const scroll = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const [top, setTop] = useState(0);
  const lines = useMemo(() => computed(() => linesOf(app, guild)), [app, guild]).value;
  useRoving(list, "button.member");
  useEffect(() => app.askMembers(guild.id), [app, guild.id]);
  const height = scroll.current?.clientHeight ?? 1_000;
  const start = Math.max(0, Math.floor(top / ROW_PX) - OVERSCAN_ROWS);
  const end = Math.min(lines.length, Math.ceil((top + height) / ROW_PX) + OVERSCAN_ROWS);
  return (
    <aside class="members" aria-label="Members">
      {!isNarrow.value && <h2 class="visually-hidden">Members</h2>}
      {isNarrow.value && (
        <header class="column-head">
          <h2>Members</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={() => (drawer.value = null)}>
            <CloseIcon />
          </button>
        </header>
      )}
      <div class="column-scroll" ref={scroll} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        <ul ref={list} style={{ paddingTop: `${start * ROW_PX}px`, paddingBottom: `${(lines.length - end) * ROW_PX}px` }}>
          {lines.slice(start, end).map((line) => (
            <LineView key={"heading" in line ? line.heading : line.member.user.id} line={line} guild={guild} />
          ))}
        </ul>
      </div>
    </aside>
  );
}

function LineView({ line, guild }: { line: Line; guild: Guild }) {
  if ("heading" in line) {
    return (
      <li class="member-heading">
        <h3>
          {line.heading} <span>{line.count}</span>
        </h3>
      </li>
    );
  }
  const { user } = line.member;
  const isAway = line.status === "offline" || line.status === "invisible";
  return (
    <li>
      <button
        type="button"
        class={isAway ? "member member-away" : "member"}
        onClick={() => (overlay.value = { kind: "person", user, guild: guild.id })}
      >
        <Avatar id={user.id} name={line.name} size={32} status={line.status} />
        <span class="member-name">{line.name}</span>
        {user.bot && <span class="badge">Bot</span>}
        {guild.ownerId === user.id && <span class="badge badge-plain">Owner</span>}
        <span class="visually-hidden">, {statusWord(line.status)}</span>
      </button>
    </li>
  );
}
