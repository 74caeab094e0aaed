// "Compare with …": this search against the same one earlier, against all that is not marked, or against another one.
import { Popover } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { duration } from "../../lib/format.ts";
import { type RangeText, earlier, range, rangeText } from "../../state/range.ts";
import { type Visit, visits } from "../../state/visits.ts";
import { type Search, searchesUrl } from "../compare/searches/state.ts";
import { isMarked, marked, narrowed, queryText } from "./state.ts";

const DAY_MS = 86_400e3;
const VISITS_SHOWN = 6;

/** What the search shows: of the mark, if there is one. */
function shown(): Search {
  const [query, selection] = [queryText(), marked()];
  if (!isMarked(selection)) return { query, range: rangeText.value };
  const found = narrowed(query, selection, range.value);
  const times = selection.fromMs === undefined && selection.toMs === undefined;
  return { query: found.query, range: times ? rangeText.value : inMs(found.range) };
}

const inMs = ({ fromMs, toMs }: { fromMs: number; toMs: number }): RangeText => ({ from: String(Math.floor(fromMs)), to: String(Math.ceil(toMs)) });

/** The search against the same one in the time right before it. */
export function comparedWithBefore(): string {
  const search = shown();
  return searchesUrl(before(search, lengthMs()), search);
}

const lengthMs = (): number => Math.round(range.value.toMs - range.value.fromMs);

const before = ({ query, range: own }: Search, byMs: number): Search => ({ query, range: earlier(own, byMs) });

export function CompareMenu() {
  return (
    <Popover label="Compare with …" button={<><Icon name="compare" />Compare</>}>
      {(close) => <Choices close={close} />}
    </Popover>
  );
}

function Choices({ close }: { close: () => void }) {
  const search = shown();
  const choices: (readonly [string, string, Search])[] = [
    ["The time before", `the ${duration(lengthMs() * 1e6)} right before it`, before(search, lengthMs())],
    ["A day before", "the same hours", before(search, DAY_MS)],
    ["A week before", "the same weekday", before(search, 7 * DAY_MS)],
    ["Another query", "write it there", search],
  ];
  if (isMarked(marked())) choices.unshift(["All that match", "marked or not", { query: queryText(), range: rangeText.value }]);
  const others = visits.value.filter((one) => one.kind === "search" && one.text !== search.query).slice(0, VISITS_SHOWN);
  return (
    <div class="visits">
      <ul class="menu">
        {choices.map(([text, what, other]) => (
          <li key={text}>
            <a href={searchesUrl(other, search)} onClick={close}>
              <span>{text}</span>
              <span class="faint small">{what}</span>
            </a>
          </li>
        ))}
      </ul>
      {others.length > 0 && <h3>A search of before</h3>}
      <ul class="menu">
        {others.map((one) => (
          <li key={one.text}>
            <a href={searchesUrl(searchOfVisit(one), search)} onClick={close}>
              <span class="ellipsis mono">{one.text}</span>
            </a>
          </li>
        ))}
      </ul>
    </div>
  );
}

function searchOfVisit({ url, text }: Visit): Search {
  const query = new URLSearchParams(url.split("?")[1] ?? "");
  return { query: text, range: { from: query.get("from") ?? "now-1h", to: query.get("to") ?? "now" } };
}
