// The state of the connection, floating under the heading: it covers, and moves nothing.
// A short break is not worth a word, so it appears only after a moment.
import { useEffect, useReducer, useState } from "preact/hooks";
import { useApp } from "./context";
import { CheckIcon, RetryIcon } from "./icons";
import { formatClock } from "./time";

const SILENT_MS = 700;
const BACK_SHOWN_MS = 2_000;

export function ConnectionBanner() {
  const app = useApp();
  const connection = app.state.connection.value;
  const [, tick] = useReducer((count: number) => count + 1, 0);
  const [wasShown, setShown] = useState(false);
  const nowMs = Date.now();
  const isOpen = connection.state === "open";
  const isLong = connection.offlineSinceMs !== null && nowMs - connection.offlineSinceMs >= SILENT_MS;

  useEffect(() => {
    if (isOpen) {
      if (!wasShown) return;
      const timer = setTimeout(() => setShown(false), BACK_SHOWN_MS);
      return () => clearTimeout(timer);
    }
    if (isLong && !wasShown) setShown(true);
    const timer = setTimeout(() => tick(0), isLong ? 1_000 : SILENT_MS);
    return () => clearTimeout(timer);
  });

  let content = null;
  if (isOpen && wasShown) {
    content = (
      <div class="banner banner-good">
        <CheckIcon /> Connected again
      </div>
    );
  } else if (!isOpen && isLong) {
    const since = formatClock(connection.offlineSinceMs ?? nowMs);
    const isTrying = connection.state !== "waiting";
    const seconds = Math.max(0, Math.ceil(((connection.retryAtMs ?? nowMs) - nowMs) / 1_000));
    content = (
      <div class="banner">
        <span>
          {isTrying ? (connection.state === "resuming" ? "Resuming…" : "Connecting…") : `Offline since ${since}.`}
          {!isTrying && <small> Trying again {seconds > 0 ? `in ${seconds} s` : "now"}</small>}
        </span>
        {!isTrying && (
          <button type="button" class="button button-small" onClick={() => app.retryConnection()}>
            <RetryIcon /> Try now
          </button>
        )}
      </div>
    );
  }
  return (
    <div class="banner-place" role="status">
      {content}
    </div>
  );
}
