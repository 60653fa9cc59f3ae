// A small set of emoji to pick from, with a search by name. This file and its names are loaded on first use.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { EMOJI_GROUPS } from "./emoji";

export interface PickerProps {
  /** The control the picker opens beside. */
  anchor: HTMLElement | null;
  onPick: (emoji: string) => void;
  onClose: () => void;
}

const WIDTH_PX = 320;
const HEIGHT_PX = 320;
const GAP_PX = 8;
const COLUMNS = 8;

function place(anchor: HTMLElement | null): { left: string; top: string } {
  const box = anchor?.getBoundingClientRect();
  if (!box) return { left: `${GAP_PX}px`, top: `${GAP_PX}px` };
  const left = Math.max(GAP_PX, Math.min(box.right - WIDTH_PX, innerWidth - WIDTH_PX - GAP_PX));
  const above = box.top - HEIGHT_PX - GAP_PX;
  const top = above >= GAP_PX ? above : Math.min(box.bottom + GAP_PX, innerHeight - HEIGHT_PX - GAP_PX);
  return { left: `${left}px`, top: `${Math.max(GAP_PX, top)}px` };
}

export function ReactionPicker({ anchor, onPick, onClose }: PickerProps) {
  const root = useRef<HTMLDivElement>(null);
  const search = useRef<HTMLInputElement>(null);
  const [wanted, setWanted] = useState("");
  const words = wanted.trim().toLowerCase();
  const groups = EMOJI_GROUPS.map((group) => ({
    ...group,
    emoji: group.emoji.filter(([, name]) => name.includes(words)),
  })).filter((group) => group.emoji.length > 0);

  useLayoutEffect(() => {
    search.current?.focus();
    const outside = (event: Event): void => {
      const target = event.target as Node;
      if (!root.current?.contains(target) && !anchor?.contains(target)) onClose();
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, []);

  const close = (): void => {
    onClose();
    anchor?.focus();
  };
  const key = (event: KeyboardEvent): void => {
    const buttons = [...(root.current?.querySelectorAll<HTMLButtonElement>("button") ?? [])];
    const index = buttons.indexOf(event.target as HTMLButtonElement);
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: index < 0 ? 1 : COLUMNS, ArrowUp: -COLUMNS };
    const step = steps[event.key];
    event.stopPropagation();
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && index < 0 && buttons[0]) buttons[0].click();
    else if (step && (index >= 0 || event.key === "ArrowDown")) (buttons[index + step] ?? search.current)?.focus();
    else return;
    event.preventDefault();
  };

  return (
    <div ref={root} class="picker" role="dialog" aria-label="Pick an emoji" style={place(anchor)} onKeyDown={key}>
      <input ref={search} type="search" value={wanted} placeholder="Search" aria-label="Search emoji" onInput={(event) => setWanted(event.currentTarget.value)} />
      <div class="picker-groups">
        {groups.map((group) => (
          <section key={group.name} aria-label={group.name}>
            <h2>{group.name}</h2>
            <div class="picker-grid">
              {group.emoji.map(([emoji, name]) => (
                <button key={emoji} type="button" aria-label={name} title={name} onClick={() => onPick(emoji)}>
                  {emoji}
                </button>
              ))}
            </div>
          </section>
        ))}
        {groups.length === 0 && <p class="hint">No emoji of that name.</p>}
      </div>
    </div>
  );
}
