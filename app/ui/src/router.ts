// The URL is the state: a path names the view, the query what it shows. Back and forward just work.
import { computed, signal } from "@preact/signals";

export interface Place {
  path: string;
  query: URLSearchParams;
}

const here = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search) });

export const place = signal<Place>({ path: "/", query: new URLSearchParams() });

/** A parameter of the query; "" where it is not there. */
export function param(name: string): string {
  return place.value.query.get(name) ?? "";
}

export const path = computed(() => place.value.path);

export type QueryPatch = Record<string, string | number | null | undefined>;

/** A path with a query; what is null, undefined or "" is left out. */
export function url(to: string, query: QueryPatch = {}): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") found.set(name, String(value));
  }
  const text = found.toString();
  return text ? `${to}?${text}` : to;
}

/** Goes to a URL of this page. replace: back does not come here again. */
export function navigate(to: string, { replace = false } = {}): void {
  if (to === location.pathname + location.search) replace = true;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  place.value = here();
  if (!replace) window.scrollTo(0, 0);
}

/** Changes parameters of this view, and keeps the others. */
export function setQuery(patch: QueryPatch, options: { replace?: boolean } = {}): void {
  const query: QueryPatch = Object.fromEntries(place.value.query);
  navigate(url(place.value.path, { ...query, ...patch }), options);
}

/** Links work without loading the page anew. Call it once. */
export function startRouter(): void {
  place.value = here();
  addEventListener("popstate", () => {
    place.value = here();
  });
  document.addEventListener("click", (event) => {
    const link = (event.target as Element | null)?.closest?.("a[href]") as HTMLAnchorElement | null;
    if (!link || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.hasAttribute("data-outside")) return; // an address of the API
    event.preventDefault();
    navigate(link.pathname + link.search);
  });
}
