// Pages of history on their way into the state. Calls for the same page share one request; a page that comes back to a
// window that has moved on is dropped.
import type { PageQuery, Rest } from "../api/rest";
import type { Id, Message } from "../api/types";
import { FIRST_PAGE_SIZE, type History, PAGE_SIZE, withAround, withLatest, withNewer, withOlder } from "./history";
import { sentenceOf } from "./notices";
import { isNewer } from "./snowflake";
import type { State } from "./state";
import { Table } from "./table";

export type LoadKind = "latest" | "older" | "newer" | "around";

export class Loader {
  /** Why the last load of a channel failed; absent when it did not. */
  readonly errors = new Table<Id, string>();
  private readonly running = new Map<string, Promise<void>>();

  constructor(
    private readonly state: State,
    private readonly rest: Rest,
  ) {}

  /** Loads one page; calls for the same page share one request. A failure stays in `errors` until the next try. */
  load(channel: Id, kind: LoadKind, around: Id | null = null): Promise<void> {
    const key = `${channel}:${kind}:${around ?? ""}`;
    const running = this.running.get(key);
    if (running) return running;
    const history = this.state.history(channel);
    const limit = kind === "older" || kind === "newer" ? PAGE_SIZE : FIRST_PAGE_SIZE;
    const run = async (): Promise<void> => {
      const before = history.peek().messages;
      const page = await this.rest.messages(channel, { limit, ...pageQuery(kind, before, around) });
      // The window may have moved on (a jump) while the page travelled; then its edge is no longer ours.
      if (kind === "older" && history.peek().messages[0]?.id !== before[0]?.id) return;
      if (kind === "newer" && history.peek().messages.at(-1)?.id !== before.at(-1)?.id) return;
      history.value = this.withLiveGap(channel, merged(history.peek(), kind, page, limit), page.length > 0);
    };
    this.errors.delete(channel);
    const promise = run()
      .catch((error: unknown) => this.errors.set(channel, sentenceOf(error)))
      .finally(() => this.running.delete(key));
    this.running.set(key, promise);
    return promise;
  }

  /** A message that was created while the page travelled is in neither; then there is more to load. */
  private withLiveGap(channel: Id, history: History, mayLack: boolean): History {
    const newest = this.state.channels.peek(channel)?.last_message_id;
    const lacks = mayLack && !history.hasNewer && isNewer(newest, history.messages.at(-1)?.id);
    return lacks ? { ...history, hasNewer: true } : history;
  }
}

function pageQuery(kind: LoadKind, messages: readonly Message[], around: Id | null): PageQuery {
  const oldest = messages[0]?.id;
  const newest = messages.at(-1)?.id;
  if (kind === "older" && oldest) return { before: oldest };
  if (kind === "newer" && newest) return { after: newest };
  if (kind === "around" && around) return { around };
  return {};
}

function merged(history: History, kind: LoadKind, page: readonly Message[], limit: number): History {
  switch (kind) {
    case "latest":
      return withLatest(history, page, limit);
    case "older":
      return withOlder(history, page, limit);
    case "newer":
      return withNewer(history, page, limit);
    case "around":
      return withAround(page);
  }
}
