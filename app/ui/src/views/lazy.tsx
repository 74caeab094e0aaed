import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Problem, Progress } from "../components/basics.tsx";
import type { View } from "./index.ts";

/** A view, once its code is here. */
export function LazyView({ view }: { view: View }) {
  const [loaded, setLoaded] = useState<{ view: View; component: ComponentType }>();
  const [error, setError] = useState<Error>();
  const loads = useRef(0);
  const load = () => {
    setError(undefined);
    // Whoever goes back before the code is here has another view when it comes.
    const mine = ++loads.current;
    view.load().then(
      (module) => mine === loads.current && setLoaded({ view, component: module.default }),
      () =>
        mine === loads.current &&
        setError(new Error("This part of the page cannot be loaded. The server is away, or has a newer page: reload it.")),
    );
  };
  useEffect(load, [view]);
  if (error) return <Problem error={error} retry={load} />;
  if (loaded?.view !== view) return <Progress on />;
  const Component = loaded.component;
  return <Component />;
}
