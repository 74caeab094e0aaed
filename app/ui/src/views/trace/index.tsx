// One trace: /trace/<id>?span=…&tab=…&find=…&only=1&min=…&zoom=…
import { useEffect, useMemo, useRef } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import { useQuery } from "../../api/use_query.ts";
import { Empty, Problem, Progress } from "../../components/basics.tsx";
import { path, setQuery } from "../../router.ts";
import { Details } from "./details/details.tsx";
import { Head, Notes } from "./head.tsx";
import { useTraceKeys } from "./keys.ts";
import type { LinkTemplate } from "./model/link_templates.ts";
import { fetchOutline } from "./model/outline.ts";
import { buildTrace, type Trace } from "./model/trace.ts";
import { TABS, type Tab, TraceState } from "./state.ts";
import { FlameTab } from "./tabs/flame_tab.tsx";
import { JsonTab } from "./tabs/json_tab.tsx";
import { SpansTab } from "./tabs/spans_tab.tsx";
import { StatisticsTab } from "./tabs/statistics_tab.tsx";
import { Toolbar } from "./toolbar.tsx";
import { Minimap } from "./waterfall/minimap.tsx";
import { Waterfall, type WaterfallHandle } from "./waterfall/waterfall.tsx";

export default function TraceView() {
  const id = decodeURIComponent(path.value.replace(/^\/trace\//, "").replace(/\/$/, ""));
  const asked = useQuery(id || null, async (signal) => buildTrace(await fetchOutline(id, signal)));
  useEffect(() => {
    const name = asked.data?.rootName;
    if (name) document.title = `${name} · Stretto`;
  }, [asked.data]);
  if (!id) return <Empty title="Which trace?">Its id belongs into the address: /trace/&lt;id&gt;</Empty>;
  if (asked.error) return <Problem error={asked.error} retry={asked.reload} />;
  const trace = asked.data;
  if (!trace || (asked.loading && !sameId(trace.id, id))) return <Loading />;
  if (trace.spans === 0) return <Unknown id={id} partial={trace.partial} reload={asked.reload} />;
  return <Known trace={trace} key={trace.id} />;
}

const sameId = (a: string, b: string): boolean => a.padStart(32, "0") === b.toLowerCase().padStart(32, "0");

const Loading = () => (
  <div class="tr">
    <Progress on />
    <div class="tr-loading">
      {Array.from({ length: 14 }, (_, n) => (
        <div key={n} class="skeleton" style={{ width: `${30 + ((n * 37) % 60)}%`, marginLeft: `${(n * 13) % 30}%` }} />
      ))}
    </div>
  </div>
);

function Unknown({ id, partial, reload }: { id: string; partial: string; reload: () => void }) {
  return (
    <Empty icon="search" title="This trace is not here">
      <p>
        No span of <code>{id}</code> is stored for this tenant. It may be older than the retention, or was not sampled. A trace that is being sent now is here
        within a second.
      </p>
      {partial && <p class="bad">Not all of the data could be looked through: {partial}.</p>}
      <button type="button" class="button" onClick={reload}>
        Look again
      </button>
    </Empty>
  );
}

const LABELS: Record<Tab, string> = { waterfall: "Waterfall", flame: "Flame graph", statistics: "Statistics", spans: "Spans", json: "JSON" };
const NO_LINKS: readonly LinkTemplate[] = [];

function Known({ trace }: { trace: Trace }) {
  const state = useMemo(() => new TraceState(trace), [trace]);
  const waterfall = useRef<WaterfallHandle | undefined>(undefined);
  useTraceKeys(state, waterfall);
  const config = useQuery("links", (signal) => getJson<{ links?: LinkTemplate[] }>("/api/page/config", { signal }));
  const tab = state.tab.value;
  const selected = state.selected.value;
  return (
    <div class="tr">
      <Head state={state} />
      <Notes trace={trace} />
      <section class="card tr-card">
        <div class="tr-tabs" role="tablist" aria-label="Views of the trace">
          {TABS.map((one) => (
            <button
              key={one}
              type="button"
              role="tab"
              id={`tab-${one}`}
              aria-selected={one === tab}
              aria-controls="tab-panel"
              tabIndex={one === tab ? 0 : -1}
              onClick={() => setQuery({ tab: one === "waterfall" ? "" : one })}
              onKeyDown={(event) => onTabKey(event, one)}
            >
              {LABELS[one]}
            </button>
          ))}
        </div>
        {tab !== "json" && tab !== "statistics" && <Toolbar state={state} />}
        {tab === "waterfall" && <Minimap state={state} />}
        <div class="tr-body">
          <div class="tr-panel" role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
            {tab === "waterfall" && <Waterfall state={state} handle={waterfall} />}
            {tab === "flame" && <FlameTab state={state} />}
            {tab === "statistics" && <StatisticsTab state={state} />}
            {tab === "spans" && <SpansTab state={state} />}
            {tab === "json" && <JsonTab state={state} />}
          </div>
          {selected >= 0 && tab !== "json" && <Details state={state} row={selected} templates={config.data?.links ?? NO_LINKS} />}
        </div>
      </section>
    </div>
  );
}

function onTabKey(event: KeyboardEvent, tab: Tab): void {
  const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  if (!step) return;
  event.preventDefault();
  const next = TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length]!;
  setQuery({ tab: next === "waterfall" ? "" : next });
  document.getElementById(`tab-${next}`)?.focus();
}
