// Search: see the slow band, mark it, be told what is different about it, open a trace.
import { useEffect, useMemo } from "preact/hooks";
import { Problem } from "../../components/basics.tsx";
import { focusEditor } from "../../components/editor.tsx";
import { navigate, param, setQuery, url } from "../../router.ts";
import { useDraft } from "../../state/draft.ts";
import { type Shortcut, useShortcuts } from "../../state/keys.ts";
import { inSeconds, now, range, rangeText, refresh } from "../../state/range.ts";
import { noteVisit } from "../../state/visits.ts";
import { isMetrics } from "../../traceql/edit.ts";
import { placeOf } from "../../traceql/error.ts";
import { comparedWithBefore } from "./compare_menu.tsx";
import { Diff } from "./diff.tsx";
import { Overview } from "./overview.tsx";
import { QueryBar } from "./query_bar.tsx";
import { Results } from "./results.tsx";
import { diffKind, isLive, isMarked, marked, narrowed, order, queryText, setMark } from "./state.ts";
import { useSearch } from "./use_search.ts";

export default function Search() {
  const query = queryText();
  const [draft, setDraft] = useDraft(query);
  const selection = marked();
  const whole = range.value;
  const shown = isMarked(selection) ? narrowed(query, selection, whole) : { query, range: whole };
  const found = useSearch({ query: shown.query, ...inSeconds(shown.range), order: order() }, isLive());
  const error = useMemo(() => (found.error ? placeOf(found.error.message, shown.query) : undefined), [found.error, shown.query]);

  useEffect(() => noteVisit("search", url("/search", { q: param("q"), ...rangeOfUrl() }), query), [query, rangeText.value]);

  const run = (text = draft) => {
    const trimmed = text.trim();
    if (isMetrics(trimmed)) {
      navigate(url("/charts", { q: trimmed, ...rangeOfUrl() }));
      return;
    }
    now.value = Date.now();
    setQuery({ q: trimmed || null, mark: null, diff: null });
  };
  const shortcuts = useMemo<Shortcut[]>(
    () => [
      { keys: "/", what: "Write a query", run: () => focusEditor() },
      { keys: "r", what: "Search again", run: refresh },
      { keys: "l", what: "Live: newest traces as they come", run: () => setQuery({ live: isLive() ? null : "1" }) },
      { keys: "d", what: "What is different about what is marked, or about errors", run: toggleDiff },
      { keys: "c", what: "Compare with the time before", run: () => navigate(comparedWithBefore()) },
      { keys: "x", what: "Clear the mark", run: () => setMark(null) },
    ],
    [],
  );
  useShortcuts("Search", shortcuts);

  return (
    <>
      <h1 class="visually-hidden">Search traces</h1>
      <QueryBar draft={draft} error={draft === shown.query ? error : undefined} onDraft={setDraft} onRun={run} loading={found.loading} />
      {found.error && <Problem error={found.error} retry={refresh} />}
      {!(found.error && error) && <Overview query={query} selection={selection} />}
      <div class={diffKind() ? "search-body with-diff" : "search-body"}>
        {diffKind() && <Diff query={query} selection={selection} kind={diffKind()!} />}
        {!found.error && <Results found={found} query={shown.query} />}
      </div>
    </>
  );
}

const rangeOfUrl = () => ({ from: param("from"), to: param("to") });

function toggleDiff(): void {
  setQuery({ diff: diffKind() ? null : isMarked(marked()) ? "marked" : "errors" });
}
