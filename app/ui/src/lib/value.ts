// Attribute values of the API's JSON.
import type { AnyValue, KeyValue } from "../api/types.ts";

/** As text, for people. */
export function valueText(value: AnyValue | undefined): string {
  if (!value) return "";
  if (value.stringValue !== undefined) return value.stringValue;
  if (value.intValue !== undefined) return String(value.intValue);
  if (value.doubleValue !== undefined) return String(value.doubleValue);
  if (value.boolValue !== undefined) return String(value.boolValue);
  if (value.bytesValue !== undefined) return value.bytesValue;
  if (value.arrayValue) return `[${(value.arrayValue.values ?? []).map(valueText).join(", ")}]`;
  if (value.kvlistValue) {
    return `{${(value.kvlistValue.values ?? []).map((one) => `${one.key}: ${valueText(one.value)}`).join(", ")}}`;
  }
  return "";
}

/** The value of a key as text; "" where it is not there. */
export function find(attributes: readonly KeyValue[] | undefined, key: string): string {
  return valueText(attributes?.find((one) => one.key === key)?.value);
}

/** NaN and the infinities are text in JSON. */
export function numberOf(value: number | string | undefined): number {
  return value === undefined ? 0 : Number(value);
}
