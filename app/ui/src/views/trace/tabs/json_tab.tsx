// The trace as OTLP JSON: lines in view only, the whole of it as a file.
import { useMemo, useState } from "preact/hooks";
import { useQuery } from "../../../api/use_query.ts";
import { CopyButton, Problem, Progress, Segments } from "../../../components/basics.tsx";
import { whole } from "../../../lib/format.ts";
import { otlpGroups } from "../model/otlp_json.ts";
import { fetchPage, cursorBefore } from "../model/span.ts";
import { spanIdOf } from "../model/trace.ts";
import type { TraceState } from "../state.ts";
import { Download } from "../download.tsx";
import { Virtual } from "./virtual.tsx";

const SPANS_SHOWN = 500;
const LINE_PX = 19;

export function JsonTab({ state }: { state: TraceState }) {
  const { trace } = state;
  const selected = state.selected.value;
  const canShowOne = selected >= 0 && selected < trace.spans;
  const [what, setWhat] = useState<"trace" | "span">(canShowOne ? "span" : "trace");
  const one = what === "span" && canShowOne;
  const cursor = one ? cursorBefore(trace.startNs + BigInt(Math.round(trace.start[selected]!)), spanIdOf(trace, selected)) : "";
  const asked = useQuery(`${trace.id} ${cursor}`, (signal) => fetchPage(trace.id, cursor, one ? 1 : SPANS_SHOWN, signal));
  const text = useMemo(() => (asked.data ? JSON.stringify({ resourceSpans: otlpGroups(asked.data) }, null, 2) : ""), [asked.data]);
  const lines = useMemo(() => text.split("\n"), [text]);
  return (
    <div class="tab-fill">
      <div class="tab-tools">
        <Segments
          label="What is shown"
          value={one ? "span" : "trace"}
          choices={canShowOne ? [{ value: "span", label: "This span" }, { value: "trace", label: "Whole trace" }] : [{ value: "trace", label: "Whole trace" }]}
          onChange={setWhat}
        />
        {!one && trace.spans > SPANS_SHOWN && (
          <span class="faint">
            The first {SPANS_SHOWN} of {whole(trace.spans)} spans; the file has them all.
          </span>
        )}
        <span class="spacer" />
        {text && <CopyButton text={text} label="Copy what is shown" />}
        <Download trace={trace} />
      </div>
      <Progress on={asked.loading} />
      {asked.error && <Problem error={asked.error} retry={asked.reload} />}
      {text && (
        <Virtual
          count={lines.length}
          rowPx={LINE_PX}
          role="region"
          label="OTLP JSON"
          class="js"
          row={(index) => (
            <div class="js-line" key={index}>
              <JsonLine text={lines[index]!} />
            </div>
          )}
        />
      )}
    </div>
  );
}

const LINE = /^(\s*)("(?:[^"\\]|\\.)*")(: )?(.*)$/;

/** Keys, texts and the rest in different colours. */
function JsonLine({ text }: { text: string }) {
  const found = LINE.exec(text);
  if (!found) return <>{text}</>;
  const [, indent, first, colon, rest] = found;
  if (!colon) {
    return (
      <>
        {indent}
        <span class="js-text">{first}</span>
        {rest}
      </>
    );
  }
  return (
    <>
      {indent}
      <span class="js-key">{first}</span>
      {colon}
      <span class={rest!.startsWith('"') ? "js-text" : "js-number"}>{rest}</span>
    </>
  );
}
