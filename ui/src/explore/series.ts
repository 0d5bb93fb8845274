// Prometheus answers as lines of a chart. Pure.
import type { PromSeries } from "../api/types";

export function seriesName(metric: Record<string, string>, shared: Record<string, string> = {}): string {
  const { __name__: name = "", ...labels } = metric;
  const inside = Object.entries(labels)
    .filter(([label]) => !(label in shared))
    .map(([label, value]) => `${label}="${value}"`)
    .join(", ");
  return inside || !name ? `${name}{${inside}}` : name;
}

/** Labels that all of several series have alike: they tell none from another, and would push aside those that do. */
export function sharedLabels(series: readonly Pick<PromSeries, "metric">[]): Record<string, string> {
  const [first, ...rest] = series;
  if (!first || rest.length === 0) return {};
  const { __name__: _, ...labels } = first.metric;
  return Object.fromEntries(Object.entries(labels).filter(([name, value]) => rest.every((one) => one.metric[name] === value)));
}

/** Values of all series on one grid of times (s); what is missing is null, so that gaps stay gaps. */
export function toGrid(
  series: readonly PromSeries[],
  start: number,
  end: number,
  step: number,
): { times: number[]; rows: (number | null)[][] } {
  const first = series.reduce(
    (least, one) => Math.min(least, one.values?.[0]?.[0] ?? Number.POSITIVE_INFINITY),
    Number.POSITIVE_INFINITY,
  );
  if (!Number.isFinite(first)) return { times: [], rows: [] };
  const origin = first - Math.floor((first - start) / step) * step;
  const count = Math.max(0, Math.floor((end - origin) / step + 1e-9)) + 1;
  const times = Array.from({ length: count }, (_, index) => origin + index * step);
  const rows = series.map((one) => {
    const row = new Array<number | null>(count).fill(null);
    for (const [at, text] of one.values ?? []) {
      const index = Math.round((at - origin) / step);
      const value = Number(text);
      if (index >= 0 && index < count && Number.isFinite(value)) row[index] = value;
    }
    return row;
  });
  return { times, rows };
}

/** Names hidden after one was clicked; `alone` hides all others, or shows all where they are hidden already. */
export function toggled(
  hidden: ReadonlySet<string>,
  lines: readonly { name: string }[],
  name: string,
  alone: boolean,
): ReadonlySet<string> {
  if (alone) {
    const others = lines.map((line) => line.name).filter((other) => other !== name);
    return !hidden.has(name) && others.every((other) => hidden.has(other)) ? new Set() : new Set(others);
  }
  const next = new Set(hidden);
  if (!next.delete(name)) next.add(name);
  return next;
}
