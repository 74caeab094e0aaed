// The keys of the trace view.
import { useMemo } from "preact/hooks";
import { setQuery } from "../../router.ts";
import { type Shortcut, useShortcuts } from "../../state/keys.ts";
import { TABS, type TraceState } from "./state.ts";
import { FIND_ID, goTo } from "./toolbar.tsx";
import { type WaterfallHandle, zoomToRow } from "./waterfall/waterfall.tsx";

const nothing = (): void => undefined;

export function useTraceKeys(state: TraceState, waterfall: { current: WaterfallHandle | undefined }): void {
  const shortcuts = useMemo<Shortcut[]>(() => {
    const move = (lines: number) => () => {
      waterfall.current?.focus();
      waterfall.current?.move(lines);
    };
    return [
      { keys: "j", what: "Next line", run: move(1) },
      { keys: "k", what: "Line before", run: move(-1) },
      { keys: "↑ ↓ ← →", what: "In the tree: move, close, open", run: nothing },
      { keys: "⏎", what: "In the tree: details of the span", run: nothing },
      { keys: "Escape", what: "Close the details", run: () => state.select(-1) },
      { keys: "/", what: "Find in the trace", run: () => document.getElementById(FIND_ID)?.focus() },
      { keys: "n", what: "Next match", run: () => goTo(state, state.nextFound(1)) },
      { keys: "N", what: "Match before", run: () => goTo(state, state.nextFound(-1)) },
      { keys: "+", what: "Zoom in", run: () => state.zoomBy(0.5) },
      { keys: "-", what: "Zoom out", run: () => state.zoomBy(2) },
      { keys: "0", what: "Show the whole trace", run: () => state.zoomTo(undefined) },
      { keys: "x", what: "Zoom to the span", run: () => state.cursorRow() >= 0 && zoomToRow(state, state.cursorRow()) },
      { keys: "e", what: "Expand all", run: () => state.collapseTo(0) },
      { keys: "c", what: "Collapse all", run: () => state.collapseTo(1) },
      { keys: "s", what: "Collapse within services", run: () => state.collapseByService() },
      { keys: "f", what: "Fold repeated siblings", run: () => state.setFolding(!state.shown.peek().folding) },
      { keys: "p", what: "Critical path", run: () => (state.showPath.value = !state.showPath.peek()) },
      { keys: "m", what: "Where most of the time goes", run: () => state.bottleneck && state.select(state.bottleneck.row) },
      { keys: "u", what: "Time gaps", run: () => (state.showGaps.value = !state.showGaps.peek()) },
      ...TABS.map((tab, n) => ({ keys: String(n + 1), what: `Tab: ${tab}`, run: () => setQuery({ tab: n ? tab : "" }) })),
    ].map((one) => ({ ...one, run: () => void one.run() }));
  }, [state]);
  useShortcuts("Trace", shortcuts);
}
