// Which time: relative to now, or from … to.
import { useState } from "preact/hooks";
import { duration, minute } from "../lib/format.ts";
import { RANGE_NAMES, RELATIVE, type RangeText, momentsOf, rangeTextOf, setRange } from "../state/range.ts";
import { zone, zoneLabel } from "../state/timezone.ts";
import { Popover } from "./basics.tsx";
import { Icon } from "./icon.tsx";

const DATE_LENGTH = "2026-11-28 ".length;

/** names: the parameters of the URL that it sets; label: where there are several. */
export function RangePicker({ names = RANGE_NAMES, label = "Time range" }: { names?: RangeText; label?: string }) {
  const shown = rangeTextOf(names);
  return (
    <Popover
      label={label}
      button={
        <>
          <Icon name="clock" />
          <span class="number">{textOf(shown)}</span>
          <Icon name="down" />
        </>
      }
    >
      {(close) => (
        <div class="range-picker">
          <div class="menu" role="group" aria-label="Relative to now">
            {RELATIVE.map(([from, text]) => (
              <button
                key={from}
                type="button"
                aria-pressed={shown.from === from && shown.to === "now"}
                onClick={() => {
                  setRange(from, "now", names);
                  close();
                }}
              >
                {text}
              </button>
            ))}
          </div>
          <Absolute names={names} close={close} />
        </div>
      )}
    </Popover>
  );
}

function textOf({ from, to }: RangeText): string {
  const relative = to === "now" ? RELATIVE.find(([text]) => text === from)?.[1] : undefined;
  if (relative) return relative;
  const { fromMs, toMs } = momentsOf({ from, to });
  const [start, end] = [minute(fromMs), minute(toMs)];
  const sameDay = start.slice(0, DATE_LENGTH) === end.slice(0, DATE_LENGTH);
  return `${start} – ${sameDay ? end.slice(DATE_LENGTH) : end} (${duration((toMs - fromMs) * 1e6)})`;
}

function Absolute({ names, close }: { names: RangeText; close: () => void }) {
  const { fromMs, toMs } = momentsOf(rangeTextOf(names));
  const [from, setFrom] = useState(toInput(fromMs));
  const [to, setTo] = useState(toInput(toMs));
  const [problem, setProblem] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    const [start, end] = [fromInput(from), fromInput(to)];
    if (!(start < end)) {
      setProblem("The end must be after the start.");
      return;
    }
    setRange(start, end, names);
    close();
  };
  return (
    <form class="stack" onSubmit={submit}>
      <label class="field">
        <span>From ({zoneLabel()})</span>
        <input class="input" type="datetime-local" step="1" value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>To ({zoneLabel()})</span>
        <input class="input" type="datetime-local" step="1" value={to} onInput={(event) => setTo(event.currentTarget.value)} />
      </label>
      {problem && (
        <p class="bad small" role="alert">
          {problem}
        </p>
      )}
      <button type="submit" class="button primary">
        Apply
      </button>
    </form>
  );
}

/** "2026-11-28T14:03:07", in the chosen zone. */
function toInput(ms: number): string {
  const date = new Date(ms);
  const shift = zone.value === "utc" ? 0 : date.getTimezoneOffset() * 60e3;
  return new Date(ms - shift).toISOString().slice(0, 19);
}

function fromInput(text: string): number {
  return new Date(zone.value === "utc" ? `${text}Z` : text).getTime();
}
