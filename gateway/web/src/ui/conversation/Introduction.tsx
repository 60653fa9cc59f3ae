// The beginning of a channel: what it is, and what to do when it is empty.
import type { Channel } from "../../api/types";
import { ChannelType } from "../../api/types";
import { Permission } from "../../store/permissions";
import { useApp } from "../context";
import { DirectIcon, HashIcon, InviteIcon } from "../icons";
import { overlay } from "../layout";

export function Introduction({ channel }: { channel: Channel }) {
  const { state } = useApp();
  const name = state.channelName(channel);
  const isDirect = channel.type === ChannelType.Direct;
  const isEmpty = state.history(channel.id).value.messages.length === 0;
  const guild = channel.guild_id ? state.guilds.get(channel.guild_id) : undefined;
  const mayInvite = !isDirect && state.may(channel, Permission.CreateInvite);
  return (
    <li class="introduction" data-key="intro">
      <span class="introduction-mark" aria-hidden="true">
        {isDirect ? <DirectIcon /> : <HashIcon />}
      </span>
      <h2>{isDirect ? name : `Welcome to #${name}`}</h2>
      <p>
        {isDirect ? `This is the beginning of your conversation with ${name}.` : `This is the beginning of the channel${channel.topic ? `: ${channel.topic}` : "."}`}
        {isEmpty && " No messages yet — say hello."}
      </p>
      {mayInvite && guild && guild.memberCount <= 1 && (
        <button type="button" class="button button-accent" onClick={() => (overlay.value = { kind: "invite", channel })}>
          <InviteIcon /> Invite people to {guild.name}
        </button>
      )}
    </li>
  );
}
