// The page of somebody who is in: rail, channels, conversation, members. Narrow screens turn the columns into drawers.
import { useEffect } from "preact/hooks";
import type { Channel } from "../api/types";
import { ChannelType } from "../api/types";
import { DIRECT, go, route } from "../store/route";
import { ChannelColumn } from "./ChannelColumn";
import { ConnectionBanner } from "./ConnectionBanner";
import { Conversation } from "./conversation/Conversation";
import { useApp } from "./context";
import { GuildRail } from "./GuildRail";
import { DirectIcon, MenuIcon } from "./icons";
import { drawer, isNarrow, showsMembers } from "./layout";
import { MemberColumn } from "./MemberColumn";
import { Welcome } from "./Welcome";
import { Mark } from "./Wordmark";

export function Shell() {
  const app = useApp();
  const { state } = app;
  const here = route.value;
  const isReady = state.isReady.value;
  const guild = here.page === "channels" && here.guild !== DIRECT ? (state.guilds.get(here.guild) ?? null) : null;
  const channel = here.page === "channels" && here.channel ? currentChannel(state.channels.get(here.channel), guild?.id) : null;
  // A guild that was just made or joined is known to the address before the gateway has told about it.
  const isAwaited = here.page === "channels" && here.guild !== DIRECT && !guild && app.isJoining(here.guild);
  const hasPlaces = state.guilds.size > 0 || state.directs.value.length > 0;

  useEffect(() => {
    if (!isReady) return;
    if (here.page !== "channels" || (here.guild !== DIRECT && !guild && !isAwaited)) {
      const preferred = app.preferredGuild();
      if (preferred) go({ page: "channels", guild: preferred, channel: null }, { replace: true });
    } else if (!channel && guild) {
      const preferred = app.preferredChannel(guild.id);
      if (preferred) go({ page: "channels", guild: guild.id, channel: preferred }, { replace: true });
    }
  });
  useEffect(() => {
    if (channel) app.openChannel(channel);
    else app.closeChannel();
  }, [channel?.id]);

  if (!isReady || isAwaited) return <Opening />;
  if (!hasPlaces) return <Welcome />;
  const isCovered = isNarrow.value && drawer.value !== null;
  const withMembers = guild !== null && channel !== null && (isNarrow.value ? drawer.value === "members" : showsMembers.value);
  return (
    <div class={`shell ${withMembers && !isNarrow.value ? "shell-members" : ""} ${isCovered ? "shell-covered" : ""}`}>
      <div class={drawer.value === "places" ? "places places-open" : "places"} inert={isNarrow.value && drawer.value !== "places"}>
        <GuildRail />
        <ChannelColumn guild={guild} current={channel} />
      </div>
      <div class="stage" inert={isCovered}>
        {channel ? <Conversation channel={channel} /> : <NoChannel isDirect={guild === null} />}
      </div>
      {guild && withMembers && <MemberColumn guild={guild} />}
      {isCovered && <button type="button" class="scrim" aria-label="Close" onClick={() => (drawer.value = null)} />}
    </div>
  );
}

function currentChannel(channel: Channel | undefined, guild: string | undefined): Channel | null {
  if (!channel) return null;
  return (channel.type === ChannelType.Direct ? undefined : channel.guild_id) === guild ? channel : null;
}

function NoChannel({ isDirect }: { isDirect: boolean }) {
  return (
    <main class="conversation conversation-empty">
      <header class="heading-bar">
        <button type="button" class="icon-button narrow-only" aria-label="Guilds and channels" onClick={() => (drawer.value = "places")}>
          <MenuIcon />
        </button>
        <h1>{isDirect ? "Direct messages" : "No channel"}</h1>
      </header>
      <ConnectionBanner />
      <div class="empty">
        <span class="introduction-mark" aria-hidden="true">
          <DirectIcon />
        </span>
        <h2>{isDirect ? "Write to somebody" : "No channel is open to you here"}</h2>
        <p>{isDirect ? "Choose a conversation, or press a name in the members of a guild." : "Ask the owner of the guild for access, or choose another guild."}</p>
      </div>
    </main>
  );
}

/** Between the first byte and READY. */
function Opening() {
  return (
    <main class="opening" aria-label="Opening Flux">
      <ConnectionBanner />
      <Mark />
      <p role="status">Opening…</p>
    </main>
  );
}
