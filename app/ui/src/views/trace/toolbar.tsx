// What is looked for in the trace, and how much of it is shown.
import { useEffect, useRef, useState } from "preact/hooks";
import { isAbort } from "../../api/client.ts";
import { Popover, Service } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { count, whole } from "../../lib/format.ts";
import { setQuery } from "../../router.ts";
import { useDraft } from "../../state/draft.ts";
import { counted, findAll, findText, isTraceQL } from "./model/find.ts";
import type { TraceState } from "./state.ts";

const TYPING_MS = 250;
const LEAST_CHOICES = [0, 0.1, 0.5, 1, 5, 10, 25];
const LEVELS = [1, 2, 3, 4, 6];

export const FIND_ID = "trace-find";

export function Toolbar({ state }: { state: TraceState }) {
  return (
    <div class="tr-tools" role="toolbar" aria-label="What is shown of the trace">
      <Find state={state} />
      <Services state={state} />
      {state.tab.value === "waterfall" && <Lines state={state} />}
    </div>
  );
}

function Lines({ state }: { state: TraceState }) {
  return (
    <>
      <label class="tr-least">
        <span class="visually-hidden">Hide spans that are shorter</span>
        <select
          class="select"
          value={String(state.least.value)}
          onChange={(event) => setQuery({ min: event.currentTarget.value === "0" ? "" : event.currentTarget.value })}
        >
          {[...new Set([...LEAST_CHOICES, state.least.value])]
            .sort((a, b) => a - b)
            .map((one) => (
              <option key={one} value={String(one)}>
                {one === 0 ? "Any length" : `At least ${one}% of the trace`}
              </option>
            ))}
        </select>
      </label>
      <Levels state={state} />
      <Toggle
        on={state.shown.value.folding}
        label="Fold repeats"
        title="Show repeated siblings as one line (f)"
        onClick={() => state.setFolding(!state.shown.value.folding)}
      />
      <Toggle
        on={state.showPath.value}
        label="Critical path"
        title="What would have to be faster for the trace to end sooner (p)"
        onClick={() => (state.showPath.value = !state.showPath.value)}
      />
      <Toggle
        on={state.showGaps.value}
        label="Gaps"
        title="Hatch where a span lasts and none of its children runs (u)"
        onClick={() => (state.showGaps.value = !state.showGaps.value)}
      />
      {state.isZoomed.value && (
        <button type="button" class="button small" onClick={() => state.zoomTo(undefined)} title="Show the whole trace (0)">
          <Icon name="reload" />
          Whole trace
        </button>
      )}
    </>
  );
}

const Toggle = ({ on, label, title, onClick }: { on: boolean; label: string; title: string; onClick: () => void }) => (
  <button type="button" class="button small" aria-pressed={on} title={title} onClick={onClick}>
    {label}
  </button>
);

// A space may be the begin of the next word.
const trimmed = (text: string): string => text.trim();

function Find({ state }: { state: TraceState }) {
  const asked = state.find.value;
  const [text, setText] = useDraft(asked, trimmed);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const typing = useRef(0);
  useEffect(() => {
    setError("");
    if (!asked.trim()) {
      state.found.value = undefined;
      setBusy(false);
      return;
    }
    const controller = new AbortController();
    // What this page knows is shown at once; attributes and events the server looks through.
    if (!isTraceQL(asked)) state.found.value = counted(findText(state.trace, asked));
    setBusy(true);
    findAll(state.trace, asked, controller.signal)
      .then((found) => {
        state.found.value = found;
        setBusy(false);
        if (state.cursor.peek() < 0 || !found.matches[state.cursor.peek()]) {
          const next = state.nextFound(1);
          if (next >= 0 && state.selected.peek() < 0) goTo(state, next);
        }
      })
      .catch((failed: unknown) => {
        if (isAbort(failed)) return;
        setBusy(false);
        setError(failed instanceof Error ? failed.message : String(failed));
        if (isTraceQL(asked)) state.found.value = undefined;
      });
    return () => controller.abort();
  }, [asked, state]);

  const onInput = (value: string) => {
    setText(value);
    clearTimeout(typing.current);
    // An unfinished query would only be refused.
    if (isTraceQL(value) && !value.trimEnd().endsWith("}")) return;
    typing.current = window.setTimeout(() => setQuery({ find: trimmed(value) }, { replace: true }), TYPING_MS);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter") {
      event.preventDefault();
      if (trimmed(text) !== asked) {
        clearTimeout(typing.current);
        setQuery({ find: trimmed(text) }, { replace: true });
      } else goTo(state, state.nextFound(event.shiftKey ? -1 : 1));
    } else if (event.key === "Escape") {
      (event.currentTarget as HTMLElement).blur();
      clearTimeout(typing.current);
      setText("");
      if (text) setQuery({ find: "", only: "" }, { replace: true });
    }
  };
  const found = state.found.value;
  return (
    <div class="tr-find" role="search">
      <Icon name="search" />
      <input
        id={FIND_ID}
        class="input"
        type="search"
        placeholder="Find text, or { TraceQL }"
        aria-label="Find in the trace"
        aria-invalid={error !== ""}
        aria-describedby="trace-find-said"
        spellcheck={false}
        autocomplete="off"
        value={text}
        onInput={(event) => onInput(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <span id="trace-find-said" class="tr-found number" role="status">
        {found && `${state.foundBefore() || "–"} of ${whole(found.count)}${busy ? "…" : ""}`}
      </span>
      {found && (
        <>
          <button type="button" class="button plain icon small" aria-label="Previous match" title="Previous (N)" onClick={() => goTo(state, state.nextFound(-1))}>
            <Icon name="left" />
          </button>
          <button type="button" class="button plain icon small" aria-label="Next match" title="Next (n)" onClick={() => goTo(state, state.nextFound(1))}>
            <Icon name="right" />
          </button>
          <button
            type="button"
            class="button small"
            aria-pressed={state.onlyFound.value}
            title="Hide everything else, but for what is above the matches"
            onClick={() => setQuery({ only: state.onlyFound.value ? "" : "1" })}
          >
            Only these
          </button>
        </>
      )}
      {error && (
        <p class="tr-find-error" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

export function goTo(state: TraceState, row: number): void {
  if (row < 0) return;
  state.reveal(row);
  state.moveTo(row);
}

function Levels({ state }: { state: TraceState }) {
  return (
    <Popover label="Collapse" class="small" button={<>Collapse</>}>
      {(close) => {
        const item = (label: string, run: () => void) => (
          <button
            type="button"
            onClick={() => {
              run();
              close();
            }}
          >
            {label}
          </button>
        );
        return (
          <div class="menu">
            {item("Expand all (e)", () => state.collapseTo(0))}
            {item("Calls between services (s)", () => state.collapseByService())}
            {LEVELS.map((level) => item(`${level} ${level === 1 ? "level" : "levels"}`, () => state.collapseTo(level)))}
          </div>
        );
      }}
    </Popover>
  );
}

/** The colours and what they stand for; a click lets one stand out. */
function Services({ state }: { state: TraceState }) {
  const { trace } = state;
  const counts = new Map<string, number>();
  if (trace.services.length > 1) {
    const by = new Uint32Array(trace.services.length);
    for (let row = 0; row < trace.spans; row += 1) by[trace.service[row]!]! += 1;
    trace.services.forEach((name, n) => by[n] && counts.set(name, by[n]));
  }
  const wanted = state.service.value;
  return (
    <Popover label={wanted || `${trace.services.length} services`} class="small" button={wanted ? <Service name={wanted} /> : <>{trace.services.length} services</>}>
      {(close) => (
        <div class="menu tr-services">
          {[...counts]
            .sort((a, b) => b[1] - a[1])
            .map(([name, spans]) => (
              <button
                key={name}
                type="button"
                aria-pressed={name === wanted}
                onClick={() => {
                  state.service.value = name === wanted ? "" : name;
                  close();
                }}
              >
                <Service name={name || "unknown service"} />
                <span class="faint number">{count(spans)}</span>
              </button>
            ))}
          {counts.size === 0 && <Service name={trace.services[0] || "unknown service"} />}
        </div>
      )}
    </Popover>
  );
}
