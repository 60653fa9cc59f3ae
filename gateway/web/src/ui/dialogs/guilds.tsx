// Making guilds and channels, joining and inviting.
import { useEffect, useState } from "preact/hooks";
import type { Channel, Id } from "../../api/types";
import { sentenceOf } from "../../store/notices";
import { parseRoute } from "../../store/route";
import { useApp } from "../context";
import { overlay } from "../layout";
import { CopyField } from "./copy";
import { closeOverlay, Dialog } from "./Dialog";
import { Field, Form } from "./Form";

export function CreateGuildForm({ onDone }: { onDone: () => void }) {
  const app = useApp();
  const [name, setName] = useState("");
  const submit = async (): Promise<void> => {
    await app.createGuild(name.trim());
    onDone();
  };
  return (
    <Form action="Create the guild" waiting="Creating…" onSubmit={submit} isDisabled={name.trim() === ""}>
      <Field label="Name of the guild" value={name} onInput={setName} placeholder="Reading circle" maxLength={100} isFirst />
    </Form>
  );
}

/** The code inside what people paste: a whole link, or the code alone. */
export function codeIn(text: string): string {
  const trimmed = text.trim();
  const path = /^https?:\/\/[^/]+(\/.*)$/.exec(trimmed)?.[1] ?? (trimmed.startsWith("/") ? trimmed : null);
  if (path === null) return trimmed;
  const found = parseRoute(path);
  return found.page === "invite" ? found.code : (path.split("/").filter(Boolean).at(-1) ?? "");
}

export function JoinGuildForm({ onDone }: { onDone: () => void }) {
  const app = useApp();
  const [text, setText] = useState("");
  const submit = async (): Promise<void> => {
    await app.acceptInvite(codeIn(text));
    onDone();
  };
  return (
    <Form action="Join" waiting="Joining…" onSubmit={submit} isDisabled={codeIn(text) === ""}>
      <Field label="Invite link or code" value={text} onInput={setText} placeholder={`${location.origin}/invite/…`} isFirst />
    </Form>
  );
}

export function AddGuildDialog({ joins }: { joins: boolean }) {
  return (
    <Dialog title={joins ? "Join a guild" : "Create a guild"}>
      {joins ? <JoinGuildForm onDone={closeOverlay} /> : <CreateGuildForm onDone={closeOverlay} />}
      <p class="dialog-foot">
        {joins ? "Rather start your own?" : "Do you have an invite?"}{" "}
        <button type="button" class="link" onClick={() => (overlay.value = { kind: joins ? "create-guild" : "join-guild" })}>
          {joins ? "Create a guild" : "Join a guild"}
        </button>
      </p>
    </Dialog>
  );
}

export function CreateChannelDialog({ guild }: { guild: Id }) {
  const app = useApp();
  const [name, setName] = useState("");
  const [topic, setTopic] = useState("");
  const submit = async (): Promise<void> => {
    await app.createChannel(guild, name, topic.trim() || null);
    closeOverlay();
  };
  return (
    <Dialog title="Create a channel">
      <Form action="Create the channel" waiting="Creating…" onSubmit={submit} isDisabled={name === ""}>
        <Field label="Name" value={name} onInput={(text) => setName(text.toLowerCase().replace(/\s+/g, "-"))} placeholder="book-club" maxLength={100} isFirst />
        <Field label="Topic" value={topic} onInput={setTopic} placeholder="What belongs here" maxLength={1024} isOptional />
      </Form>
    </Dialog>
  );
}

export function InviteDialog({ channel }: { channel: Channel }) {
  const app = useApp();
  const guild = channel.guild_id ? app.state.guilds.get(channel.guild_id) : undefined;
  const [code, setCode] = useState<string | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    app.rest.createInvite(channel.id).then(
      (invite) => setCode(invite.code),
      (error: unknown) => setFailure(sentenceOf(error)),
    );
  }, [channel.id]);
  return (
    <Dialog title={`Invite people to ${guild?.name ?? "this guild"}`}>
      <p class="dialog-text">Whoever opens this link can join, and lands in #{channel.name}. It works for a week.</p>
      {code && <CopyField label="Invite link" text={`${location.origin}/invite/${code}`} />}
      {!code && !failure && <p class="hint">Making a link…</p>}
      {failure && <p class="form-failure">{failure}</p>}
    </Dialog>
  );
}
