// One channel on the screen: heading, messages, who is typing, the composer.
import type { Channel } from "../../api/types";
import { ChannelType } from "../../api/types";
import { Permission } from "../../store/permissions";
import { useApp } from "../context";
import { DirectIcon, HashIcon, InviteIcon, MenuIcon, SearchIcon, UsersIcon } from "../icons";
import { drawer, isNarrow, overlay, showsMembers, toggleMembers } from "../layout";
import { ConnectionBanner } from "../ConnectionBanner";
import { Composer } from "./Composer";
import { MessageList } from "./MessageList";
import { TypingLine } from "./TypingLine";

export function Conversation({ channel }: { channel: Channel }) {
  return (
    <main class="conversation">
      <Heading channel={channel} />
      <ConnectionBanner />
      <MessageList key={channel.id} channel={channel} />
      <Composer channel={channel} />
      <TypingLine channel={channel} />
    </main>
  );
}

function Heading({ channel }: { channel: Channel }) {
  const { state } = useApp();
  const isDirect = channel.type === ChannelType.Direct;
  const areMembersShown = isNarrow.value ? drawer.value === "members" : showsMembers.value;
  return (
    <header class="heading-bar">
      <button type="button" class="icon-button narrow-only" aria-label="Guilds and channels" onClick={() => (drawer.value = "places")}>
        <MenuIcon />
      </button>
      <span class="heading-mark" aria-hidden="true">
        {isDirect ? <DirectIcon /> : <HashIcon />}
      </span>
      <h1>{state.channelName(channel)}</h1>
      {channel.topic && (
        <p class="topic" title={channel.topic}>
          {channel.topic}
        </p>
      )}
      <div class="heading-actions">
        {!isDirect && state.may(channel, Permission.CreateInvite) && (
          <button type="button" class="icon-button" aria-label="Invite people" title="Invite people" onClick={() => (overlay.value = { kind: "invite", channel })}>
            <InviteIcon />
          </button>
        )}
        <button type="button" class="icon-button" aria-label="Go to a channel or person" title="Go to a channel or person (Ctrl-K)" onClick={() => (overlay.value = { kind: "switcher" })}>
          <SearchIcon />
        </button>
        {!isDirect && (
          <button type="button" class="icon-button" aria-label="Members" title="Members" aria-pressed={areMembersShown} onClick={toggleMembers}>
            <UsersIcon />
          </button>
        )}
      </div>
    </header>
  );
}
