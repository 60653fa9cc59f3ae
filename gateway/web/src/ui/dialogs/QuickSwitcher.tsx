// Ctrl-K: type a few letters of a guild, channel or person, press Enter.
import { useMemo, useState } from "preact/hooks";
import type { App } from "../../store/app";
import { DIRECT, go } from "../../store/route";
import { Avatar, GuildTile } from "../Avatar";
import { useApp } from "../context";
import { HashIcon } from "../icons";
import { drawer } from "../layout";
import { closeOverlay, Dialog } from "./Dialog";
import { rank } from "./rank";

const RESULTS_MAX = 12;

interface Place {
  readonly key: string;
  readonly kind: "channel" | "guild" | "person";
  readonly id: string;
  readonly name: string;
  readonly hint: string;
  readonly isUnread: boolean;
  open(): void;
}

function places(app: App): Place[] {
  const { state } = app;
  const found: Place[] = [];
  for (const guild of state.sortedGuilds.value) {
    for (const channel of state.channelsOf(guild.id)) {
      const open = (): void => go({ page: "channels", guild: guild.id, channel: channel.id });
      found.push({ key: channel.id, kind: "channel", id: channel.id, name: channel.name ?? "", hint: guild.name, isUnread: state.isUnread(channel), open });
    }
    const open = (): void => go({ page: "channels", guild: guild.id, channel: null });
    found.push({ key: guild.id, kind: "guild", id: guild.id, name: guild.name, hint: "guild", isUnread: false, open });
  }
  for (const user of state.users.values()) {
    if (user.id === state.me.value?.id || user.bot) continue;
    const direct = state.directs.value.find((channel) => channel.recipients?.some((one) => one.id === user.id));
    const open = (): void => (direct ? go({ page: "channels", guild: DIRECT, channel: direct.id }) : void app.openDirect(user.id));
    found.push({ key: `person:${user.id}`, kind: "person", id: user.id, name: user.global_name ?? user.username, hint: user.username, isUnread: direct ? state.isUnread(direct) : false, open });
  }
  return found;
}

function search(all: readonly Place[], wanted: string): Place[] {
  const words = wanted.trim().toLowerCase().replace(/^[#@]/, "");
  if (words === "") return [...all].filter((place) => place.kind !== "person").sort((a, b) => Number(b.isUnread) - Number(a.isUnread)).slice(0, RESULTS_MAX);
  return all
    .map((place) => ({ place, score: rank(place.name, words) }))
    .filter(({ score }) => score >= 0)
    .sort((a, b) => a.score - b.score || a.place.name.length - b.place.name.length)
    .slice(0, RESULTS_MAX)
    .map(({ place }) => place);
}

export function QuickSwitcher() {
  const app = useApp();
  const [wanted, setWanted] = useState("");
  const [chosen, setChosen] = useState(0);
  const all = useMemo(() => places(app), []);
  const found = search(all, wanted);
  const open = (place: Place | undefined): void => {
    if (!place) return;
    closeOverlay();
    drawer.value = null;
    place.open();
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key === "ArrowDown") setChosen((chosen + 1) % Math.max(1, found.length));
    else if (event.key === "ArrowUp") setChosen((chosen + found.length - 1) % Math.max(1, found.length));
    else if (event.key === "Enter") open(found[chosen]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Go to" class="dialog-switcher" isBare>
      <input
        class="switcher-input"
        type="text"
        role="combobox"
        aria-label="Guild, channel or person"
        aria-expanded="true"
        aria-controls="places"
        aria-activedescendant={found[chosen] ? `place-${chosen}` : undefined}
        placeholder="Where to? A guild, channel or person"
        value={wanted}
        autofocus
        onInput={(event) => {
          setWanted(event.currentTarget.value);
          setChosen(0);
        }}
        onKeyDown={key}
      />
      <ul id="places" role="listbox" aria-label="Places" class="switcher-list">
        {found.map((place, index) => (
          <li key={place.key} id={`place-${index}`} role="option" aria-selected={index === chosen} onPointerMove={() => setChosen(index)} onClick={() => open(place)}>
            {place.kind === "channel" ? <HashIcon /> : place.kind === "guild" ? <GuildTile id={place.id} name={place.name} /> : <Avatar id={place.id} name={place.name} size={32} />}
            <span class={place.isUnread ? "switcher-unread" : ""}>{place.name}</span>
            <small>{place.hint}</small>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="hint switcher-none">Nothing of that name.</p>}
    </Dialog>
  );
}
