// Roving tabindex: a list is one stop of the Tab key; arrows, Home and End move inside it.
import { useLayoutEffect } from "preact/hooks";
import type { RefObject } from "preact";

const STEPS: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };

/** Items are the descendants that match `selector`. The stop is the current one, else the first or last as asked. */
export function useRoving(container: RefObject<HTMLElement | null>, selector: string, stopAt: "first" | "last" = "first"): void {
  useLayoutEffect(() => {
    const root = container.current;
    if (!root) return;
    const items = (): HTMLElement[] => [...root.querySelectorAll<HTMLElement>(selector)];
    const all = items();
    if (all.length === 0 || all.some((item) => item === document.activeElement)) return;
    const stop = all.find((item) => item.hasAttribute("aria-current")) ?? (stopAt === "first" ? all[0] : all.at(-1));
    for (const item of all) item.tabIndex = item === stop ? 0 : -1;
  });
  useLayoutEffect(() => {
    const root = container.current;
    if (!root) return;
    const move = (event: KeyboardEvent): void => {
      const all = [...root.querySelectorAll<HTMLElement>(selector)];
      const index = all.indexOf(event.target as HTMLElement);
      if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = STEPS[event.key];
      const next = step ? all[index + step] : event.key === "Home" ? all[0] : event.key === "End" ? all.at(-1) : undefined;
      if (!next) return;
      event.preventDefault();
      for (const item of all) item.tabIndex = item === next ? 0 : -1;
      next.focus();
    };
    root.addEventListener("keydown", move);
    return () => root.removeEventListener("keydown", move);
  }, [container, selector]);
}
