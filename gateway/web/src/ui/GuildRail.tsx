// The guilds of a person, as tiles.
import { useRef } from "preact/hooks";
import { useApp } from "./context";
import { GuildTile } from "./Avatar";
import { DirectIcon, PlusIcon } from "./icons";
import { overlay } from "./layout";
import { DIRECT, go, route } from "../store/route";
import { useRoving } from "./roving";

export function GuildRail() {
  const { state } = useApp();
  const list = useRef<HTMLElement>(null);
  useRoving(list, "button");
  const here = route.value;
  const current = here.page === "channels" ? here.guild : null;
  const directUnread = state.directs.value.filter((channel) => state.isUnread(channel)).length;
  return (
    <nav class="rail" aria-label="Guilds" ref={list}>
      <RailButton label="Direct messages" isCurrent={current === DIRECT} isUnread={directUnread > 0} mentions={directUnread} onClick={() => go({ page: "channels", guild: DIRECT, channel: null })}>
        <span class="tile tile-plain">
          <DirectIcon />
        </span>
      </RailButton>
      <hr />
      {state.sortedGuilds.value.map((guild) => (
        <RailButton
          key={guild.id}
          label={guild.name}
          isCurrent={current === guild.id}
          isUnread={state.guildIsUnread(guild.id)}
          mentions={state.guildMentions(guild.id)}
          onClick={() => go({ page: "channels", guild: guild.id, channel: null })}
        >
          <GuildTile id={guild.id} name={guild.name} />
        </RailButton>
      ))}
      <RailButton label="Add a guild" isCurrent={false} isUnread={false} mentions={0} onClick={() => (overlay.value = { kind: "create-guild" })}>
        <span class="tile tile-plain tile-add">
          <PlusIcon />
        </span>
      </RailButton>
    </nav>
  );
}

interface RailButtonProps {
  label: string;
  isCurrent: boolean;
  isUnread: boolean;
  mentions: number;
  onClick: () => void;
  children: preact.ComponentChildren;
}

function RailButton({ label, isCurrent, isUnread, mentions, onClick, children }: RailButtonProps) {
  const words = [label, mentions > 0 ? `${mentions} for you` : isUnread ? "unread" : ""].filter(Boolean).join(", ");
  return (
    <button type="button" class="rail-button" aria-label={words} title={label} aria-current={isCurrent ? "page" : undefined} onClick={onClick}>
      <span class={isCurrent ? "mark mark-current" : isUnread ? "mark mark-unread" : "mark"} />
      {children}
      {mentions > 0 && <span class="count-badge">{mentions > 99 ? "99+" : mentions}</span>}
    </button>
  );
}
