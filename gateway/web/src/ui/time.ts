// Times as people read them, in the browser's language and zone.
const locale = undefined;

const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "short" });
const dayLine = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const shortDate = new Intl.DateTimeFormat(locale, { day: "2-digit", month: "2-digit", year: "numeric" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

const DAY_MS = 86_400_000;

function startOfDay(ms: number): number {
  return new Date(ms).setHours(0, 0, 0, 0);
}

/** Whole days between two moments as the calendar counts them. */
export function daysBetween(ms: number, nowMs: number): number {
  return Math.round((startOfDay(nowMs) - startOfDay(ms)) / DAY_MS);
}

export function formatClock(ms: number): string {
  return clock.format(ms);
}

export function formatFull(ms: number): string {
  return full.format(ms);
}

/** Beside an author's name: the time today, "Yesterday" with the time, or the date. */
export function formatHeading(ms: number, nowMs: number): string {
  const days = daysBetween(ms, nowMs);
  if (days === 0) return clock.format(ms);
  if (days === 1) return `Yesterday at ${clock.format(ms)}`;
  return `${shortDate.format(ms)} ${clock.format(ms)}`;
}

/** On the line between two days. */
export function formatDay(ms: number, nowMs: number): string {
  const days = daysBetween(ms, nowMs);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return dayLine.format(ms);
}

const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["year", 365 * DAY_MS],
  ["month", 30 * DAY_MS],
  ["day", DAY_MS],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
];

export function formatRelative(ms: number, nowMs: number): string {
  const delta = ms - nowMs;
  const [unit, size] = UNITS.find(([, one]) => Math.abs(delta) >= one) ?? (["second", 1_000] as const);
  return relative.format(Math.round(delta / size), unit);
}

/** The styles of a timestamp inside a message. */
export function formatTimestamp(ms: number, style: string, nowMs: number): string {
  switch (style) {
    case "R":
      return formatRelative(ms, nowMs);
    case "t":
      return clock.format(ms);
    case "T":
      return new Date(ms).toLocaleTimeString(locale);
    case "d":
      return shortDate.format(ms);
    case "D":
      return new Date(ms).toLocaleDateString(locale, { dateStyle: "long" });
    case "F":
      return full.format(ms);
    default:
      return new Date(ms).toLocaleString(locale, { dateStyle: "long", timeStyle: "short" });
  }
}
