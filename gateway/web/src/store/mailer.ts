// Messages of mine on their way out: shown at once, sent one after another, kept until the server has them.
import { batch, effect } from "@preact/signals";
import { ApiError, type Rest } from "../api/rest";
import type { Id, Message } from "../api/types";
import { dispatch } from "./dispatch";
import { sentenceOf } from "./notices";
import { added, marked, type Pending, persist, removed } from "./outbox";
import { mintNonce } from "./snowflake";
import type { State } from "./state";

/** A message that meets a server without its database waits for the person, who can do nothing but try again. */
function whyNotSent(error: unknown): string {
  const isServers = error instanceof ApiError && error.status >= 500;
  return isServers ? "The server cannot save messages right now." : sentenceOf(error);
}

export class Mailer {
  private readonly sends = new Map<Id, Promise<void>>();

  constructor(
    private readonly state: State,
    private readonly rest: Rest,
    /** Told of every message that the server has taken. */
    private readonly onSent: (message: Message) => void = () => undefined,
  ) {
    effect(() => persist(state.outbox.value));
  }

  send(channel: Id, content: string, replyTo: Id | null): void {
    const me = this.state.me.value;
    if (!me) return;
    const nowMs = Date.now();
    const pending: Pending = {
      nonce: mintNonce(nowMs, Math.random),
      channelId: channel,
      authorId: me.id,
      content,
      replyTo,
      createdAtMs: nowMs,
      state: "sending",
      error: null,
    };
    batch(() => {
      this.state.outbox.value = added(this.state.outbox.value, pending);
      this.state.newLines.delete(channel);
    });
    this.transmit(pending);
  }

  retry(pending: Pending): void {
    this.state.outbox.value = marked(this.state.outbox.value, pending.nonce, "sending", null);
    this.transmit(pending);
  }

  discard(pending: Pending): void {
    this.state.outbox.value = removed(this.state.outbox.value, pending.nonce);
  }

  /** One send at a time per channel keeps a person's messages in the order they were written. */
  private transmit(pending: Pending): void {
    const before = this.sends.get(pending.channelId) ?? Promise.resolve();
    const sent = before.then(async () => {
      try {
        const message = await this.rest.sendMessage(pending.channelId, pending);
        batch(() => {
          this.state.outbox.value = removed(this.state.outbox.value, pending.nonce);
          dispatch(this.state, "MESSAGE_CREATE", message, Date.now());
        });
        this.onSent(message);
      } catch (error) {
        this.state.outbox.value = marked(this.state.outbox.value, pending.nonce, "failed", whyNotSent(error));
      }
    });
    this.sends.set(pending.channelId, sent);
  }
}
