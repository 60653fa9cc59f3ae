// A text area that grows with its text, with completion of names. The composer and the edit box are made of it.
import type { RefObject } from "preact";
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Channel } from "../../api/types";
import type { App } from "../../store/app";
import { Avatar } from "../Avatar";
import { useApp } from "../context";
import { HashIcon } from "../icons";
import { candidates, type Candidate, type Query, queryAt } from "./completion";

interface Props {
  channel: Channel;
  value: string;
  label: string;
  placeholder?: string;
  field: RefObject<HTMLTextAreaElement | null>;
  onInput: (value: string) => void;
  onSubmit: () => void;
  /** Keys that nobody here used; true if taken. */
  onKey?: (event: KeyboardEvent) => boolean;
}

/** The field grows up to this height, in pixels, and scrolls then. */
const HEIGHT_MAX_PX = 320;

/** The emoji to complete; loaded with the first colon. */
const emoji = signal<readonly Candidate[]>([]);
let isLoadingEmoji = false;

async function loadEmoji(): Promise<void> {
  if (isLoadingEmoji) return;
  isLoadingEmoji = true;
  const { EMOJI_GROUPS } = await import("./emoji");
  emoji.value = EMOJI_GROUPS.flatMap((group) => group.emoji.map(([id, name]) => ({ id, text: name, hint: name })));
}

function candidatesFor(app: App, channel: Channel, query: Query): Candidate[] {
  const { state } = app;
  if (query.sigil === ":") {
    void loadEmoji().catch(() => (isLoadingEmoji = false));
    return candidates(query.prefix, emoji.value);
  }
  if (query.sigil === "#") {
    const all = channel.guild_id ? state.channelsOf(channel.guild_id) : [];
    return candidates(query.prefix, all.map((one) => ({ id: one.id, text: one.name ?? "", hint: one.topic ?? "" })));
  }
  const users = channel.guild_id ? state.members(channel.guild_id).values().map((member) => member.user) : (channel.recipients ?? []);
  return candidates(query.prefix, users.map((user) => ({ id: user.id, text: user.username, hint: state.nameOf(user, channel.guild_id) })));
}

function CandidateMark({ sigil, candidate }: { sigil: Query["sigil"]; candidate: Candidate }) {
  if (sigil === "#") return <HashIcon />;
  if (sigil === ":") return <span aria-hidden="true">{candidate.id}</span>;
  return <Avatar id={candidate.id} name={candidate.hint || candidate.text} size={16} />;
}

export function TextField({ channel, value, label, placeholder, field, onInput, onSubmit, onKey }: Props) {
  const app = useApp();
  const [query, setQuery] = useState<Query | null>(null);
  const [chosen, setChosen] = useState(0);
  const found = query ? candidatesFor(app, channel, query) : [];
  const isOpen = found.length > 0;
  /** Where the caret belongs once the completed text is drawn. */
  const caret = useRef<number | null>(null);

  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    // With the text and not a frame later: by then the person may have selected something else.
    if (caret.current !== null) element.setSelectionRange(caret.current, caret.current);
    caret.current = null;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, HEIGHT_MAX_PX)}px`;
  }, [value]);

  const look = (): void => {
    const element = field.current;
    if (!element) return;
    setQuery(element.selectionStart === element.selectionEnd ? queryAt(element.value, element.selectionStart) : null);
    setChosen(0);
  };
  const complete = (candidate: Candidate): void => {
    const element = field.current;
    if (!element || !query) return;
    const written = query.sigil === ":" ? candidate.id : query.sigil + candidate.text;
    const before = `${element.value.slice(0, query.start)}${written} `;
    caret.current = before.length;
    onInput(before + element.value.slice(element.selectionStart));
    setQuery(null);
    element.focus();
  };
  const keyInList = (event: KeyboardEvent): boolean => {
    if (!isOpen) return false;
    const candidate = found[Math.min(chosen, found.length - 1)]!;
    // A name that is written out needs no completing: Enter sends.
    if (event.key === "Enter" && candidate.text.toLowerCase() === query?.prefix.toLowerCase()) return false;
    if (event.key === "ArrowDown") setChosen((chosen + 1) % found.length);
    else if (event.key === "ArrowUp") setChosen((chosen + found.length - 1) % found.length);
    else if (event.key === "Enter" || event.key === "Tab") complete(candidate);
    else if (event.key === "Escape") setQuery(null);
    else return false;
    return true;
  };
  const key = (event: KeyboardEvent): void => {
    // An input method that is composing a character owns every key.
    if (event.isComposing) return;
    if (keyInList(event) || onKey?.(event)) {
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      onSubmit();
    }
  };

  return (
    <div class="text-field">
      {isOpen && (
        <ul class="completion" role="listbox" id="completion" aria-label="Names">
          {found.map((one, index) => (
            <li
              key={one.id}
              id={`completion-${index}`}
              role="option"
              aria-selected={index === chosen}
              onPointerDown={(event) => {
                event.preventDefault();
                complete(one);
              }}
            >
              <CandidateMark sigil={query?.sigil ?? "@"} candidate={one} />
              <strong>{one.text}</strong>
              {one.hint !== one.text && <span>{one.hint}</span>}
            </li>
          ))}
        </ul>
      )}
      <textarea
        ref={field}
        rows={1}
        value={value}
        aria-label={label}
        placeholder={placeholder}
        aria-autocomplete="list"
        aria-controls={isOpen ? "completion" : undefined}
        aria-activedescendant={isOpen ? `completion-${chosen}` : undefined}
        onInput={(event) => {
          onInput(event.currentTarget.value);
          look();
        }}
        onClick={look}
        onBlur={() => setQuery(null)}
        onKeyDown={key}
      />
    </div>
  );
}
