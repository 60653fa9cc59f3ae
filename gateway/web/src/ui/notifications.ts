// Desktop notifications for mentions and direct messages, for who wants them.
import { signal } from "@preact/signals";
import { plainText } from "../markdown/parse";
import type { App } from "../store/app";
import { DIRECT, go } from "../store/route";
import { load, save } from "../store/storage";
import { mentionName } from "./conversation/mentions";

export const canNotify = "Notification" in window;
export const notifies = signal<boolean>(canNotify && Notification.permission === "granted" && load("notifies", false));

/** Asks the browser when switched on; stays off if it refuses. */
export async function setNotifies(next: boolean): Promise<void> {
  const granted = next && (await Notification.requestPermission()) === "granted";
  notifies.value = granted;
  save("notifies", granted);
}

export function startNotifications(app: App): void {
  const { state } = app;
  app.onMention = (channel, message) => {
    if (!notifies.value) return;
    const place = channel.guild_id ? ` in #${state.channelName(channel)}` : "";
    // One notification per channel: a newer one takes the place of the last.
    const shown = new Notification(state.nameOf(message.author, channel.guild_id) + place, {
      body: plainText(message.content, (mention) => mentionName(app, channel, mention)),
      tag: channel.id,
    });
    shown.onclick = () => {
      window.focus();
      go({ page: "channels", guild: channel.guild_id ?? DIRECT, channel: channel.id });
      shown.close();
    };
  };
}
