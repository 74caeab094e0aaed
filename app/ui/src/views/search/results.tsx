import { useState } from "preact/hooks";
import type { FoundTrace, KeyValue, ServiceStats, SpanSet } from "../../api/types.ts";
import { Empty, Segments, Service } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { colourOf } from "../../lib/colours.ts";
import { ago, bytes, dateTime, duration, nsToMs, whole, wholeMs } from "../../lib/format.ts";
import { valueText } from "../../lib/value.ts";
import { setQuery, url } from "../../router.ts";
import { refresh } from "../../state/range.ts";
import { isDark } from "../../state/theme.ts";
import { noteVisit } from "../../state/visits.ts";
import { type Order, isLive, order } from "./state.ts";
import type { Found } from "./use_search.ts";

const SERVICES_SHOWN = 5;

export function Results({ found, query }: { found: Found & { more: () => void }; query: string }) {
  const longest = Math.max(1, ...found.traces.map((trace) => trace.durationMs ?? 0));
  return (
    <section class="card results" aria-label="Traces">
      <div class="card-head">
        <h2>Traces</h2>
        <Inspected found={found} />
        <span class="spacer" />
        <Segments<Order>
          label="Order"
          value={isLive() ? "start" : order()}
          choices={[
            { value: "start", label: "Newest" },
            { value: "duration", label: "Longest" },
          ]}
          onChange={orderBy}
        />
      </div>
      {found.partial && <p class="note">Not everything could be read: {found.partial}</p>}
      {found.traces.length > 0 ? (
        <div class="table-frame">
          <table class="table hover">
            <thead>
              <tr>
                <th>Trace</th>
                <th>Duration</th>
                <th class="right">Spans</th>
                <th class="right">Matched</th>
                <th>Services</th>
                <th>Started</th>
              </tr>
            </thead>
            <tbody>
              {found.traces.map((trace) => (
                <TraceRow key={trace.traceID} trace={trace} longest={longest} fresh={found.fresh.has(trace.traceID)} query={query} />
              ))}
            </tbody>
          </table>
        </div>
      ) : found.loading ? (
        <div class="card-body stack">
          {[1, 2, 3, 4, 5].map((row) => (
            <div key={row} class="skeleton line" />
          ))}
        </div>
      ) : (
        <Empty icon="search" title="No traces match">
          <p>Try a longer time range, or fewer conditions. New traces can be found within a second of their arrival.</p>
        </Empty>
      )}
      {found.nextCursor && !isLive() && (
        <div class="show-more">
          <button type="button" class="button" disabled={found.loading} onClick={found.more}>
            Show more
          </button>
        </div>
      )}
    </section>
  );
}

/** What comes live is the newest: the longest are those of the range, as of now. */
function orderBy(value: Order): void {
  if (isLive() && value === "duration") refresh();
  setQuery(value === "duration" ? { order: value, live: null } : { order: null });
}

/** What the search looked at for its answer. */
function Inspected({ found }: { found: Found }) {
  const { metrics, loading, traces } = found;
  const parts = [`${whole(traces.length)}${found.nextCursor ? "+" : ""} traces`];
  if (metrics?.inspectedSpans) parts.push(`${whole(Number(metrics.inspectedSpans))} spans inspected`);
  if (metrics?.inspectedBytes) parts.push(bytes(Number(metrics.inspectedBytes)));
  if (loading && metrics?.totalJobs) parts.push(`${metrics.completedJobs ?? 0} of ${metrics.totalJobs} parts`);
  if (!loading) parts.push(duration(found.tookMs * 1e6));
  return (
    <span class="muted small" role="status">
      {parts.join(" · ")}
    </span>
  );
}

function TraceRow({ trace, longest, fresh, query }: { trace: FoundTrace; longest: number; fresh: boolean; query: string }) {
  const [open, setOpen] = useState(false);
  const startMs = nsToMs(trace.startTimeUnixNano);
  const services = Object.entries(trace.serviceStats ?? {}).sort(([, a], [, b]) => (b.spanCount ?? 0) - (a.spanCount ?? 0));
  const spans = services.reduce((sum, [, stats]) => sum + (stats.spanCount ?? 0), 0);
  const errors = services.reduce((sum, [, stats]) => sum + (stats.errorCount ?? 0), 0);
  const matched = (trace.spanSets ?? []).reduce((sum, set) => sum + (set.matched ?? 0), 0);
  const name = trace.rootTraceName || "(no name)";
  const service = trace.rootServiceName ?? "";
  const link = url(`/trace/${trace.traceID}`, { at: Number.isFinite(startMs) ? Math.floor(startMs) : undefined, q: query });
  const note = () => noteVisit("trace", link, `${service}: ${name}`);
  return (
    <>
      <tr class={fresh ? "fresh" : undefined}>
        <td class="trace-cell">
          <button
            type="button"
            class={open ? "button plain icon small turn open" : "button plain icon small turn"}
            aria-expanded={open}
            aria-label={`Matched spans of ${name}`}
            onClick={() => setOpen(!open)}
          >
            <Icon name="right" />
          </button>
          <a href={link} onClick={note} class="trace-name ellipsis">
            <span class="dot" style={{ background: colourOf(service, isDark.value) }} />
            <span class="muted">{service}</span> <strong>{name}</strong>
          </a>
        </td>
        <td class="duration-cell">
          <span class="number">{wholeMs(trace.durationMs ?? 0)}</span>
          <span class="meter" aria-hidden="true">
            <span style={{ width: `${Math.max(1, ((trace.durationMs ?? 0) / longest) * 100)}%` }} />
          </span>
        </td>
        <td class="right number">
          {whole(spans)}
          {errors > 0 && <span class="badge bad errors">{whole(errors)} failed</span>}
        </td>
        <td class="right number muted">{whole(matched)}</td>
        <td>
          <Services services={services} />
        </td>
        <td class="number" title={dateTime(startMs)}>
          {dateTime(startMs).slice(5, 19)} <span class="faint small ago">{ago(startMs)}</span>
        </td>
      </tr>
      {open && (
        <tr class="opened">
          <td colSpan={6}>
            <MatchedSpans sets={trace.spanSets ?? []} link={link} note={note} />
          </td>
        </tr>
      )}
    </>
  );
}

function Services({ services }: { services: readonly (readonly [string, ServiceStats])[] }) {
  const rest = services.length - SERVICES_SHOWN;
  return (
    <span class="service-dots">
      {services.slice(0, SERVICES_SHOWN).map(([name, stats]) => (
        <span
          key={name}
          class={stats.errorCount ? "service-count bad" : "service-count"}
          title={`${name}: ${stats.spanCount ?? 0} spans${stats.errorCount ? `, ${stats.errorCount} failed` : ""}`}
        >
          <span class="dot" style={{ background: colourOf(name, isDark.value) }} />
          {stats.spanCount ?? 0}
        </span>
      ))}
      {rest > 0 && <span class="faint small">+{rest}</span>}
    </span>
  );
}

const isTelling = (one: KeyValue): boolean => one.key !== "status" || valueText(one.value) !== "unset";

function MatchedSpans({ sets, link, note }: { sets: readonly SpanSet[]; link: string; note: () => void }) {
  const spans = sets.flatMap((set) => set.spans ?? []);
  const more = sets.reduce((sum, set) => sum + (set.matched ?? 0), 0) - spans.length;
  return (
    <div class="matched">
      <table class="table">
        <tbody>
          {spans.map((span) => (
            <tr key={span.spanID}>
              <td class="number">{duration(Number(span.durationNanos ?? 0))}</td>
              <td>
                <a href={`${link}${link.includes("?") ? "&" : "?"}span=${span.spanID}`} onClick={note}>
                  {span.name || "(no name)"}
                </a>
              </td>
              <td class="matched-attributes">
                {(span.attributes ?? []).filter(isTelling).map((one) =>
                  one.key === "service.name" ? (
                    <Service key={one.key} name={valueText(one.value)} />
                  ) : one.key === "status" ? (
                    <span key={one.key} class={valueText(one.value) === "error" ? "badge bad" : "badge"}>
                      {valueText(one.value)}
                    </span>
                  ) : (
                    <span key={one.key} class="badge">
                      {one.key} = {valueText(one.value)}
                    </span>
                  ),
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {more > 0 && <p class="faint small">and {whole(more)} more matched spans</p>}
    </div>
  );
}
