// Short sentences for the person: what happened and what to do. At most NOTICES_MAX at a time.
import { signal } from "@preact/signals";
import { ApiError } from "../api/rest";

export interface Notice {
  readonly id: number;
  readonly text: string;
  readonly tone: "error" | "plain";
  readonly requestId: string | null;
}

const NOTICES_MAX = 3;
const SHOWN_MS = 7_000;

export const notices = signal<readonly Notice[]>([]);
let nextId = 1;

export function notify(text: string, tone: Notice["tone"] = "plain", requestId: string | null = null): void {
  const notice = { id: nextId++, text, tone, requestId };
  notices.value = [...notices.value.slice(1 - NOTICES_MAX), notice];
  setTimeout(() => dismiss(notice.id), SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

/** The sentence a person reads about a failure. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function notifyError(error: unknown): void {
  notify(sentenceOf(error), "error", error instanceof ApiError ? error.requestId : null);
}
