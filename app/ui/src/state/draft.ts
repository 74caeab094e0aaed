// What is being written in place of a value, mostly one of the page's address, until it is run.
import { useCallback, useReducer, useRef } from "preact/hooks";

const asWritten = (draft: string): string => draft;

/** The text of a field that stands for `value`, and what sets it. It starts over when the value changes: with the back
 * button, with a click elsewhere; not where the value becomes what `valueOf` makes of the text.
 *
 * No effect does this: it would run after the first paint, and drop what was written before it.
 */
export function useDraft(value: string, valueOf = asWritten): [string, (draft: string) => void] {
  const [, render] = useReducer((times: number, _: undefined) => times + 1, 0);
  const held = useRef({ value, draft: value });
  if (held.current.value !== value) {
    const { draft } = held.current;
    held.current = { value, draft: valueOf(draft) === value ? draft : value };
  }
  const setDraft = useCallback((draft: string) => {
    held.current = { ...held.current, draft };
    render(undefined);
  }, []);
  return [held.current.draft, setDraft];
}
