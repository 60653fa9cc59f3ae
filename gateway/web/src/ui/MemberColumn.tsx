// The members of a guild: by hoisted role, then online, then offline. Rows are of one height and drawn only in sight,
// so that a guild of a hundred thousand costs what a guild of ten costs.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Guild } from "../store/state";
import { Avatar, statusWord } from "./Avatar";
import { useApp } from "./context";
import { CloseIcon } from "./icons";
import { drawer, isNarrow, overlay } from "./layout";
import { type Line, useMemberLines } from "./memberLines";
import { useRoving } from "./roving";

const ROW_PX = 44;
const OVERSCAN_ROWS = 10;

export function MemberColumn({ guild }: { guild: Guild }) {
  const app = useApp();
  const scroll = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const [top, setTop] = useState(0);
  const lines = useMemberLines(app.state, guild);
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
