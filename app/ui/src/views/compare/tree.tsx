// Both trees as one, with a bar of each trace on every line, both from the start of their trace.
import { useMemo, useState } from "preact/hooks";
import { colourOf } from "../../lib/colours.ts";
import { duration } from "../../lib/format.ts";
import { setQuery } from "../../router.ts";
import { isDark } from "../../state/theme.ts";
import { Virtual } from "../trace/tabs/virtual.tsx";
import type { Trace } from "../trace/model/trace.ts";
import { ticks } from "../trace/waterfall/scale.ts";
import type { Aligned, Node, Side } from "./model/align.ts";
import { signed, WORDS } from "./words.ts";

const ROW_PX = 34;
const INDENT_PX = 14;
const LEVELS_MAX = 18;
const AXIS_PX = 520;

interface Props {
  a: Trace;
  b: Trace;
  aligned: Aligned;
  only: boolean;
  selected: Node | undefined;
  onSelect: (number: number) => void;
}

export function Tree({ a, b, aligned, only, selected, onSelect }: Props) {
  const [closed, setClosed] = useState<ReadonlySet<Node>>(new Set());
  const numbers = useMemo(() => new Map(aligned.nodes.map((node, number) => [node, number])), [aligned]);
  const lines = useMemo(() => linesOf(aligned, only, closed), [aligned, only, closed]);
  const end = Math.max(a.durationNs, b.durationNs, 1);
  const at = selected ? lines.indexOf(selected) : -1;
  const toggle = (node: Node, open?: boolean) => {
    const next = new Set(closed);
    if (open ?? next.has(node)) next.delete(node);
    else next.add(node);
    setClosed(next);
  };
  const go = (line: number) => {
    const node = lines[Math.max(0, Math.min(lines.length - 1, line))];
    if (node) onSelect(numbers.get(node)!);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const run = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at < 0 ? lines.length - 1 : at - 1),
      Home: () => go(0),
      End: () => go(lines.length - 1),
      ArrowLeft: () => selected && (isOpen(selected, closed) ? toggle(selected, false) : selected.parent && onSelect(numbers.get(selected.parent)!)),
      ArrowRight: () => selected && (isOpen(selected, closed) ? go(at + 1) : toggle(selected, true)),
      Escape: () => onSelect(-1),
    }[event.key];
    if (!run || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    run();
  };
  return (
    <>
      <div class="card-head">
        <button
          type="button"
          class="button small"
          aria-pressed={only}
          title="Hide what is the same, but for what is above a difference"
          onClick={() => setQuery({ only: only ? "" : "1" }, { replace: true })}
        >
          Only differences
        </button>
        <button type="button" class="button small" onClick={() => setClosed(new Set())}>
          Expand all
        </button>
        <span class="spacer" />
        <span class="cmp-legend faint small">
          <span class="key a" /> A <span class="key b" /> B <span class="key slower" /> slower <span class="key faster" /> faster{" "}
          <span class="key new" /> only in B <span class="key missing" /> only in A
        </span>
      </div>
      <Virtual
        count={lines.length}
        rowPx={ROW_PX}
        role="treegrid"
        label="Operations of both traces"
        class="cmp-tree"
        active={at}
        onKeyDown={onKeyDown}
        head={<TreeHead end={end} />}
        row={(index) => {
          const node = lines[index]!;
          return (
            <Line
              key={numbers.get(node)}
              node={node}
              index={index}
              end={end}
              open={isOpen(node, closed)}
              selected={node === selected}
              onToggle={() => toggle(node)}
              onSelect={() => onSelect(numbers.get(node)!)}
            />
          );
        }}
      />
    </>
  );
}

function TreeHead({ end }: { end: number }) {
  return (
    <div class="cmp-tree-head" role="rowgroup">
      <div role="row" class="cmp-line">
        <div role="columnheader">Operation and service</div>
        <div role="columnheader" class="right">
          A
        </div>
        <div role="columnheader" class="right">
          B
        </div>
        <div role="columnheader" class="right">
          Change
        </div>
        <div role="columnheader" class="cmp-axis" aria-label="Time">
          {ticks({ from: 0, to: end }, AXIS_PX).map((tick) => (
            <span key={tick.ns} style={{ left: `${(tick.ns / end) * 100}%` }}>
              {tick.label}
            </span>
          ))}
        </div>
      </div>
    </div>
  );
}

const isOpen = (node: Node, closed: ReadonlySet<Node>): boolean => node.children.length > 0 && !closed.has(node);

function linesOf(aligned: Aligned, only: boolean, closed: ReadonlySet<Node>): Node[] {
  const found: Node[] = [];
  const waiting = [...aligned.tops].reverse();
  while (waiting.length) {
    const node = waiting.pop()!;
    if (only && !node.differs) continue;
    found.push(node);
    if (!closed.has(node)) for (let n = node.children.length - 1; n >= 0; n -= 1) waiting.push(node.children[n]!);
  }
  return found;
}

interface LineProps {
  node: Node;
  index: number;
  end: number;
  open: boolean;
  selected: boolean;
  onToggle: () => void;
  onSelect: () => void;
}

function Line({ node, index, end, open, selected, onToggle, onSelect }: LineProps) {
  const { a, b } = node;
  const delta = b.total - a.total;
  const counts = a.rows.length === b.rows.length ? (a.rows.length > 1 ? `${a.rows.length} ×` : "") : a.rows.length && b.rows.length ? `${a.rows.length} → ${b.rows.length} ×` : Math.max(a.rows.length, b.rows.length) > 1 ? `${Math.max(a.rows.length, b.rows.length)} ×` : "";
  return (
    <div
      class={`cmp-line kind-${node.kind} ${selected ? "selected" : ""}`}
      role="row"
      aria-level={node.depth + 1}
      aria-rowindex={index + 2}
      aria-selected={selected}
      aria-expanded={node.children.length ? open : undefined}
      onClick={onSelect}
    >
      <div role="gridcell" class="cmp-name">
        <span class="wf-indent" style={{ width: `${Math.min(node.depth, LEVELS_MAX) * INDENT_PX}px` }} />
        <span
          class="wf-caret"
          onClick={(event) => {
            event.stopPropagation();
            onToggle();
          }}
        >
          {node.children.length > 0 && (open ? "▾" : "▸")}
        </span>
        <span class="wf-dot" style={{ background: colourOf(node.service, isDark.value) }} />
        {counts && <span class="wf-count">{counts}</span>}
        <span class="wf-op">{node.name || "no name"}</span>
        {b.errors !== a.errors && (
          <span class={b.errors > a.errors ? "badge bad" : "badge ok"}>
            {a.errors} → {b.errors} errors
          </span>
        )}
        {(!node.parent || node.parent.service !== node.service) && <span class="wf-service">{node.service}</span>}
        <span class="visually-hidden">, {WORDS[node.kind]}</span>
      </div>
      <div role="gridcell" class="right number">
        {a.rows.length ? duration(a.total) : <span class="faint">–</span>}
      </div>
      <div role="gridcell" class="right number">
        {b.rows.length ? duration(b.total) : <span class="faint">–</span>}
      </div>
      <div role="gridcell" class={`right number ${node.kind === "same" ? "faint" : delta > 0 ? "bad" : "good"}`}>
        {node.kind === "new" || node.kind === "missing" ? WORDS[node.kind] : signed(delta)}
      </div>
      <div role="gridcell" class="cmp-bars">
        <Bar side={a} end={end} kind="a" />
        <Bar side={b} end={end} kind={`b ${node.kind}`} />
      </div>
    </div>
  );
}

function Bar({ side, end, kind }: { side: Side; end: number; kind: string }) {
  if (!side.rows.length) return <span class="cmp-bar none" />;
  const left = Math.max(0, side.start / end);
  const width = Math.max(0, Math.min(1, side.end / end) - left);
  return <span class={`cmp-bar ${kind} ${side.errors ? "failed" : ""}`} style={{ marginLeft: `${left * 100}%`, width: `max(2px, ${width * 100}%)` }} />;
}
