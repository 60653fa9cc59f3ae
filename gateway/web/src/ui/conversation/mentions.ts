// Turns the mentions of a message into names, and a click on one into the place it means.
import type { Channel } from "../../api/types";
import type { MentionResolver } from "../../markdown/Markdown";
import type { MentionToken } from "../../markdown/parse";
import type { App } from "../../store/app";
import { go } from "../../store/route";
import { overlay } from "../layout";

export function mentionResolver(app: App, channel: Channel): MentionResolver {
  const { state } = app;
  return {
    name: (mention) => mentionName(app, channel, mention),
    isMe: (mention) => mention.target === "everyone" || (mention.target === "user" && mention.id === state.me.value?.id),
    open: (mention) => {
      if (mention.target === "user") {
        const user = state.users.get(mention.id);
        return user ? () => (overlay.value = { kind: "person", user, guild: channel.guild_id ?? null }) : null;
      }
      const target = mention.target === "channel" ? state.channels.get(mention.id) : undefined;
      return target?.guild_id ? () => go({ page: "channels", guild: target.guild_id!, channel: target.id }) : null;
    },
  };
}

export function mentionName(app: App, channel: Channel, mention: MentionToken): string {
  const { state } = app;
  switch (mention.target) {
    case "user": {
      const user = state.users.get(mention.id);
      return `@${user ? state.nameOf(user, channel.guild_id) : "unknown"}`;
    }
    case "channel":
      return `#${state.channels.get(mention.id)?.name ?? "unknown"}`;
    case "role": {
      const guild = channel.guild_id ? state.guilds.get(channel.guild_id) : undefined;
      return `@${guild?.roles.get(mention.id)?.name ?? "unknown"}`;
    }
    case "everyone":
      return `@${mention.id}`;
  }
}
