// Who is writing: one, two, several, many. The line keeps its place when nobody is.
import { useEffect, useReducer } from "preact/hooks";
import type { Channel } from "../../api/types";
import { useApp } from "../context";

/** Above this many names the line says "several". */
const NAMES_MAX = 3;

export function typingSentence(names: readonly string[]): string {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length > NAMES_MAX) return names.length > 10 ? "Many people are typing…" : "Several people are typing…";
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)} are typing…`;
}

export function TypingLine({ channel }: { channel: Channel }) {
  const { state } = useApp();
  const [, tick] = useReducer((count: number) => count + 1, 0);
  const names = state.typingNames(channel, Date.now());
  useEffect(() => {
    if (names.length === 0) return;
    const timer = setTimeout(() => tick(0), 1_000);
    return () => clearTimeout(timer);
  });
  return (
    <p class="typing" role="status">
      {names.length > 0 && (
        <>
          <span class="typing-dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          {typingSentence(names)}
        </>
      )}
    </p>
  );
}
