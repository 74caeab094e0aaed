import { type Place } from "../../traceql/error.ts";
import { Progress, Segments } from "../../components/basics.tsx";
import { Editor } from "../../components/editor.tsx";
import { Icon } from "../../components/icon.tsx";
import { RangePicker } from "../../components/range_picker.tsx";
import { VisitsMenu } from "../../components/visits_menu.tsx";
import { param, setQuery } from "../../router.ts";
import { refresh } from "../../state/range.ts";
import { CompareMenu } from "./compare_menu.tsx";
import { FormEditor } from "./form_editor.tsx";
import { isLive } from "./state.ts";

type Mode = "traceql" | "form";

export function QueryBar(props: {
  draft: string;
  error: Place | undefined;
  onDraft: (text: string) => void;
  onRun: (text?: string) => void;
  loading: boolean;
}) {
  const mode: Mode = param("view") === "form" ? "form" : "traceql";
  const live = isLive();
  return (
    <section class="card query-bar" aria-label="Query">
      <div class="query-tools">
        <Segments<Mode>
          label="How to write the query"
          value={mode}
          choices={[
            { value: "traceql", label: "TraceQL" },
            { value: "form", label: "Form" },
          ]}
          onChange={(value) => setQuery({ view: value === "form" ? "form" : null }, { replace: true })}
        />
        <span class="spacer" />
        <VisitsMenu kinds={["search", "trace"]} />
        <button
          type="button"
          class="button"
          aria-pressed={live}
          title="Newest traces as they come (l)"
          onClick={() => setQuery({ live: live ? null : "1", order: null })}
        >
          <Icon name="live" />
          Live
        </button>
        <RangePicker />
        <CompareMenu />
        <button type="button" class="button icon" title="Search again (r)" aria-label="Search again" onClick={refresh}>
          <Icon name="reload" />
        </button>
      </div>
      {mode === "traceql" ? (
        <div class={props.error ? "query-line wrong" : "query-line"}>
          <Editor
            label="TraceQL query"
            value={props.draft}
            hint="{ resource.service.name = … && duration > 1s }"
            error={props.error}
            onChange={props.onDraft}
            onRun={() => props.onRun()}
          />
          <button type="button" class="button primary" onClick={() => props.onRun()}>
            <Icon name="search" />
            Search
          </button>
        </div>
      ) : (
        <FormEditor draft={props.draft} onDraft={props.onDraft} onRun={props.onRun} />
      )}
      <Progress on={props.loading} />
    </section>
  );
}
