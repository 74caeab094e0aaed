// The two traces in short, and how they differ as wholes.
import { Service } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { dateTime, digits, duration, whole } from "../../lib/format.ts";
import { navigate, setQuery, url } from "../../router.ts";
import { mainTop } from "../trace/model/critical_path.ts";
import { nameOf, serviceOf, type Trace } from "../trace/model/trace.ts";
import { signed } from "./words.ts";

export function Heads({ a, b }: { a: Trace; b: Trace }) {
  const delta = b.durationNs - a.durationNs;
  const factor = a.durationNs > 0 ? b.durationNs / a.durationNs : 0;
  return (
    <div class="cmp-heads">
      <Head label="A" trace={a} />
      <div class="cmp-versus">
        <strong class={`number ${delta > 0 ? "bad" : "good"}`}>{signed(delta)}</strong>
        <span class="faint">{factor > 0 && `${digits(factor)} times as long`}</span>
        <div class="cmp-versus-tools">
          <button type="button" class="button small" title="Change sides" onClick={() => setQuery({ a: b.id, b: a.id, node: "" })}>
            <Icon name="reload" />
            Swap
          </button>
          <button type="button" class="button small" onClick={() => navigate("/compare")}>
            Others
          </button>
        </div>
      </div>
      <Head label="B" trace={b} />
      {(a.partial || b.partial) && <p class="note cmp-partial">Part of a trace may be missing: {[a.partial, b.partial].filter(Boolean).join("; ")}.</p>}
    </div>
  );
}

function Head({ label, trace }: { label: "A" | "B"; trace: Trace }) {
  const top = mainTop(trace);
  return (
    <section class={`card cmp-head side-${label}`} aria-label={`Trace ${label}`}>
      <span class="cmp-side" aria-hidden="true">
        {label}
      </span>
      <div class="cmp-title">
        <Service name={serviceOf(trace, top) || "unknown service"} />
        <a href={url(`/trace/${trace.id}`)}>
          <strong>{nameOf(trace, top) || "no name"}</strong>
        </a>
        <span class="faint small">
          {trace.startNs > 0n ? dateTime(Number(trace.startNs / 1_000_000n)) : ""} · <code>{trace.id.slice(0, 8)}</code>
        </span>
      </div>
      <dl>
        <div>
          <dt>Duration</dt>
          <dd class="number">{duration(trace.durationNs)}</dd>
        </div>
        <div>
          <dt>Spans</dt>
          <dd class="number">{whole(trace.spans)}</dd>
        </div>
        <div>
          <dt>Errors</dt>
          <dd class="number">{trace.errors ? <span class="bad">{whole(trace.errors)}</span> : "0"}</dd>
        </div>
      </dl>
    </section>
  );
}
