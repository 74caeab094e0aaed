// Keys: each view says which it has, and the help (?) shows them.
import { signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

export interface Shortcut {
  /** As in KeyboardEvent.key; two with a space between are pressed one after the other: "g s". */
  keys: string;
  what: string;
  run: () => void;
}

export interface ShortcutGroup {
  title: string;
  shortcuts: readonly Shortcut[];
}

export const groups = signal<readonly ShortcutGroup[]>([]);

/** The keys of a view, while it is shown. Keep `shortcuts` the same between renderings (useMemo, or a constant). */
export function useShortcuts(title: string, shortcuts: readonly Shortcut[]): void {
  // At once, not after the next painting: what is seen can be typed.
  useLayoutEffect(() => {
    const group = { title, shortcuts };
    groups.value = [...groups.value, group];
    return () => {
      groups.value = groups.value.filter((one) => one !== group);
    };
  }, [title, shortcuts]);
}

const SEQUENCE_MS = 1200;
let before = "";
let beforeMs = 0;

function typesText(target: EventTarget | null): boolean {
  // What lies in a shadow root, as the editor does, is named by the path only.
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName);
}

/** Shortcuts run from now on. Keys that somebody types as text are left alone. */
export function startKeys(): void {
  addEventListener("keydown", onKey);
}

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typesText(event.composedPath()[0] ?? null)) return;
  if (document.querySelector("dialog[open]")) return;
  const sequence = event.timeStamp - beforeMs < SEQUENCE_MS && before ? `${before} ${event.key}` : "";
  const all = groups.value.flatMap((group) => group.shortcuts).reverse();
  const found = all.find((one) => one.keys === sequence) ?? all.find((one) => one.keys === event.key);
  before = found ? "" : event.key;
  beforeMs = event.timeStamp;
  if (found) {
    event.preventDefault();
    found.run();
  }
}
