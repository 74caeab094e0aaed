// With which other trace? Those with the same root are offered, the usual ones and the slow ones.
import { useState } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { FoundTrace, SearchAnswer } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { Popover, Problem, Progress } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { ago, nsToMs, wholeMs } from "../../lib/format.ts";
import { quoted } from "../../lib/traceql_text.ts";
import { navigate, url } from "../../router.ts";
import type { Trace } from "./model/trace.ts";

const OFFERED = 12;
const AROUND_S = 3600;

export function CompareWith({ trace }: { trace: Trace }) {
  return (
    <Popover label="Compare with another trace" button={<><Icon name="compare" />Compare</>}>
      {(close) => <Choice trace={trace} close={close} />}
    </Popover>
  );
}

function Choice({ trace, close }: { trace: Trace; close: () => void }) {
  const [text, setText] = useState("");
  const go = (other: string) => {
    close();
    // The other one is what it should be; this one is what is looked at.
    navigate(url("/compare", { a: other, b: trace.id }));
  };
  const id = /([0-9a-f]{1,32})(?:\?.*)?$/i.exec(text.trim())?.[1] ?? "";
  const rooted = trace.rootName !== "" || trace.rootService !== "";
  const q = `{ trace:rootService = ${quoted(trace.rootService)} && trace:rootName = ${quoted(trace.rootName)} }`;
  const startS = Number(trace.startNs / 1_000_000_000n);
  const asked = useQuery(rooted ? q : null, (signal) =>
    getJson<SearchAnswer>("/api/search", { params: { q, limit: OFFERED + 1, start: startS - AROUND_S, end: startS + AROUND_S, spss: 1 }, signal }),
  );
  const others = (asked.data?.traces ?? []).filter((one) => one.traceID.padStart(32, "0") !== trace.id).slice(0, OFFERED);
  return (
    <form
      class="cw stack"
      onSubmit={(event) => {
        event.preventDefault();
        if (id) go(id);
      }}
    >
      <label class="field">
        <span>Trace id or address</span>
        <input class="input" value={text} spellcheck={false} autofocus onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <Progress on={asked.loading} />
      {asked.error && <Problem error={asked.error} retry={asked.reload} />}
      {others.length > 0 && (
        <>
          <h3>Others with this root</h3>
          <ul class="menu">
            {[...others].sort((x, y) => (x.durationMs ?? 0) - (y.durationMs ?? 0)).map((one) => (
              <Offered key={one.traceID} one={one} onClick={() => go(one.traceID)} />
            ))}
          </ul>
        </>
      )}
      {asked.data && others.length === 0 && <p class="faint">No other trace with this root within an hour.</p>}
    </form>
  );
}

const Offered = ({ one, onClick }: { one: FoundTrace; onClick: () => void }) => (
  <li>
    <button type="button" onClick={onClick}>
      <strong class="number">{wholeMs(one.durationMs ?? 0)}</strong>
      <span class="faint">{ago(nsToMs(one.startTimeUnixNano))}</span>
      <code class="faint">{one.traceID.slice(0, 8)}</code>
    </button>
  </li>
);
