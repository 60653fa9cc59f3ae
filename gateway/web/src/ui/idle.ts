// Idle after ten minutes without a key, a pointer or a touch; online with the next one.
import type { App } from "../store/app";

const IDLE_AFTER_MS = 600_000;

export function startIdle(app: App): void {
  let timer = 0;
  const active = (): void => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => app.setPresence("idle"), IDLE_AFTER_MS);
    app.setPresence("online");
  };
  for (const name of ["keydown", "pointerdown", "pointermove", "wheel", "touchstart"]) addEventListener(name, active, { passive: true });
  active();
}
