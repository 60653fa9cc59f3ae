// The conversation: a window of the history, drawn only where it is in sight, newest at the bottom.
import { useLayoutEffect, useMemo, useReducer, useRef } from "preact/hooks";
import type { Channel, Id } from "../../api/types";
import { buildRows, isMessageKey, type Row } from "../../store/rows";
import { isNewer } from "../../store/snowflake";
import { useApp } from "../context";
import { ArrowDownIcon } from "../icons";
import { composingIn, jump, presentWanted } from "../layout";
import { useRoving } from "../roving";
import { formatDay } from "../time";
import { Introduction } from "./Introduction";
import { MessageRow } from "./MessageRow";
import { PendingRow } from "./PendingRow";
import { type Anchor, PRESENT, Scroller } from "./scroller";

type ListRow = Row | { readonly kind: "intro"; readonly key: "intro" };

/** Where each channel was left, to be found there again. */
const leftAt = new Map<Id, Anchor>();
/** How long a message that was jumped to stays marked, in milliseconds. */
const FLASH_MS = 1_600;
/** The pill shows only this far above the present, in pixels, unless something new came. */
const PILL_ABOVE_PX = 600;

/** How often one change may be drawn again until the rows in sight are the rows drawn. */
const SETTLE_MAX = 6;

/** A first guess; drawing corrects it. About 88 characters fit a line of 24 pixels. */
function estimate(row: ListRow): number {
  switch (row.kind) {
    case "intro":
      return 200;
    case "day":
      return 40;
    case "new":
      return 24;
    default: {
      const content = row.kind === "message" ? row.message.content : row.pending.content;
      const lines = content.split("\n").reduce((sum, line) => sum + 1 + Math.floor(line.length / 88), 0);
      return (row.isGrouped ? 4 : 44) + lines * 24;
    }
  }
}

/** The same object as long as only the newest message differs: rows need not be drawn again for every message. */
function useSteady(channel: Channel): Channel {
  const kept = useRef(channel);
  const names = new Set([...Object.keys(kept.current), ...Object.keys(channel)]) as Set<keyof Channel>;
  for (const name of names) if (name !== "last_message_id" && kept.current[name] !== channel[name]) kept.current = channel;
  return kept.current;
}

export function MessageList({ channel: latest }: { channel: Channel }) {
  const channel = useSteady(latest);
  const app = useApp();
  const { state } = app;
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const viewport = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const flashing = useRef<Id | null>(null);
  const scroller = useMemo(() => {
    const made = new Scroller<ListRow>(estimate, () => viewport.current, () => list.current, isMessageKey);
    made.anchor = leftAt.get(channel.id) ?? PRESENT;
    return made;
  }, [channel.id]);

  const history = state.history(channel.id).value;
  const outbox = state.outbox.value;
  const newAfter = state.newLines.get(channel.id) ?? null;
  const failure = app.loader.errors.get(channel.id);
  const rows = useMemo<ListRow[]>(() => {
    const pending = history.hasNewer ? [] : outbox.filter((one) => one.channelId === channel.id);
    const built: ListRow[] = buildRows(history.messages, pending, newAfter);
    return history.isLoaded && !history.hasOlder ? [{ kind: "intro", key: "intro" }, ...built] : built;
  }, [history, outbox, newAfter, channel.id]);

  const hasOlder = history.hasOlder;
  scroller.prepare({ rows, hasOlder, hasNewer: history.hasNewer });
  const { range, offsets } = scroller;
  const editing = composingIn(channel.id).editing;
  useRoving(list, "li.message", "last");

  const loadMore = (): void => {
    if (failure !== undefined || !history.isLoaded) return;
    if (scroller.wantsOlder) void app.loader.load(channel.id, "older");
    if (scroller.wantsNewer) void app.loader.load(channel.id, "newer");
  };
  const publish = (): void => {
    state.isAtPresent.value = scroller.isAtPresent;
  };
  const attempts = useRef(0);
  const settle = (): void => {
    // Drawing measures, and measuring may bring other rows in sight. Twice is usual; a layout that never agrees with
    // itself must not hang the page.
    if (!scroller.settle()) attempts.current = 0;
    else if (attempts.current++ < SETTLE_MAX) redraw(0);
    loadMore();
    publish();
  };
  useLayoutEffect(settle);

  const settleRef = useRef(settle);
  settleRef.current = settle;
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => settleRef.current());
    if (viewport.current) observer.observe(viewport.current);
    if (list.current) observer.observe(list.current);
    return () => {
      observer.disconnect();
      if (scroller.anchor.at === "present") leftAt.delete(channel.id);
      else leftAt.set(channel.id, scroller.anchor);
    };
  }, [channel.id, scroller]);

  const scrolled = (): void => {
    if (scroller.scrolled()) redraw(0);
    else if (isPillShown.current !== pillShown()) redraw(0);
    loadMore();
    publish();
  };

  const asked = jump.value;
  useLayoutEffect(() => {
    if (asked?.channel !== channel.id) return;
    const show = (): void => {
      if (jump.peek() === asked) jump.value = null;
      scroller.aimAt(asked.message);
      flashing.current = asked.message;
      setTimeout(() => {
        flashing.current = null;
        redraw(0);
      }, FLASH_MS);
      redraw(0);
    };
    if (state.history(channel.id).peek().messages.some((message) => message.id === asked.message)) show();
    else void app.loader.load(channel.id, "around", asked.message).then(show);
  }, [asked, channel.id]);

  const toPresent = (): void => {
    const go = (): void => {
      scroller.anchor = PRESENT;
      redraw(0);
    };
    if (state.history(channel.id).peek().hasNewer) void app.loader.load(channel.id, "latest").then(go);
    else go();
  };

  const wanted = presentWanted.value;
  const wantedBefore = useRef(wanted);
  useLayoutEffect(() => {
    if (wanted !== wantedBefore.current) toPresent();
    wantedBefore.current = wanted;
  }, [wanted]);

  const unread = newAfter === null ? 0 : history.messages.filter((message) => isNewer(message.id, newAfter)).length;
  const pillShown = (): boolean =>
    history.isLoaded && !scroller.isAtPresent && (history.hasNewer || unread > 0 || scroller.distanceFromEnd > PILL_ABOVE_PX);
  const isPillShown = useRef(false);
  isPillShown.current = pillShown();

  return (
    <div class="messages">
      <div class="viewport" ref={viewport} onScroll={scrolled}>
        {hasOlder && failure === undefined && <Skeleton />}
        {failure !== undefined && <LoadFailure text={failure} retry={() => void app.loader.load(channel.id, history.isLoaded ? "older" : "latest")} />}
        <ol
          ref={list}
          class="message-list"
          aria-label={`Messages in ${state.channelName(channel)}`}
          style={{ paddingTop: `${offsets[range.start] ?? 0}px`, paddingBottom: `${offsets.at(-1)! - (offsets[range.end] ?? 0)}px` }}
        >
          {rows.slice(range.start, range.end).map((row) => (
            <RowView key={row.key} row={row} channel={channel} editing={editing} flashing={flashing.current} />
          ))}
        </ol>
        {history.hasNewer && <Skeleton />}
      </div>
      {isPillShown.current && <PresentPill unread={unread} hasNews={newAfter !== null} hasMore={history.hasNewer} go={toPresent} />}
    </div>
  );
}

function RowView({ row, channel, editing, flashing }: { row: ListRow; channel: Channel; editing: Id | null; flashing: Id | null }) {
  switch (row.kind) {
    case "intro":
      return <Introduction channel={channel} />;
    case "day":
      return (
        <li class="day-line" data-key={row.key}>
          <span>{formatDay(row.timeMs, Date.now())}</span>
        </li>
      );
    case "new":
      return (
        <li class="new-line" data-key={row.key}>
          <span>New messages</span>
        </li>
      );
    case "pending":
      return <PendingRow pending={row.pending} rowKey={row.key} isGrouped={row.isGrouped} />;
    case "message":
      return (
        <MessageRow
          message={row.message}
          channel={channel}
          isGrouped={row.isGrouped}
          isEditing={editing === row.message.id}
          isFlashing={flashing === row.message.id}
        />
      );
  }
}

const SKELETON_WIDTHS = [[28, 72], [18, 54, 38], [24, 86], [20, 44], [26, 66, 58]];

function Skeleton() {
  return (
    <div class="skeleton" role="status" aria-label="Loading messages">
      {SKELETON_WIDTHS.map((widths, index) => (
        <div class="skeleton-row" key={index}>
          <span class="skeleton-avatar" />
          <div>
            {widths.map((width, line) => (
              <span key={line} class="skeleton-bar" style={{ width: `${width}%` }} />
            ))}
          </div>
        </div>
      ))}
    </div>
  );
}

function LoadFailure({ text, retry }: { text: string; retry: () => void }) {
  return (
    <div class="load-failure" role="alert">
      <p>These messages did not load. {text}</p>
      <button type="button" class="button" onClick={retry}>
        Try again
      </button>
    </div>
  );
}

function PresentPill({ unread, hasNews, hasMore, go }: { unread: number; hasNews: boolean; hasMore: boolean; go: () => void }) {
  // What came may lie beyond the loaded window; then it is not counted.
  const counted = `${unread}${hasMore ? "+" : ""} new message${unread === 1 && !hasMore ? "" : "s"}`;
  const count = unread > 0 ? counted : hasNews ? "New messages" : null;
  return (
    <button type="button" class={count ? "pill pill-new" : "pill"} onClick={go}>
      <ArrowDownIcon />
      {count ? `${count} — jump to the present` : "Jump to the present"}
    </button>
  );
}
