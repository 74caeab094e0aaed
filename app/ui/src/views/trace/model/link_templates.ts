// Links from a span to its logs, metrics and profiles: templates of the setting ui.links.
import { nsToMs } from "../../../lib/format.ts";
import { valueText } from "../../../lib/value.ts";
import { idHex, type WholeSpan } from "./span.ts";

export interface LinkTemplate {
  name: string;
  kind: "logs" | "metrics" | "profiles" | "other";
  url: string;
}

export interface Link {
  name: string;
  kind: LinkTemplate["kind"];
  href: string;
}

/** Those that can be filled in: a tag that the span does not have leaves a link out. Only http and https come out. */
export function linksOf(templates: readonly LinkTemplate[], whole: WholeSpan): Link[] {
  const found: Link[] = [];
  for (const { name, kind, url } of templates) {
    const href = filled(url, whole);
    if (href !== undefined && isWeb(href)) found.push({ name, kind, href });
  }
  return found;
}

const VARIABLE = /\$\{([^}]*)\}/g;

function filled(template: string, whole: WholeSpan): string | undefined {
  let lacks = false;
  const text = template.replace(VARIABLE, (_, name: string) => {
    const value = valueOf(name.trim(), whole);
    if (value === undefined) lacks = true;
    return encodeURIComponent(value ?? "");
  });
  return lacks ? undefined : text;
}

function valueOf(name: string, { span, resource }: WholeSpan): string | undefined {
  const startMs = nsToMs(span.startTimeUnixNano);
  const endMs = nsToMs(span.endTimeUnixNano);
  switch (name) {
    case "traceId":
      return idHex(span.traceId);
    case "spanId":
      return idHex(span.spanId);
    case "name":
      return span.name ?? "";
    case "startMs":
      return String(Math.floor(startMs));
    case "endMs":
      return String(Math.ceil(endMs));
    default: {
      const key = /^tags\.(.+)$/.exec(name)?.[1];
      if (key === undefined) return undefined;
      const found = [...(span.attributes ?? []), ...(resource.attributes ?? [])].find((one) => one.key === key);
      return found && valueText(found.value);
    }
  }
}

export function isWeb(href: string): boolean {
  try {
    return ["http:", "https:"].includes(new URL(href).protocol);
  } catch {
    return false;
  }
}
