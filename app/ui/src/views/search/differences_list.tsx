// Attributes that differ, with the shares of their values on both sides; a click on a value makes a condition of it.
import { useState } from "preact/hooks";
import { Empty } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { percent } from "../../lib/format.ts";
import { type Difference, type Side, type ValueShare } from "./diff_data.ts";

const SHOWN_FIRST = 12;
const VALUES_SHOWN = 5;
const SCORE_MIN = 0.004;

export interface Adding {
  /** What the two shares are shares of: "of the selection", "of the rest". */
  sides: readonly [string, string];
  /** literal: as TraceQL writes the value; nil for spans without the attribute. */
  onAdd: (field: string, op: "=" | "!=", literal: string) => void;
}

export function DifferencesList({ differences, ...adding }: Adding & { differences: readonly Difference[] }) {
  const [all, setAll] = useState(false);
  const telling = differences.filter((one) => one.score >= SCORE_MIN);
  if (telling.length === 0) {
    return (
      <Empty icon="check" title="Nothing stands out">
        <p>The attributes have the same values on both sides, but for what chance makes.</p>
      </Empty>
    );
  }
  return (
    <>
      <ol class="differences">
        {(all ? telling : telling.slice(0, SHOWN_FIRST)).map((one) => (
          <OneDifference key={one.field} difference={one} {...adding} />
        ))}
      </ol>
      {telling.length > SHOWN_FIRST && (
        <button type="button" class="button small" onClick={() => setAll(!all)}>
          {all ? "Fewer" : `All ${telling.length}`}
        </button>
      )}
    </>
  );
}

function OneDifference({ difference, ...adding }: Adding & { difference: Difference }) {
  return (
    <li class="difference">
      <h3 class="mono ellipsis" title={difference.field}>
        {difference.field}
      </h3>
      <ul>
        {difference.values.slice(0, VALUES_SHOWN).map((value) => (
          <OneValue key={value.literal} field={difference.field} value={value} {...adding} />
        ))}
      </ul>
      {difference.values.length > VALUES_SHOWN && <p class="faint small">and {difference.values.length - VALUES_SHOWN} more values</p>}
    </li>
  );
}

const shareText = (value: ValueShare, side: Side): string => `${value.atMost === side ? "≤ " : ""}${percent(value[side])}`;

function OneValue({ field, value, sides, onAdd }: Adding & { field: string; value: ValueShare }) {
  const isNil = value.literal === "nil" || value.literal === "";
  const text = isNil ? "not set" : value.text || "(empty)";
  const literal = isNil ? "nil" : value.literal;
  const [one, other] = [shareText(value, "selection"), shareText(value, "baseline")];
  const shares = `${one} ${sides[0]}, ${other} ${sides[1]}`;
  return (
    <li class="value">
      <button type="button" class="value-add" title={`Add ${field} = ${text}\n${shares}`} onClick={() => onAdd(field, "=", literal)}>
        <span class={isNil || !value.text ? "value-text faint" : "value-text"}>{text}</span>
        <span class="bars" aria-hidden="true">
          <span class="bar selection" style={{ width: `${value.selection * 100}%` }} />
          <span class="bar baseline" style={{ width: `${value.baseline * 100}%` }} />
        </span>
        <span class="shares number">
          <span>{one}</span>
          <span class="faint">{other}</span>
        </span>
        <span class="visually-hidden">{shares}; adds the condition</span>
      </button>
      <button
        type="button"
        class="button plain icon small"
        title={`Exclude ${text}`}
        aria-label={`Exclude ${field} = ${text}`}
        onClick={() => onAdd(field, "!=", literal)}
      >
        <Icon name="minus" />
      </button>
    </li>
  );
}
