// The metrics of the process: Prometheus' text format, as far as /metrics writes it.

export interface MetricSample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Metrics {
  samples: Map<string, MetricSample[]>;
  help: Map<string, string>;
}

const SAMPLE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;

export function parseMetrics(text: string): Metrics {
  const samples = new Map<string, MetricSample[]>();
  const help = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (line.startsWith("# HELP ")) {
      const [, name, what] = /^# HELP (\S+) (.*)$/.exec(line) ?? [];
      if (name) help.set(name, what!);
      continue;
    }
    const found = line.startsWith("#") ? null : SAMPLE.exec(line);
    if (!found) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) labels[name!] = unescaped(value!);
    const value = Number(found[3]!.replace("+Inf", "Infinity"));
    const list = samples.get(found[1]!) ?? [];
    list.push({ name: found[1]!, labels, value });
    samples.set(found[1]!, list);
  }
  return { samples, help };
}

const unescaped = (text: string): string => text.replace(/\\(.)/g, (_, one: string) => (one === "n" ? "\n" : one));

/** The sum of all series of a metric; undefined where this process does not have it. */
export function total(metrics: Metrics, name: string): number | undefined {
  return metrics.samples.get(name)?.reduce((sum, one) => sum + one.value, 0);
}

/** What differs between the series of a metric that are not 0: "reason=cut 12, reason=late 3". */
export function parts(metrics: Metrics, name: string): string {
  return (metrics.samples.get(name) ?? [])
    .filter((one) => one.value > 0 && Object.keys(one.labels).length > 0)
    .map((one) => `${Object.entries(one.labels).map(([key, value]) => `${key}=${value}`).join(" ")}: ${one.value}`)
    .join(", ");
}
