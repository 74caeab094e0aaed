// One of two searches: its query, its time range, and what it finds in short.
import type { Asked } from "../../../api/use_query.ts";
import { Problem, Progress } from "../../../components/basics.tsx";
import { Editor } from "../../../components/editor.tsx";
import { Icon } from "../../../components/icon.tsx";
import { RangePicker } from "../../../components/range_picker.tsx";
import { duration, percent, whole } from "../../../lib/format.ts";
import { url } from "../../../router.ts";
import { pipelineOf } from "../../../traceql/edit.ts";
import { placeOf } from "../../../traceql/error.ts";
import type { Answers } from "./ask.ts";
import { type Search, type Side, rangeNames } from "./state.ts";

export const labelOf = (side: Side): string => `TraceQL query ${side.toUpperCase()}`;

interface Props {
  side: Side;
  search: Search;
  asked: Asked<Answers>;
  draft: string;
  onDraft: (text: string) => void;
  onRun: () => void;
}

const HINTS: Record<Side, string> = { a: "as it should be", b: "what is looked at" };

export function SearchSide({ side, search, asked, draft, onDraft, onRun }: Props) {
  const name = side.toUpperCase();
  // The query that was asked begins with this one, so its places are the same.
  const error = asked.error && draft === search.query ? placeOf(asked.error.message, search.query) : undefined;
  const { data } = asked;
  return (
    <section class={`card cmp-search side-${name}`} aria-label={`Search ${name}`}>
      <Progress on={asked.loading} />
      <div class="query-tools">
        <span class="cmp-side" aria-hidden="true">
          {name}
        </span>
        <span class="faint small">{HINTS[side]}</span>
        <span class="spacer" />
        <RangePicker names={rangeNames(side)} label={`Time range of ${name}`} />
        <a class="button plain icon" href={url("/search", { q: search.query, ...search.range })} title={`Open ${name} in the search`} aria-label={`Open ${name} in the search`}>
          <Icon name="search" />
        </a>
      </div>
      <div class={error ? "query-line wrong" : "query-line"}>
        <Editor label={labelOf(side)} value={draft} hint="{ resource.service.name = … }" error={error} onChange={onDraft} onRun={onRun} />
      </div>
      {pipelineOf(search.query) && <p class="note">All spans before the first | are compared.</p>}
      {data?.partial && <p class="note">Not everything could be read: {data.partial}</p>}
      {asked.error && <Problem error={asked.error} retry={asked.reload} />}
      {data && (
        <dl class="cmp-figures">
          <Figure name="Spans" text={whole(data.spans)} />
          <Figure name="Errors" text={data.spans ? percent(data.errorShare) : "–"} bad={data.errorShare > 0} />
          <Figure name="p50" text={timeText(data.p50)} />
          <Figure name="p95" text={timeText(data.p95)} />
          <Figure name="p99" text={timeText(data.p99)} />
        </dl>
      )}
    </section>
  );
}

const timeText = (ns: number | undefined): string => (ns === undefined ? "–" : duration(ns));

function Figure({ name, text, bad = false }: { name: string; text: string; bad?: boolean }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class={bad ? "number bad" : "number"}>{text}</dd>
    </div>
  );
}
