// All of one span, beside the waterfall.
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useQuery } from "../../../api/use_query.ts";
import type { KeyValue } from "../../../api/types.ts";
import { CopyButton, Problem, Progress, Service } from "../../../components/basics.tsx";
import { Icon } from "../../../components/icon.tsx";
import { drag } from "../../../lib/drag.ts";
import { dateTime, duration, nsToMs, percent } from "../../../lib/format.ts";
import { quoted } from "../../../lib/traceql_text.ts";
import { url } from "../../../router.ts";
import { stored } from "../../../state/stored.ts";
import { linksOf, type LinkTemplate } from "../model/link_templates.ts";
import { fetchSpan, idHex, type SpanEvent, type WholeSpan } from "../model/span.ts";
import { Flag, isMissing, nameOf, serviceOf, spanIdOf, type Trace } from "../model/trace.ts";
import type { TraceState } from "../state.ts";
import { zoomToRow } from "../waterfall/waterfall.tsx";
import { Attributes } from "./attributes.tsx";
import { Links } from "./links.tsx";

const WIDTH_PX_MIN = 320;
const AROUND_MS = 1800e3;
const width = stored<number>("local", "trace.detailsWidth", 430, (value): value is number => typeof value === "number");

export function Details({ state, row, templates }: { state: TraceState; row: number; templates: readonly LinkTemplate[] }) {
  const { trace } = state;
  const missing = isMissing(trace, row);
  const asked = useQuery(missing ? null : `${trace.id}/${row}`, (signal) => fetchSpan(trace, row, signal));
  const panel = useRef<HTMLElement>(null);
  useEffect(() => {
    panel.current?.scrollTo(0, 0);
  }, [row]);
  // What is shown is of the span that was selected before, until the next is here.
  const whole = asked.data && idHex(asked.data.span.spanId) === spanIdOf(trace, row) ? asked.data : undefined;
  return (
    <aside class="sd" ref={panel} aria-label="Details of the span" style={{ width: `${Math.max(WIDTH_PX_MIN, width.value)}px` }}>
      <Edge />
      <header class="sd-head">
        <div class="sd-title">
          <Service name={serviceOf(trace, row) || "unknown service"} />
          <h2>{nameOf(trace, row)}</h2>
        </div>
        <button type="button" class="button plain icon" aria-label="Close the details" title="Close (Esc)" onClick={() => state.select(-1)}>
          <Icon name="close" />
        </button>
      </header>
      <Progress on={asked.loading} />
      {missing ? <MissingSpan trace={trace} row={row} /> : <Times state={state} row={row} />}
      {asked.error && (
        <div class="sd-part">
          <Problem error={asked.error} retry={asked.reload} />
        </div>
      )}
      {!missing && !asked.loading && !asked.error && !whole && <p class="sd-part faint">The server does not have this span any more.</p>}
      {whole && <Whole state={state} row={row} whole={whole} templates={templates} />}
    </aside>
  );
}

function MissingSpan({ trace, row }: { trace: Trace; row: number }) {
  const count = trace.childAt[row + 1]! - trace.childAt[row]!;
  return (
    <div class="sd-part stack">
      <p>
        {count === 1 ? "One span names" : `${count} spans name`} this one as {count === 1 ? "its" : "their"} parent, but it is not here. It may still be
        on its way, its sender may have lost it, or it was not sampled.
      </p>
      <Fact label="Span id">
        <code>{spanIdOf(trace, row)}</code>
        <CopyButton text={spanIdOf(trace, row)} label="Copy the span id" />
      </Fact>
    </div>
  );
}

const Fact = ({ label, children }: { label: string; children: ComponentChildren }) => (
  <div class="sd-fact">
    <dt>{label}</dt>
    <dd>{children}</dd>
  </div>
);

/** What is known before the span itself is here. */
function Times({ state, row }: { state: TraceState; row: number }) {
  const { trace } = state;
  const parent = trace.parent[row]!;
  const children = trace.childAt[row + 1]! - trace.childAt[row]!;
  const critical = state.path.time[row]!;
  const share = (ns: number): string => percent(ns / (trace.durationNs || 1));
  return (
    <dl class="sd-facts sd-part">
      <Fact label="Duration">
        <strong class="number">{duration(trace.duration[row]!)}</strong> <span class="faint">{share(trace.duration[row]!)} of the trace</span>
      </Fact>
      <Fact label="Self time">
        <span class="number">{duration(trace.self[row]!)}</span>
        {critical > 0 && <span class="faint"> {duration(critical)} on the critical path</span>}
      </Fact>
      <Fact label="Starts">
        <span class="number">{duration(trace.start[row]!)} after the trace</span>
        {(trace.flags[row]! & Flag.skewed) !== 0 && <span class="badge warn">before its parent: clocks differ</span>}
      </Fact>
      <Fact label="Parent">
        {(trace.flags[row]! & Flag.cycle) !== 0 ? (
          <span class="badge warn">is its own ancestor</span>
        ) : parent < 0 ? (
          <span class="faint">none: a root</span>
        ) : (
          <button type="button" class="link-button ellipsis" onClick={() => state.select(parent)}>
            {nameOf(trace, parent)}
          </button>
        )}
      </Fact>
      {children > 0 && (
        <Fact label="Children">
          <span class="number">{children}</span> <span class="faint">{trace.size[row]! - 1 > children && `${trace.size[row]! - 1} spans below`}</span>
        </Fact>
      )}
    </dl>
  );
}

function Whole({ state, row, whole, templates }: { state: TraceState; row: number; whole: WholeSpan; templates: readonly LinkTemplate[] }) {
  const { span, resource, scope } = whole;
  const { trace } = state;
  const outside = useMemo(() => linksOf(templates, whole), [templates, whole]);
  const failed = span.status?.code === "STATUS_CODE_ERROR";
  const id = idHex(span.spanId);
  // An old trace is not of the last hour.
  const startMs = nsToMs(span.startTimeUnixNano);
  const around = { from: Math.floor(startMs - AROUND_MS), to: Math.ceil(startMs + AROUND_MS) };
  const operation = `{ resource.service.name = ${quoted(serviceOf(trace, row))} && name = ${quoted(span.name ?? "")} }`;
  return (
    <>
      {(failed || span.status?.message) && (
        <div class={failed ? "sd-status bad" : "sd-status"} role={failed ? "alert" : undefined}>
          <strong>{failed ? "Error" : "Status"}</strong>
          {span.status?.message && <span>{span.status.message}</span>}
        </div>
      )}
      <div class="sd-actions sd-part">
        <button type="button" class="button small" onClick={() => zoomToRow(state, row)}>
          <Icon name="search" />
          Zoom here
        </button>
        <a class="button small" href={url("/search", { q: operation, ...around })}>
          <Icon name="filter" />
          Others like it
        </a>
        <a class="button small" href={url("/services", { service: serviceOf(trace, row), ...around })}>
          <Icon name="map" />
          Service
        </a>
        {outside.map((one) => (
          <a key={one.name} class="button small" href={one.href} target="_blank" rel="noopener noreferrer">
            <Icon name="link" />
            {one.name}
          </a>
        ))}
      </div>
      <Section title="Attributes" count={span.attributes?.length ?? 0} open>
        <Attributes scope="span" attributes={span.attributes ?? []} />
        <Dropped what="attributes" count={span.droppedAttributesCount} />
      </Section>
      {(span.events?.length ?? 0) > 0 && (
        <Section title="Events" count={span.events!.length} open>
          {span.events!.map((event, n) => (
            <EventItem key={n} event={event} startNs={span.startTimeUnixNano} />
          ))}
        </Section>
      )}
      <Dropped what="events" count={span.droppedEventsCount} />
      <Links state={state} row={row} links={span.links ?? []} />
      <Dropped what="links" count={span.droppedLinksCount} />
      <Section title="Resource" count={resource.attributes?.length ?? 0} open={(span.attributes?.length ?? 0) < 12}>
        <Attributes scope="resource" attributes={resource.attributes ?? []} />
        <Dropped what="attributes" count={resource.droppedAttributesCount} />
      </Section>
      <Section title="Scope and ids" count={scope.attributes?.length ?? 0}>
        <dl class="sd-facts">
          {scope.name && <Fact label="Scope">{`${scope.name}${scope.version ? ` ${scope.version}` : ""}`}</Fact>}
          <Fact label="Kind">{(span.kind ?? "SPAN_KIND_UNSPECIFIED").replace("SPAN_KIND_", "").toLowerCase()}</Fact>
          <Fact label="Start">{dateTime(nsToMs(span.startTimeUnixNano))}</Fact>
          <Fact label="Span id">
            <code>{id}</code>
            <CopyButton text={id} label="Copy the span id" />
          </Fact>
          {span.traceState && (
            <Fact label="Trace state">
              <code>{span.traceState}</code>
            </Fact>
          )}
          {whole.schemaUrl && (
            <Fact label="Schema">
              <code>{whole.schemaUrl}</code>
            </Fact>
          )}
        </dl>
        {(scope.attributes?.length ?? 0) > 0 && <Attributes scope="instrumentation" attributes={scope.attributes!} />}
      </Section>
    </>
  );
}

export function Section(props: { title: string; count: number; open?: boolean; children: ComponentChildren }) {
  return (
    <details class="sd-section" open={props.open}>
      <summary>
        <Icon name="right" />
        {props.title}
        {props.count > 0 && <span class="badge">{props.count}</span>}
      </summary>
      <div class="sd-body">{props.children}</div>
    </details>
  );
}

const Dropped = ({ what, count }: { what: string; count: number | undefined }) =>
  count ? (
    <p class="sd-part">
      <span class="badge warn">
        The sender dropped {count} {what}
      </span>
    </p>
  ) : null;

const STACK_LINES_SHOWN = 4;

function EventItem({ event, startNs }: { event: SpanEvent; startNs: string | undefined }) {
  const after = Number(BigInt(event.timeUnixNano ?? 0) - BigInt(startNs ?? 0));
  const stack = event.attributes?.find((one) => one.key === "exception.stacktrace");
  const rest = (event.attributes ?? []).filter((one) => one !== stack);
  return (
    <div class={`sd-event ${event.name === "exception" ? "exception" : ""}`}>
      <div class="sd-event-head">
        <strong>{event.name || "event"}</strong>
        <span class="faint number" title={dateTime(nsToMs(event.timeUnixNano))}>
          {after >= 0 ? "+" : ""}
          {duration(after)}
        </span>
      </div>
      <Attributes scope="event" attributes={rest} />
      {stack && <Stack attribute={stack} />}
      <Dropped what="attributes" count={event.droppedAttributesCount} />
    </div>
  );
}

function Stack({ attribute }: { attribute: KeyValue }) {
  const [open, setOpen] = useState(false);
  const text = attribute.value?.stringValue ?? "";
  const lines = text.split("\n");
  const short = lines.length <= STACK_LINES_SHOWN;
  return (
    <div class="sd-stack">
      <pre tabIndex={0} aria-label="Stack trace">
        {open || short ? text : lines.slice(0, STACK_LINES_SHOWN).join("\n")}
      </pre>
      <CopyButton text={text} label="Copy the stack trace" />
      {!short && (
        <button type="button" class="link-button small" onClick={() => setOpen(!open)}>
          {open ? "Less" : `All ${lines.length} lines`}
        </button>
      )}
    </div>
  );
}

function Edge() {
  const resize = (px: number) => (width.value = Math.round(Math.max(WIDTH_PX_MIN, Math.min(window.innerWidth * 0.7, px))));
  const onPointerDown = (event: PointerEvent) => {
    const handle = event.currentTarget as HTMLElement;
    const right = handle.parentElement!.getBoundingClientRect().right;
    drag(event, (moved) => resize(right - moved.clientX));
  };
  return (
    <div
      class="sd-edge"
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of the details"
      aria-valuenow={width.value}
      aria-valuemin={WIDTH_PX_MIN}
      aria-valuemax={Math.round(window.innerWidth * 0.7)}
      tabIndex={0}
      onPointerDown={onPointerDown}
      onKeyDown={(event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        event.preventDefault();
        resize(width.value + (event.key === "ArrowLeft" ? 16 : -16));
      }}
    />
  );
}
