import { useState } from "preact/hooks";
import { BY_HAND, logIn, logOut, loginAsked, tenant, token } from "../state/session.ts";
import { Dialog } from "./basics.tsx";

/** Tenant and token: opened by hand, or when the server refuses. */
export function Login() {
  return (
    <Dialog title="Tenant and token" open={loginAsked.value !== ""} onClose={() => (loginAsked.value = "")}>
      <Fields />
    </Dialog>
  );
}

function Fields() {
  const [name, setName] = useState(tenant.value);
  const [secret, setSecret] = useState(token.value);
  const submit = (event: Event) => {
    event.preventDefault();
    logIn(name, secret);
  };
  return (
    <form class="stack" onSubmit={submit} autocomplete="off">
      <p class="muted">Whose traces do you want to see? Name the tenant, and a token of it where the server has tokens.</p>
      {loginAsked.value !== BY_HAND && <p class="note">The server says: {loginAsked.value}</p>}
      <label class="field">
        <span>Tenant (X-Scope-OrgID)</span>
        <input class="input" name="tenant" value={name} spellcheck={false} autofocus onInput={(event) => setName(event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>Token</span>
        <input
          class="input"
          name="token"
          type="password"
          autocomplete="off"
          value={secret}
          onInput={(event) => setSecret(event.currentTarget.value)}
        />
      </label>
      <p class="faint small">Kept in this tab only, and gone when it closes.</p>
      <div class="row">
        <button type="submit" class="button primary">
          Use these
        </button>
        {(tenant.value || token.value) && (
          <button type="button" class="button" onClick={logOut}>
            Forget them
          </button>
        )}
      </div>
    </form>
  );
}
