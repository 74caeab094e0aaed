// Two traces side by side: /compare?a=<id>&b=<id>&only=1&node=<number>. Two searches: searches/state.ts
import { useMemo, useState } from "preact/hooks";
import { useQuery } from "../../api/use_query.ts";
import { Empty, Problem, Progress } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { param, setQuery, url, navigate } from "../../router.ts";
import { earlier } from "../../state/range.ts";
import { ROOTS } from "../../traceql/form.ts";
import { fetchOutline } from "../trace/model/outline.ts";
import { buildTrace, type Trace } from "../trace/model/trace.ts";
import { Differences } from "./differences.tsx";
import { Heads } from "./heads.tsx";
import { align, differences } from "./model/align.ts";
import { Pair } from "./pair.tsx";
import CompareSearches from "./searches/index.tsx";
import { isOfSearches, searchesUrl } from "./searches/state.ts";
import { Tree } from "./tree.tsx";

const LEAST_SHARE = 0.002;

export default function CompareView() {
  return isOfSearches() ? <CompareSearches /> : <CompareTraces />;
}

function CompareTraces() {
  const [a, b] = [param("a"), param("b")];
  const asked = useQuery(a && b ? `${a} ${b}` : null, async (signal) => {
    const [first, second] = await Promise.all([fetchOutline(a, signal), fetchOutline(b, signal)]);
    return [buildTrace(first), buildTrace(second)] as const;
  });
  if (!a || !b) return <Ask a={a} b={b} />;
  if (asked.error) return <Problem error={asked.error} retry={asked.reload} />;
  if (!asked.data || asked.loading) return <Progress on />;
  const [first, second] = asked.data;
  const missing = [!first.spans && a, !second.spans && b].filter(Boolean).join(" and ");
  if (missing) {
    return (
      <Empty icon="compare" title="Not both traces are here">
        <p>
          No span of <code>{missing}</code> is stored for this tenant.
        </p>
        <button type="button" class="button" onClick={asked.reload}>
          Look again
        </button>
      </Empty>
    );
  }
  return <Known a={first} b={second} key={`${first.id} ${second.id}`} />;
}

function Known({ a, b }: { a: Trace; b: Trace }) {
  const aligned = useMemo(() => align(a, b), [a, b]);
  const leastNs = LEAST_SHARE * Math.max(a.durationNs, b.durationNs);
  const found = useMemo(() => differences(aligned, leastNs), [aligned, leastNs]);
  const only = param("only") === "1";
  const number = param("node") === "" ? -1 : Number(param("node"));
  const selected = aligned.nodes[number];
  const select = (at: number) => setQuery({ node: at < 0 ? "" : at }, { replace: true });
  return (
    <div class="cmp">
      <h1 class="visually-hidden">Two traces compared</h1>
      <Heads a={a} b={b} />
      <div class="cmp-body">
        <Differences found={found} aligned={aligned} selected={selected} onSelect={select} />
        <section class="card cmp-card" aria-label="Both traces">
          <Tree a={a} b={b} aligned={aligned} only={only} selected={selected} onSelect={select} />
          {selected && <Pair a={a} b={b} node={selected} onClose={() => select(-1)} />}
        </section>
      </div>
    </div>
  );
}

/** The requests of the last hour, and of the hour before: something to begin with. */
function lastTwoHours(): string {
  const last = { from: "now-1h", to: "now" };
  return searchesUrl({ query: ROOTS, range: earlier(last, 3600e3) }, { query: ROOTS, range: last });
}

const idOf = (text: string): string => /([0-9a-f]{1,32})(?:\?.*)?\s*$/i.exec(text.trim())?.[1] ?? "";

function Ask({ a, b }: { a: string; b: string }) {
  const [first, setFirst] = useState(a);
  const [second, setSecond] = useState(b);
  const ready = idOf(first) !== "" && idOf(second) !== "";
  return (
    <Empty icon="compare" title="Compare two traces">
      <p>What is slower, what is missing, what is new: paste two trace ids or addresses. Every trace has a button for it, too, which offers others with its root.</p>
      <form
        class="cmp-ask"
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) navigate(url("/compare", { a: idOf(first), b: idOf(second) }));
        }}
      >
        <label class="field">
          <span>A: as it should be</span>
          <input class="input" name="a" value={first} spellcheck={false} autofocus onInput={(event) => setFirst(event.currentTarget.value)} />
        </label>
        <label class="field">
          <span>B: what is looked at</span>
          <input class="input" name="b" value={second} spellcheck={false} onInput={(event) => setSecond(event.currentTarget.value)} />
        </label>
        <button type="submit" class="button primary" disabled={!ready}>
          <Icon name="compare" />
          Compare
        </button>
      </form>
      <p>
        Or <a href={lastTwoHours()}>compare two searches</a>: which attributes differ between their spans.
      </p>
    </Empty>
  );
}
