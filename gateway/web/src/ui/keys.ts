// Keys that work everywhere on the page.
import type { Channel } from "../api/types";
import type { App } from "../store/app";
import { DIRECT, go } from "../store/route";
import { drawer, focusComposer, overlay } from "./layout";

function isEditable(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

function neighbor(app: App, step: 1 | -1, unreadOnly: boolean): Channel | undefined {
  const { state } = app;
  const guild = app.currentGuild();
  const channels = guild ? state.channelsOf(guild) : state.directs.value;
  const at = channels.findIndex((channel) => channel.id === state.openChannel.value);
  for (let count = 1; count <= channels.length; count++) {
    const channel = channels[(at + step * count + channels.length * count) % channels.length];
    if (channel && (!unreadOnly || state.isUnread(channel))) return channel;
  }
  return undefined;
}

export function startKeys(app: App): void {
  addEventListener("keydown", (event) => {
    if (!app.isLoggedIn.value) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (isCommand && event.key.toLowerCase() === "k") {
      overlay.value = overlay.value?.kind === "switcher" ? null : { kind: "switcher" };
    } else if (isCommand && event.key === "/") {
      overlay.value = overlay.value?.kind === "keys" ? null : { kind: "keys" };
    } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      const channel = neighbor(app, event.key === "ArrowUp" ? -1 : 1, event.shiftKey);
      if (channel) go({ page: "channels", guild: channel.guild_id ?? DIRECT, channel: channel.id });
    } else if (event.key === "Escape" && overlay.value === null && !isEditable(event.target)) {
      if (drawer.value) drawer.value = null;
      else focusComposer();
    } else if (isPlainLetter(event) && overlay.value === null && !isEditable(event.target) && !isControl(event.target)) {
      // Typing anywhere writes; the key itself lands in the field that just got the focus.
      focusComposer();
      return;
    } else {
      return;
    }
    event.preventDefault();
  });
}

function isPlainLetter(event: KeyboardEvent): boolean {
  return event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey;
}

function isControl(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("button, a, dialog, [role=listbox], .picker") !== null;
}
