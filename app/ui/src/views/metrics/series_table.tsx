import { useState } from "preact/hooks";
import { type Line, type Unit, conditionsFor, unitText } from "../../charts/series.ts";
import { Icon } from "../../components/icon.tsx";
import { seriesColour } from "../../lib/colours.ts";
import { isDark } from "../../state/theme.ts";
import { addCondition, spansOf } from "../../traceql/edit.ts";

type Column = "label" | "last" | "mean" | "max";

interface Row {
  line: Line;
  last: number;
  mean: number;
  max: number;
}

const ROWS_MAX = 500;

export function SeriesTable(props: {
  lines: readonly Line[];
  shown: readonly Line[];
  unit: Unit;
  query: string;
  linkOf: (query: string) => string;
}) {
  const [sort, setSort] = useState<Column>("max");
  const rows = props.lines.map(rowOf);
  rows.sort((a, b) => (sort === "label" ? a.line.label.localeCompare(b.line.label) : b[sort] - a[sort]));
  const head = (column: Column, text: string) => (
    <th class={column === "label" ? undefined : "right"} aria-sort={sort === column ? (column === "label" ? "ascending" : "descending") : undefined}>
      <button type="button" onClick={() => setSort(column)}>
        {text}
      </button>
    </th>
  );
  return (
    <section class="card" aria-label="Series">
      <div class="table-frame">
        <table class="table hover">
          <thead>
            <tr>
              {head("label", `${props.lines.length} series`)}
              {head("last", "Last")}
              {head("mean", "Mean")}
              {head("max", "Max")}
              <th>
                <span class="visually-hidden">Search</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, ROWS_MAX).map(({ line, last, mean, max }) => {
              const at = props.shown.indexOf(line);
              const conditions = conditionsFor(line.labels);
              const spans = conditions ? addCondition(spansOf(props.query), conditions) : spansOf(props.query);
              return (
                <tr key={line.label}>
                  <td title={line.labels.map((one) => one.key).join(", ")}>
                    <span class="service">
                      {at >= 0 && <span class="dot" style={{ background: seriesColour(at, isDark.value) }} />}
                      {line.label}
                    </span>
                  </td>
                  <td class="right number">{unitText(last, props.unit)}</td>
                  <td class="right number">{unitText(mean, props.unit)}</td>
                  <td class="right number">{unitText(max, props.unit)}</td>
                  <td class="right">
                    <a class="button plain small" href={props.linkOf(spans)} title="Search for these spans">
                      <Icon name="search" />
                      Spans
                    </a>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {rows.length > ROWS_MAX && <p class="faint small show-more">The first {ROWS_MAX} are shown. Add | topk(100) to the query.</p>}
    </section>
  );
}

function rowOf(line: Line): Row {
  const values = line.values.filter((one): one is number => one !== null);
  const sum = values.reduce((all, one) => all + one, 0);
  return { line, last: values.at(-1) ?? NaN, mean: values.length ? sum / values.length : NaN, max: values.length ? Math.max(...values) : NaN };
}
