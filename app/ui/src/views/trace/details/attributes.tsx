// Attributes as a table: each can be copied, searched for, excluded, or looked for in this trace.
import { useState } from "preact/hooks";
import type { KeyValue } from "../../../api/types.ts";
import { CopyButton } from "../../../components/basics.tsx";
import { Icon } from "../../../components/icon.tsx";
import { valueText } from "../../../lib/value.ts";
import { setQuery, url } from "../../../router.ts";
import { condition, type Scope } from "./condition.ts";

const FILTER_FROM = 14;
const LONG_CHARS = 400;

export function Attributes({ scope, attributes }: { scope: Scope; attributes: readonly KeyValue[] }) {
  const [wanted, setWanted] = useState("");
  if (!attributes.length) return scope === "span" ? <p class="faint">None.</p> : null;
  const text = wanted.trim().toLowerCase();
  const shown = attributes
    .filter((one) => !text || one.key.toLowerCase().includes(text) || valueText(one.value).toLowerCase().includes(text))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  return (
    <>
      {attributes.length >= FILTER_FROM && (
        <input
          class="input sd-filter"
          type="search"
          placeholder={`Filter ${attributes.length} attributes`}
          aria-label="Filter the attributes"
          value={wanted}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
      )}
      <dl class="sd-attributes">
        {shown.map((one) => (
          <Attribute key={one.key} scope={scope} one={one} />
        ))}
      </dl>
    </>
  );
}

function Attribute({ scope, one }: { scope: Scope; one: KeyValue }) {
  const [whole, setWhole] = useState(false);
  const value = valueText(one.value);
  const same = condition(scope, one.key, one.value, "=");
  const other = condition(scope, one.key, one.value, "!=");
  const kind = one.value?.stringValue === undefined ? "other" : "text";
  return (
    <div class="sd-attribute">
      <dt title={one.key}>{one.key}</dt>
      <dd class={kind}>
        {value.length > LONG_CHARS && !whole ? (
          <>
            {value.slice(0, LONG_CHARS)}…{" "}
            <button type="button" class="link-button small" onClick={() => setWhole(true)}>
              all {value.length} characters
            </button>
          </>
        ) : (
          value || <span class="faint">empty</span>
        )}
        <span class="sd-tools">
        <CopyButton text={value} label={`Copy the value of ${one.key}`} />
        {same && (
          <>
            <a class="button plain icon small" href={url("/search", { q: `{ ${same} }` })} aria-label={`Search for this ${one.key}`} title="Search for this">
              <Icon name="search" />
            </a>
            <a class="button plain icon small" href={url("/search", { q: `{ ${other} }` })} aria-label={`Exclude this ${one.key}`} title="Search without this">
              <Icon name="minus" />
            </a>
            <button
              type="button"
              class="button plain icon small"
              aria-label={`Find this ${one.key} in the trace`}
              title="Find in this trace"
              onClick={() => setQuery({ find: `{ ${same} }` })}
            >
              <Icon name="filter" />
            </button>
          </>
        )}
        </span>
      </dd>
    </div>
  );
}
