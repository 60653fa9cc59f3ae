// Who I am, at the foot of the channel column.
import { Avatar, statusWord } from "./Avatar";
import { useApp } from "./context";
import { SettingsIcon } from "./icons";
import { overlay } from "./layout";

export function UserPanel() {
  const { state } = useApp();
  const me = state.me.value;
  if (!me) return null;
  const status = state.connection.value.state === "open" ? (state.presences.get(me.id) ?? "online") : "offline";
  const name = me.global_name ?? me.username;
  return (
    <div class="user-panel">
      <Avatar id={me.id} name={name} size={32} status={status} />
      <div class="user-panel-names">
        <strong>{name}</strong>
        <small>{statusWord(status)}</small>
      </div>
      <button type="button" class="icon-button" aria-label="Settings" title="Settings" onClick={() => (overlay.value = { kind: "settings" })}>
        <SettingsIcon />
      </button>
    </div>
  );
}
