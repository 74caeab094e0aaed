// What the trace is: its root, when, how long, and what is odd about it.
import { CopyButton, Service } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { colourOf } from "../../lib/colours.ts";
import { ago, count, dateTime, duration, percent, whole } from "../../lib/format.ts";
import { setQuery } from "../../router.ts";
import { isDark } from "../../state/theme.ts";
import { CompareWith } from "./compare_with.tsx";
import { Download } from "./download.tsx";
import type { Bottleneck } from "./model/bottleneck.ts";
import { mainTop } from "./model/critical_path.ts";
import { nameOf, serviceOf, type Trace } from "./model/trace.ts";
import type { TraceState } from "./state.ts";

export function Head({ state }: { state: TraceState }) {
  const { trace } = state;
  const top = mainTop(trace);
  const name = trace.rootName || (top >= 0 ? nameOf(trace, top) : "");
  const service = trace.rootService || (top >= 0 ? serviceOf(trace, top) : "");
  const startMs = Number(trace.startNs / 1000n) / 1000;
  let depth = 0;
  for (const one of trace.depth) depth = Math.max(depth, one + 1);
  return (
    <header class="tr-head">
      <div class="tr-title">
        <Service name={service || "unknown service"} />
        <h1>{name || "no name"}</h1>
      </div>
      <dl class="tr-facts">
        <Fact label="Duration" value={duration(trace.durationNs)} strong />
        {state.bottleneck && <MostOfIt state={state} most={state.bottleneck} />}
        <Fact label="Start" value={trace.startNs > 0n ? dateTime(startMs) : "unknown"} title={ago(startMs)} />
        <Fact label="Spans" value={whole(trace.spans)} />
        <Fact label="Services" value={whole(trace.services.length)} />
        <Fact label="Depth" value={whole(depth)} />
        <div>
          <dt>Errors</dt>
          <dd>
            {trace.errors ? (
              <button type="button" class="badge bad tr-errors" title="Find them" onClick={() => setQuery({ find: "{ status = error }", tab: "" })}>
                {count(trace.errors)}
              </button>
            ) : (
              "0"
            )}
          </dd>
        </div>
        <div>
          <dt>Trace id</dt>
          <dd class="tr-id">
            <code title={trace.id}>{trace.id}</code>
            <CopyButton text={trace.id} label="Copy the trace id" />
          </dd>
        </div>
      </dl>
      <div class="tr-actions">
        <CompareWith trace={trace} />
        <Download trace={trace} plain />
      </div>
    </header>
  );
}

/** The answer to "why does it take so long?", and the way there. */
function MostOfIt({ state, most }: { state: TraceState; most: Bottleneck }) {
  const name = `${most.spans > 1 ? `${whole(most.spans)} × ` : ""}${most.name || "no name"}`;
  return (
    <div>
      <dt>Most of it</dt>
      <dd>
        <button
          type="button"
          class="link-button tr-most"
          title={`The trace waits ${duration(most.ns)} for ${most.service}: ${name} (m)`}
          onClick={() => state.select(most.row)}
        >
          <span class="dot" style={{ background: colourOf(most.service, isDark.value) }} />
          <span class="ellipsis">{name}</span>
          <span class="number">{percent(most.share)}</span>
        </button>
      </dd>
    </div>
  );
}

const Fact = ({ label, value, title, strong = false }: { label: string; value: string; title?: string; strong?: boolean }) => (
  <div title={title}>
    <dt>{label}</dt>
    <dd class={strong ? "number strong" : "number"}>{value}</dd>
  </div>
);

const some = (n: number, one: string, more: string): string => (n === 1 ? one : `${whole(n)} ${more}`);

/** What is not as it should be, with what it means. */
export function Notes({ trace }: { trace: Trace }) {
  const roots = trace.tops.filter((row) => row < trace.spans).length - trace.cycles;
  const notes: string[] = [];
  if (trace.partial) notes.push(`Part of this trace may be missing: ${trace.partial}.`);
  if (trace.orphans) {
    notes.push(
      `${some(trace.orphans, "One span names a parent that is", "spans name parents that are")} not here; dashed rows stand for them. They may still be on their way.`,
    );
  }
  if (roots > 1) notes.push(`The trace has ${whole(roots)} roots.`);
  if (trace.cycles) notes.push(some(trace.cycles, "One span is its own ancestor: shown as a root.", "spans are their own ancestors: shown as roots."));
  if (trace.skewed) {
    notes.push(`${some(trace.skewed, "One span starts before its parent", "spans start before their parents")}: the clocks of two machines differ.`);
  }
  if (!notes.length) return null;
  return (
    <ul class="note tr-notes" aria-label="What is odd about this trace">
      {notes.map((text) => (
        <li key={text}>
          <Icon name="warn" />
          {text}
        </li>
      ))}
    </ul>
  );
}
