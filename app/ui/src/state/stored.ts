// Small choices of the viewer that outlive the page, or the tab only.
import { type Signal, effect, signal } from "@preact/signals";

/** A signal whose value the browser keeps; where it must not, it lasts as long as the page. */
export function stored<T>(where: "local" | "session", key: string, start: T, valid: (value: unknown) => value is T): Signal<T> {
  const storage = (): Storage => (where === "local" ? localStorage : sessionStorage);
  const name = `stretto.${key}`;
  const value = signal<T>(start);
  try {
    const text = storage().getItem(name);
    if (text !== null) {
      const found: unknown = JSON.parse(text);
      if (valid(found)) value.value = found;
    }
  } catch {
    // no storage, or somebody else's text
  }
  let first = true;
  effect(() => {
    const text = JSON.stringify(value.value);
    if (first) {
      first = false;
      return;
    }
    try {
      storage().setItem(name, text);
    } catch {
      // full or forbidden
    }
  });
  return value;
}

export const oneOf =
  <T extends string>(...values: readonly T[]) =>
  (value: unknown): value is T =>
    (values as readonly unknown[]).includes(value);

export const isText = (value: unknown): value is string => typeof value === "string";
