// After registering, before the first guild: make one or join one. The operator of a fresh server also learns how to
// bring history in and how to make a bot.
import { useState } from "preact/hooks";
import { go } from "../store/route";
import { InviteCard, useInvite } from "./AuthPage";
import { ConnectionBanner } from "./ConnectionBanner";
import { useApp } from "./context";
import { CopyField } from "./dialogs/copy";
import { CreateGuildForm, JoinGuildForm } from "./dialogs/guilds";
import { Form } from "./dialogs/Form";
import { Wordmark } from "./Wordmark";

export function Welcome() {
  const app = useApp();
  const me = app.state.me.value;
  const [joins, setJoins] = useState(false);
  return (
    <main class="entrance">
      <ConnectionBanner />
      <div class="entrance-card">
        <Wordmark />
        <h1>Hello, {me?.global_name ?? me?.username}</h1>
        <p class="entrance-lead">A guild is a place for your people, with channels to talk in.</p>
        <div class="tabs" role="tablist" aria-label="Begin">
          <Tab isOn={!joins} label="Create a guild" onClick={() => setJoins(false)} />
          <Tab isOn={joins} label="Join by invite" onClick={() => setJoins(true)} />
        </div>
        <div role="tabpanel" aria-label={joins ? "Join by invite" : "Create a guild"}>
          {joins ? <JoinGuildForm onDone={() => undefined} /> : <CreateGuildForm onDone={() => undefined} />}
        </div>
        <p class="entrance-foot">
          <button type="button" class="link" onClick={() => void app.logout()}>
            Log out
          </button>
        </p>
      </div>
      {app.state.instance.value.first_visit === true && <OperatorCard />}
    </main>
  );
}

function Tab({ isOn, label, onClick }: { isOn: boolean; label: string; onClick: () => void }) {
  return (
    <button type="button" role="tab" aria-selected={isOn} onClick={onClick}>
      {label}
    </button>
  );
}

function OperatorCard() {
  return (
    <section class="entrance-card operator" aria-label="For the operator">
      <h2>You run this server?</h2>
      <p>Bring an archive in, or make a bot. On the machine of the server, with Flux stopped:</p>
      <h3>Import an IRC archive</h3>
      <CopyField label="Import an IRC archive" text={`flux import irc logs/ --guild "IRC archive" --data ./data`} />
      <h3>Import a Discord export</h3>
      <CopyField label="Import a Discord export" text="flux import discord export.json --data ./data" />
      <h3>Create a bot</h3>
      <CopyField label="Create a bot" text="flux bot create helper --guild ID --data ./data" />
    </section>
  );
}

/** An invite opened by somebody who is logged in. */
export function InvitePage() {
  const app = useApp();
  const { code, invite, failure } = useInvite();
  const isMember = invite?.guild !== undefined && app.state.guilds.get(invite.guild.id) !== undefined;
  const accept = async (): Promise<void> => {
    if (isMember && invite.guild) go({ page: "channels", guild: invite.guild.id, channel: null }, { replace: true });
    else if (code) await app.acceptInvite(code);
  };
  return (
    <main class="entrance">
      <div class="entrance-card">
        <Wordmark />
        <h1>An invite</h1>
        <InviteCard invite={invite} failure={failure} />
        {!failure && (
          <Form action={isMember ? "You are a member: open it" : "Join"} waiting="Joining…" onSubmit={accept} isDisabled={!invite}>
            {null}
          </Form>
        )}
        <p class="entrance-foot">
          <button type="button" class="link" onClick={() => go({ page: "home" })}>
            {failure ? "Go on without it" : "Not now"}
          </button>
        </p>
      </div>
    </main>
  );
}
