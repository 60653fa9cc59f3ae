// The dialogs with little inside: delete, a person, the keys, the settings.
import { useState } from "preact/hooks";
import type { Id, Message, User } from "../../api/types";
import { plainText } from "../../markdown/parse";
import { notifyError } from "../../store/notices";
import { Avatar, statusWord } from "../Avatar";
import { useApp } from "../context";
import { DirectIcon, LogoutIcon } from "../icons";
import { announces, setAnnounces, setTheme, theme, type Theme } from "../layout";
import { canNotify, notifies, setNotifies } from "../notifications";
import { timeOfId } from "../../store/snowflake";
import { closeOverlay, Dialog } from "./Dialog";

export function DeleteDialog({ message }: { message: Message }) {
  const app = useApp();
  const [isWaiting, setWaiting] = useState(false);
  const remove = async (): Promise<void> => {
    setWaiting(true);
    try {
      await app.delete(message);
      closeOverlay();
    } catch (error) {
      notifyError(error);
      setWaiting(false);
    }
  };
  return (
    <Dialog title="Delete this message?">
      <blockquote class="dialog-quote">
        <strong>{message.author.global_name ?? message.author.username}</strong>
        <p>{plainText(message.content, (mention) => mention.raw) || "(no text)"}</p>
      </blockquote>
      <p class="dialog-text">It disappears for everybody and cannot be brought back.</p>
      <div class="dialog-actions">
        <button type="button" class="button" onClick={closeOverlay}>
          Keep it
        </button>
        <button type="button" class="button button-danger" disabled={isWaiting} onClick={() => void remove()}>
          {isWaiting ? "Deleting…" : "Delete the message"}
        </button>
      </div>
    </Dialog>
  );
}

export function PersonDialog({ user, guild }: { user: User; guild: Id | null }) {
  const app = useApp();
  const { state } = app;
  const name = state.nameOf(user, guild ?? undefined);
  const member = guild ? state.members(guild).get(user.id) : undefined;
  const status = state.presences.get(user.id) ?? "offline";
  const date = (ms: number): string => new Date(ms).toLocaleDateString(undefined, { dateStyle: "long" });
  return (
    <Dialog title={name} class="dialog-person" isBare>
      <Avatar id={user.id} name={name} size={80} status={status} />
      <h2>{name}</h2>
      <p class="hint">
        {user.username}
        {user.bot ? " · bot" : ""} · {statusWord(status)}
      </p>
      <dl class="facts">
        <dt>Account since</dt>
        <dd>{date(timeOfId(user.id))}</dd>
        {member && <dt>Member since</dt>}
        {member && <dd>{date(Date.parse(member.joined_at))}</dd>}
      </dl>
      <div class="dialog-actions">
        <button type="button" class="button" onClick={closeOverlay}>
          Close
        </button>
        {user.id !== state.me.value?.id && !user.bot && (
          <button
            type="button"
            class="button button-accent"
            onClick={() => {
              closeOverlay();
              void app.openDirect(user.id);
            }}
          >
            <DirectIcon /> Message
          </button>
        )}
      </div>
    </Dialog>
  );
}

const KEYS: readonly (readonly [keys: string, meaning: string])[] = [
  ["Enter", "send"],
  ["Shift Enter", "new line"],
  ["↑", "edit your last message, in an empty composer"],
  ["Esc", "cancel a reply or an edit; else mark the channel as read"],
  ["@ # :", "complete a name, a channel, an emoji"],
  ["Ctrl K", "go to a guild, channel or person"],
  ["Alt ↑ ↓", "previous or next channel"],
  ["Alt Shift ↑ ↓", "previous or next unread channel"],
  ["↑ ↓ Home End", "move inside a list; Tab leaves it"],
  ["Ctrl /", "this list"],
];

export function KeysDialog() {
  return (
    <Dialog title="Keys">
      <dl class="keys">
        {KEYS.map(([keys, meaning]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

const THEMES: readonly (readonly [Theme, string])[] = [
  ["system", "Like the system"],
  ["dark", "Dark"],
  ["light", "Light"],
];

export function SettingsDialog() {
  const app = useApp();
  const { state } = app;
  return (
    <Dialog title="Settings">
      <fieldset class="choices">
        <legend>Appearance</legend>
        {THEMES.map(([value, label]) => (
          <label key={value}>
            <input type="radio" name="theme" checked={theme.value === value} onChange={() => setTheme(value)} />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
      <label class="switch">
        <input type="checkbox" checked={announces.value} onChange={(event) => setAnnounces(event.currentTarget.checked)} />
        <span>
          Read new messages out
          <small>To screen readers, in the channel that is open.</small>
        </span>
      </label>
      {canNotify && (
        <label class="switch">
          <input type="checkbox" checked={notifies.value} onChange={(event) => void setNotifies(event.currentTarget.checked)} />
          <span>
            Desktop notifications
            <small>For mentions and direct messages, while you look elsewhere.</small>
          </span>
        </label>
      )}
      <div class="dialog-actions dialog-actions-split">
        <small class="hint">
          {state.instance.value.name ?? "Flux"} {state.instance.value.version ?? ""}
        </small>
        <button
          type="button"
          class="button"
          onClick={() => {
            closeOverlay();
            void app.logout();
          }}
        >
          <LogoutIcon /> Log out {state.me.value?.username}
        </button>
      </div>
    </Dialog>
  );
}
