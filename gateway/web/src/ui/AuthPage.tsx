// The first minute: a name and a password, nothing else. With an invite, joining is part of it.
import { useEffect, useState } from "preact/hooks";
import type { Invite } from "../api/types";
import { sentenceOf } from "../store/notices";
import { go, route } from "../store/route";
import { GuildTile } from "./Avatar";
import { useApp } from "./context";
import { Field, Form } from "./dialogs/Form";
import { Wordmark } from "./Wordmark";

export const PASSWORD_MIN = 8;

/** What an invite link leads to, or why it leads nowhere. */
export function useInvite(): { code: string | null; invite: Invite | null; failure: string | null } {
  const app = useApp();
  const here = route.value;
  const code = here.page === "invite" ? here.code : null;
  const [invite, setInvite] = useState<Invite | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    setInvite(null);
    setFailure(null);
    if (!code) return;
    app.rest.invite(code).then(setInvite, (error: unknown) => setFailure(sentenceOf(error)));
  }, [code]);
  return { code, invite, failure };
}

export function InviteCard({ invite, failure }: { invite: Invite | null; failure: string | null }) {
  if (failure) {
    return (
      <div class="invite-card invite-bad" role="alert">
        <p>
          <strong>This invite does not work.</strong> {failure} Ask for a new link.
        </p>
      </div>
    );
  }
  if (!invite?.guild) return <div class="invite-card invite-waiting" role="status" aria-label="Reading the invite" />;
  const count = invite.approximate_member_count;
  return (
    <div class="invite-card">
      <GuildTile id={invite.guild.id} name={invite.guild.name} />
      <div>
        <small>{invite.inviter ? `${invite.inviter.global_name ?? invite.inviter.username} invites you to` : "You are invited to"}</small>
        <strong>{invite.guild.name}</strong>
        {count !== undefined && <small>{count === 1 ? "1 member" : `${count} members`}</small>}
      </div>
    </div>
  );
}

export function AuthPage() {
  const app = useApp();
  const { code, invite, failure } = useInvite();
  const facts = app.state.instance.value;
  const [isNew, setNew] = useState(true);
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const mayRegister = facts.registration_open !== false;
  const registers = isNew && mayRegister;
  const joins = code !== null && failure === null;
  const submit = async (): Promise<void> => {
    const enter = registers ? app.register.bind(app) : app.login.bind(app);
    await enter(name.trim(), password, joins ? code : null);
    if (code !== null && !joins) go({ page: "home" }, { replace: true });
  };
  const action = `${registers ? "Create account" : "Log in"}${joins ? " and join" : ""}`;
  return (
    <main class="entrance">
      <div class="entrance-card">
        <Wordmark />
        <h1>{registers ? "Create your account" : "Welcome back"}</h1>
        <p class="entrance-lead">{registers ? "A name and a password are all it takes." : `Log in to ${facts.name ?? "Flux"}.`}</p>
        {code !== null && <InviteCard invite={invite} failure={failure} />}
        <Form key={String(registers)} action={action} waiting="One moment…" onSubmit={submit} isDisabled={name.trim() === "" || password === ""}>
          <Field label="Name" value={name} onInput={setName} autocomplete="username" maxLength={32} isFirst />
          <Field
            label="Password"
            type="password"
            value={password}
            onInput={setPassword}
            autocomplete={registers ? "new-password" : "current-password"}
            {...(registers ? { hint: `At least ${PASSWORD_MIN} characters.` } : {})}
          />
        </Form>
        <p class="entrance-foot">
          {!mayRegister ? (
            "Registration is closed on this server."
          ) : (
            <>
              {registers ? "Already here before?" : "New here?"}{" "}
              <button type="button" class="link" onClick={() => setNew(!isNew)}>
                {registers ? "Log in" : "Create an account"}
              </button>
            </>
          )}
        </p>
      </div>
    </main>
  );
}
