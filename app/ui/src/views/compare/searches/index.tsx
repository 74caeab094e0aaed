// Two searches compared: attributes, those first whose values differ most between the spans of one and the other.
import { useMemo } from "preact/hooks";
import { Empty, Segments } from "../../../components/basics.tsx";
import { focusEditor } from "../../../components/editor.tsx";
import { Icon } from "../../../components/icon.tsx";
import { navigate, param, setQuery } from "../../../router.ts";
import { useDraft } from "../../../state/draft.ts";
import { type Shortcut, useShortcuts } from "../../../state/keys.ts";
import { now, refresh } from "../../../state/range.ts";
import { addCondition, addSpanOfTrace, isOfRoots } from "../../../traceql/edit.ts";
import { Depth } from "../../search/depth.tsx";
import { type Differences, differencesBetween } from "../../search/diff_data.ts";
import { DifferencesList } from "../../search/differences_list.tsx";
import { useAnswers } from "./ask.ts";
import { SearchSide, labelOf } from "./side.tsx";
import { type Into, SIDES, type Side, intoWhich, paramsOf, searchOf } from "./state.ts";

const KEYS: readonly Shortcut[] = [
  { keys: "1", what: "Write query A", run: () => focusEditor(labelOf("a")) },
  { keys: "2", what: "Write query B", run: () => focusEditor(labelOf("b")) },
  { keys: "a", what: "A click adds to A", run: () => setInto("a") },
  { keys: "b", what: "A click adds to B", run: () => setInto("b") },
  { keys: "o", what: "A click adds to both", run: () => setInto("both") },
  { keys: "x", what: "Swap A and B", run: swap },
  { keys: "r", what: "Compare again", run: refresh },
];

const setInto = (into: Into): void => setQuery({ into: into === "b" ? null : into }, { replace: true });

function swap(): void {
  setQuery({ ...paramsOf("a", searchOf("b")), ...paramsOf("b", searchOf("a")) });
}

export default function CompareSearches() {
  const [a, b] = [searchOf("a"), searchOf("b")];
  const drafts = { a: useDraft(a.query), b: useDraft(b.query) };
  useShortcuts("Compare searches", KEYS);
  const canBeDeep = isOfRoots(a.query) && isOfRoots(b.query);
  const deep = canBeDeep && param("deep") === "1";
  const asked = { a: useAnswers(a, deep), b: useAnswers(b, deep) };
  const [first, second] = [asked.a.data, asked.b.data];
  const found = useMemo(() => (first && second ? differencesBetween(first.values, second.values) : undefined), [first, second]);
  const run = () => {
    now.value = Date.now();
    const to = (side: Side) => paramsOf(side, { ...searchOf(side), query: drafts[side][0].trim() });
    setQuery({ ...to("a"), ...to("b") });
  };
  const side = (name: Side) => (
    <SearchSide
      side={name}
      search={name === "a" ? a : b}
      asked={asked[name]}
      draft={drafts[name][0]}
      onDraft={drafts[name][1]}
      onRun={run}
    />
  );
  return (
    <>
      <h1 class="visually-hidden">Two searches compared</h1>
      <div class="cmp-heads">
        {side("a")}
        <div class="cmp-versus">
          <button type="button" class="button primary" onClick={run}>
            <Icon name="compare" />
            Compare
          </button>
          <div class="cmp-versus-tools">
            <button type="button" class="button small" title="Change sides (x)" onClick={swap}>
              <Icon name="reload" />
              Swap
            </button>
            <button type="button" class="button small" title="Compare two traces" onClick={() => navigate("/compare")}>
              Traces
            </button>
          </div>
        </div>
        {side("b")}
      </div>
      {asked.a.error || asked.b.error ? null : (
        <section class="card cmp-between" aria-label="What differs">
          <div class="card-head">
            <h2>What differs</h2>
            {canBeDeep && <Depth deep={deep} every="All spans of the traces of A against all spans of the traces of B" />}
            <span class="spacer" />
            <span class="faint small">A click adds the condition to</span>
            <Segments<Into>
              label="What a click adds the condition to"
              value={intoWhich()}
              choices={[
                { value: "a", label: "A", title: "a" },
                { value: "b", label: "B", title: "b" },
                { value: "both", label: "Both", title: "o" },
              ]}
              onChange={setInto}
            />
          </div>
          <div class="card-body">{found ? <Between found={found} deep={deep} /> : <div class="skeleton tall" />}</div>
        </section>
      )}
    </>
  );
}

function Between({ found, deep }: { found: Differences; deep: boolean }) {
  const { differences, selected, others } = found;
  if (selected === 0 || others === 0) {
    const who = selected === others ? "Neither A nor B finds a span" : `${selected === 0 ? "A" : "B"} finds no span`;
    return (
      <Empty icon="search" title={who}>
        <p>Choose a longer time range for it, or fewer conditions.</p>
      </Empty>
    );
  }
  const add = (field: string, op: "=" | "!=", literal: string) => {
    const condition = `${field} ${op} ${literal}`;
    const extended = (side: Side) => {
      const search = searchOf(side);
      // Of another span than the root: the trace must have both.
      return { ...search, query: deep ? addSpanOfTrace(search.query, condition) : addCondition(search.query, condition) };
    };
    const into = intoWhich();
    const changed = SIDES.filter((side) => into === "both" || into === side).map((side) => paramsOf(side, extended(side)));
    setQuery(Object.assign({}, ...changed));
  };
  return <DifferencesList differences={differences} sides={["of A", "of B"]} onAdd={add} />;
}
