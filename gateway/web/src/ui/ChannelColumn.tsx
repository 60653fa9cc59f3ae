// The channels of one guild, or the direct conversations.
import { Fragment } from "preact";
import { useRef } from "preact/hooks";
import type { Channel } from "../api/types";
import { Permission } from "../store/permissions";
import { DIRECT, go } from "../store/route";
import type { Guild, Section } from "../store/state";
import { Avatar } from "./Avatar";
import { useApp } from "./context";
import { HashIcon, InviteIcon, PlusIcon, SearchIcon } from "./icons";
import { drawer, overlay } from "./layout";
import { useRoving } from "./roving";
import { UserPanel } from "./UserPanel";

export function ChannelColumn({ guild, current }: { guild: Guild | null; current: Channel | null }) {
  const { state } = useApp();
  const list = useRef<HTMLDivElement>(null);
  useRoving(list, "button.channel");
  const sections: readonly Section[] = guild ? state.sectionsOf(guild.id) : [{ category: null, channels: state.directs.value }];
  const isEmpty = sections.every((section) => section.channels.length === 0);
  return (
    <nav class="channels" aria-label={guild ? "Channels" : "Direct messages"}>
      <header class="column-head">
        <h2 title={guild?.name}>{guild?.name ?? "Direct messages"}</h2>
        {!guild && (
          <button type="button" class="icon-button" aria-label="Find a person" title="Find a person (Ctrl-K)" onClick={() => (overlay.value = { kind: "switcher" })}>
            <SearchIcon />
          </button>
        )}
        {guild && current && state.may(current, Permission.CreateInvite) && (
          <button type="button" class="icon-button" aria-label={`Invite people to ${guild.name}`} title="Invite people" onClick={() => (overlay.value = { kind: "invite", channel: current })}>
            <InviteIcon />
          </button>
        )}
      </header>
      <div class="column-scroll" ref={list}>
        {guild && (
          <div class="section-head">
            <h3>Channels</h3>
            {state.mayInGuild(guild.id, Permission.ManageChannels) && (
              <button type="button" class="icon-button icon-small" aria-label="Create a channel" title="Create a channel" onClick={() => (overlay.value = { kind: "create-channel", guild: guild.id })}>
                <PlusIcon />
              </button>
            )}
          </div>
        )}
        {sections.map(({ category, channels }) => (
          <Fragment key={category?.id ?? ""}>
            {category && (
              <div class="section-head">
                <h3>{category.name}</h3>
              </div>
            )}
            <ul>
              {channels.map((channel) => (
                <li key={channel.id}>
                  <ChannelButton channel={channel} isCurrent={channel.id === current?.id} />
                </li>
              ))}
            </ul>
          </Fragment>
        ))}
        {isEmpty && <p class="hint column-hint">{guild ? "No channel here is open to you." : "Nobody yet. Press the magnifier and type a name."}</p>}
      </div>
      <UserPanel />
    </nav>
  );
}

function ChannelButton({ channel, isCurrent }: { channel: Channel; isCurrent: boolean }) {
  const { state } = useApp();
  const isUnread = !isCurrent && state.isUnread(channel);
  const mentions = isCurrent ? 0 : (state.reads.get(channel.id)?.mention_count ?? 0);
  const other = channel.recipients?.find((user) => user.id !== state.me.value?.id);
  const name = state.channelName(channel);
  const label = [name, mentions > 0 ? `${mentions} for you` : isUnread ? "unread" : ""].filter(Boolean).join(", ");
  const open = (): void => {
    go({ page: "channels", guild: channel.guild_id ?? DIRECT, channel: channel.id });
    drawer.value = null;
  };
  return (
    <button type="button" class={isUnread ? "channel channel-unread" : "channel"} aria-label={label} aria-current={isCurrent ? "page" : undefined} onClick={open}>
      {other ? <Avatar id={other.id} name={name} size={32} status={state.presences.get(other.id) ?? "offline"} /> : <HashIcon />}
      <span class="channel-name">{name}</span>
      {mentions > 0 && <span class="count-badge">{mentions}</span>}
    </button>
  );
}
