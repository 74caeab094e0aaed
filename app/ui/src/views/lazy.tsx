import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Problem, Progress } from "../components/basics.tsx";
import type { View } from "./index.ts";

/** A view, once its code is here. */
export function LazyView({ view }: { view: View }) {
  const [loaded, setLoaded] = useState<{ view: View; component: ComponentType }>();
  const [error, setError] = useState<Error>();
  const load = () => {
    setError(undefined);
    view.load().then(
      (module) => setLoaded({ view, component: module.default }),
      () => setError(new Error("This part of the page cannot be loaded. The server is away, or has a newer page: reload it.")),
    );
  };
  useEffect(load, [view]);
  if (error) return <Problem error={error} retry={load} />;
  if (loaded?.view !== view) return <Progress on />;
  const Component = loaded.component;
  return <Component />;
}
