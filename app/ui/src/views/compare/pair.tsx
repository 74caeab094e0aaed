// One operation in both traces: times, and the attributes that differ.
import { useQuery } from "../../api/use_query.ts";
import type { KeyValue } from "../../api/types.ts";
import { Problem, Progress, Service } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { duration } from "../../lib/format.ts";
import { valueText } from "../../lib/value.ts";
import { url } from "../../router.ts";
import { fetchSpan, type WholeSpan } from "../trace/model/span.ts";
import { spanIdOf, type Trace } from "../trace/model/trace.ts";
import type { Node, Side } from "./model/align.ts";
import { signed } from "./words.ts";

export function Pair({ a, b, node, onClose }: { a: Trace; b: Trace; node: Node; onClose: () => void }) {
  // Of many the longest is looked at: it is the one that tells most.
  const [rowA, rowB] = [longest(a, node.a), longest(b, node.b)];
  const asked = useQuery(`${a.id}/${rowA} ${b.id}/${rowB}`, async (signal) => {
    const one = (trace: Trace, row: number) => (row >= 0 && row < trace.spans ? fetchSpan(trace, row, signal) : undefined);
    return Promise.all([one(a, rowA), one(b, rowB)]);
  });
  const changes = asked.data ? changesOf(asked.data[0], asked.data[1]) : [];
  return (
    <aside class="cmp-pair" aria-label="The operation in both traces">
      <header class="cmp-pair-head">
        <Service name={node.service || "unknown service"} />
        <strong class="ellipsis">{node.name}</strong>
        <span class="spacer" />
        <To label="A" trace={a} row={rowA} />
        <To label="B" trace={b} row={rowB} />
        <button type="button" class="button plain icon small" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <div class="cmp-pair-body" tabIndex={0} role="region" aria-label="What differs in it">
        <table class="table">
          <thead>
            <tr>
              <th />
              <th>A</th>
              <th>B</th>
              <th class="right">Change</th>
            </tr>
          </thead>
          <tbody>
            <Row label="Duration" a={node.a} b={node.b} of={(side) => side.total} />
            <Row label="Self time" a={node.a} b={node.b} of={(side) => side.self} />
            {changes.map((one) => (
              <tr key={one.key}>
                <th scope="row">{one.key}</th>
                <td class="mono">{one.a ?? <span class="faint">–</span>}</td>
                <td class="mono">{one.b ?? <span class="faint">–</span>}</td>
                <td />
              </tr>
            ))}
          </tbody>
        </table>
        <Progress on={asked.loading} />
        {asked.error && <Problem error={asked.error} retry={asked.reload} />}
        {asked.data && changes.length === 0 && rowA >= 0 && rowB >= 0 && <p class="faint cmp-none">Their attributes, status and resource are the same.</p>}
      </div>
    </aside>
  );
}

function longest(trace: Trace, side: Side): number {
  let best = side.rows[0] ?? -1;
  for (const row of side.rows) if (trace.duration[row]! > trace.duration[best]!) best = row;
  return best;
}

const To = ({ label, trace, row }: { label: string; trace: Trace; row: number }) =>
  row >= 0 ? (
    <a class="button small" href={url(`/trace/${trace.id}`, { span: spanIdOf(trace, row) })}>
      Open in {label}
    </a>
  ) : null;

function Row({ label, a, b, of }: { label: string; a: Side; b: Side; of: (side: Side) => number }) {
  const text = (side: Side) => (side.rows.length ? duration(of(side)) : "–");
  const delta = of(b) - of(a);
  return (
    <tr>
      <th scope="row">{label}</th>
      <td class="number">{text(a)}</td>
      <td class="number">{text(b)}</td>
      <td class={`right number ${delta > 0 ? "bad" : "good"}`}>{a.rows.length && b.rows.length ? signed(delta) : ""}</td>
    </tr>
  );
}

interface Change {
  key: string;
  a: string | undefined;
  b: string | undefined;
}

function changesOf(a: WholeSpan | undefined, b: WholeSpan | undefined): Change[] {
  const [first, second] = [textsOf(a), textsOf(b)];
  const keys = [...new Set([...first.keys(), ...second.keys()])];
  return keys.map((key) => ({ key, a: first.get(key), b: second.get(key) })).filter((one) => one.a !== one.b);
}

function textsOf(whole: WholeSpan | undefined): Map<string, string> {
  const found = new Map<string, string>();
  if (!whole) return found;
  const add = (prefix: string, attributes: readonly KeyValue[] | undefined) => {
    for (const one of attributes ?? []) found.set(prefix + one.key, valueText(one.value));
  };
  const { status } = whole.span;
  if (status?.code) found.set("status", `${status.code.replace("STATUS_CODE_", "").toLowerCase()}${status.message ? `: ${status.message}` : ""}`);
  add("", whole.span.attributes);
  add("resource.", whole.resource.attributes);
  return found;
}
