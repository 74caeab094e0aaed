// Who asks. Tenant and token stay in this tab only.
import { signal } from "@preact/signals";
import { isText, stored } from "./stored.ts";

export const tenant = stored<string>("session", "tenant", "", isText);
export const token = stored<string>("session", "token", "", isText);

/** Why the server wants to know who asks; "": it does not. The field opens when it is set. */
/** What `loginAsked` says when somebody opens the field without being asked. */
export const BY_HAND = "by hand";

export const loginAsked = signal("");

/** Counts log-ins: what is shown belongs to one of them, and is asked for anew after the next. */
export const loginCount = signal(0);

/** The headers of every request. */
export function identity(): Record<string, string> {
  const headers: Record<string, string> = {};
  if (tenant.value) headers["X-Scope-OrgID"] = tenant.value;
  if (token.value) headers["Authorization"] = `Bearer ${token.value}`;
  return headers;
}

export function logIn(newTenant: string, newToken: string): void {
  tenant.value = newTenant.trim();
  token.value = newToken.trim();
  loginAsked.value = "";
  loginCount.value += 1;
}

export function logOut(): void {
  logIn("", "");
}
