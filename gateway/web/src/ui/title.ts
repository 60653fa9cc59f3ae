// The tab: where I am, how much waits for me, and a dot on the icon.
import { effect } from "@preact/signals";
import { ChannelType } from "../api/types";
import type { App } from "../store/app";

const PLAIN = "/favicon.svg";
const WAITING =
  "data:image/svg+xml," +
  encodeURIComponent(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0f766e"/><path d="M7 12.5c3-3 6-3 9 0s6 3 9 0M7 19.5c3-3 6-3 9 0s6 3 9 0" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"/><circle cx="24" cy="24" r="7.5" fill="#d6453d" stroke="#fff" stroke-width="2"/></svg>',
  );

export function startTitle(app: App): void {
  const { state } = app;
  effect(() => {
    const channel = state.openChannel.value ? state.channels.get(state.openChannel.value) : undefined;
    const guild = channel?.guild_id ? state.guilds.get(channel.guild_id) : undefined;
    const place = channel ? `${channel.type === ChannelType.Direct ? "" : "#"}${state.channelName(channel)}` : "";
    const mentions = state.mentionTotal.value;
    const prefix = mentions > 0 ? `(${mentions}) ` : state.hasUnread.value ? "• " : "";
    document.title = prefix + [place, guild?.name, "Flux"].filter(Boolean).join(" · ");
    const icon = document.querySelector<HTMLLinkElement>("link[rel=icon]");
    const href = mentions > 0 ? WAITING : PLAIN;
    if (icon && icon.getAttribute("href") !== href) icon.href = href;
  });
}
