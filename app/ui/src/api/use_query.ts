// What a component asks of the API: asked anew when its key changes, given up when nobody waits.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { loginCount } from "../state/session.ts";
import { isAbort } from "./client.ts";

export interface Asked<T> {
  /** The last answer; it stays while the next is on its way. */
  data: T | undefined;
  error: Error | undefined;
  loading: boolean;
  reload: () => void;
}

/** key: what is asked, as text; null: nothing, for now. ask: gets a signal that ends it. */
export function useQuery<T>(key: string | null, ask: (signal: AbortSignal) => Promise<T>): Asked<T> {
  const [state, setState] = useState<Omit<Asked<T>, "reload">>({ data: undefined, error: undefined, loading: key !== null });
  const [turn, setTurn] = useState(0);
  const asking = useRef(ask);
  asking.current = ask;
  const login = loginCount.value;
  useEffect(() => {
    if (key === null) {
      setState({ data: undefined, error: undefined, loading: false });
      return;
    }
    const controller = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    asking.current(controller.signal).then(
      (data) => {
        if (!controller.signal.aborted) setState({ data, error: undefined, loading: false });
      },
      (error: unknown) => {
        if (controller.signal.aborted || isAbort(error)) return;
        setState({ data: undefined, error: error instanceof Error ? error : new Error(String(error)), loading: false });
      },
    );
    return () => controller.abort();
  }, [key, turn, login]);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  return { ...state, reload };
}
