// All spans as a table: sortable, with as many rows as one likes.
import { useMemo, useState } from "preact/hooks";
import { Service } from "../../../components/basics.tsx";
import { duration, whole } from "../../../lib/format.ts";
import { isError, nameOf, serviceOf, spanIdOf, type Trace } from "../model/trace.ts";
import type { TraceState } from "../state.ts";
import { Virtual } from "./virtual.tsx";

type Column = "start" | "service" | "name" | "kind" | "duration" | "self" | "status";
const KINDS = ["", "internal", "server", "client", "producer", "consumer"];
const STATUSES = ["", "ok", "error"];
const ROW_PX = 30;

export function SpansTab({ state }: { state: TraceState }) {
  const { trace } = state;
  const [sort, setSort] = useState<{ column: Column; down: boolean }>({ column: "start", down: false });
  const found = state.found.value;
  const rows = useMemo(() => sorted(trace, found?.matches, sort.column, sort.down), [trace, found, sort]);
  const selected = state.selected.value;
  const head = (column: Column, label: string, numeric = false) => (
    <div
      role="columnheader"
      class={numeric ? "right" : ""}
      aria-sort={sort.column === column ? (sort.down ? "descending" : "ascending") : "none"}
    >
      <button type="button" onClick={() => setSort({ column, down: sort.column === column ? !sort.down : numeric && column !== "start" })}>
        {label}
        {sort.column === column && <span aria-hidden="true">{sort.down ? " ↓" : " ↑"}</span>}
      </button>
    </div>
  );
  return (
    <div class="tab-fill">
      {found && (
        <p class="tab-tools faint">
          {whole(rows.length)} spans that match; all {whole(trace.spans)} without what is looked for.
        </p>
      )}
      <Virtual
        count={rows.length}
        rowPx={ROW_PX}
        role="table"
        label="Spans"
        class="sp"
        active={selected < 0 ? -1 : rows.indexOf(selected)}
        head={
          <div role="rowgroup" class="sp-top">
            <div class="sp-row sp-head" role="row">
              {head("start", "Start", true)}
              {head("service", "Service")}
              {head("name", "Operation")}
              {head("kind", "Kind")}
              {head("duration", "Duration", true)}
              {head("self", "Self time", true)}
              {head("status", "Status")}
            </div>
          </div>
        }
        row={(index) => {
          const row = rows[index]!;
          return (
            <div
              key={row}
              class={`sp-row ${row === selected ? "selected" : ""}`}
              role="row"
              aria-rowindex={index + 2}
              onClick={() => state.select(row, { replace: selected >= 0 })}
            >
              <div role="cell" class="right number">
                {duration(trace.start[row]!)}
              </div>
              <div role="cell">
                <Service name={serviceOf(trace, row)} />
              </div>
              <div role="cell" class="ellipsis">
                <button type="button" class="link-button" title={spanIdOf(trace, row)}>
                  {nameOf(trace, row) || "no name"}
                </button>
              </div>
              <div role="cell" class="faint">
                {KINDS[trace.kind[row]!] ?? ""}
              </div>
              <div role="cell" class="right number">
                {duration(trace.duration[row]!)}
              </div>
              <div role="cell" class="right number">
                {duration(trace.self[row]!)}
              </div>
              <div role="cell">{isError(trace, row) ? <span class="badge bad">error</span> : <span class="faint">{STATUSES[trace.status[row]!]}</span>}</div>
            </div>
          );
        }}
      />
    </div>
  );
}

/** Rows of spans, those that match or all. Texts are ranked once, so that sorting compares numbers. */
function sorted(trace: Trace, matches: Uint8Array | undefined, column: Column, down: boolean): Uint32Array {
  const rows = new Uint32Array(trace.spans);
  let count = 0;
  for (let row = 0; row < trace.spans; row += 1) if (!matches || matches[row]) rows[count++] = row;
  const own = rows.subarray(0, count);
  const key = keyOf(trace, column);
  const sign = down ? -1 : 1;
  return own.sort((a, b) => sign * (key(a) - key(b)) || a - b);
}

function keyOf(trace: Trace, column: Column): (row: number) => number {
  if (column === "service" || column === "name") {
    const [texts, codes] = column === "service" ? [trace.services, trace.service] : [trace.names, trace.name];
    const rank = new Uint32Array(texts.length);
    [...texts.keys()].sort((a, b) => (texts[a]! < texts[b]! ? -1 : 1)).forEach((code, place) => (rank[code] = place));
    return (row) => rank[codes[row]!]!;
  }
  const values = trace[column];
  return (row) => values[row]!;
}
