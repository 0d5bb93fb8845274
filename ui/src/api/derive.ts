// Charts as people read them: a sum and a count that belong together become their mean, and a quantile of times is a time, not
// a rate. Pure.
import type { EntityMetric, Point, SignalState } from "./types";

const WORSE: Record<SignalState, number> = { crit: 0, warn: 1, ok: 2, na: 3 };

/** What to ask for so that `metric` can be shown, whether it is kept itself or as a sum and a count. */
export function parts(metric: string): string[] {
  return [metric, `${metric}_sum`, `${metric}_count`];
}

export function derive(rows: readonly EntityMetric[]): EntityMetric[] {
  const byName = new Map(rows.map((row) => [row.metric, row]));
  const out: EntityMetric[] = [];
  for (const row of rows) {
    const base = /^(.+)_(sum|count)$/.exec(row.metric)?.[1];
    const sum = base ? byName.get(`${base}_sum`) : undefined;
    const count = base ? byName.get(`${base}_count`) : undefined;
    if (!base || !sum || !count) out.push(quantiles(row));
    else if (row === sum && !byName.has(base)) out.push(mean(base, sum, count));
  }
  return out;
}

/** Whether a chart shows a metric: itself, or as a part of its mean. */
export function shows(row: EntityMetric, metric: string): boolean {
  return row.metric === metric || parts(row.metric).slice(1).includes(metric);
}

function mean(metric: string, sum: EntityMetric, count: EntityMetric): EntityMetric {
  const counts = new Map(count.series.map((one) => [one.label, new Map(one.points)]));
  return {
    ...sum,
    metric,
    unit: perEvent(sum.unit),
    query: `${sum.query}\n/\n${count.query}`,
    normal: null,
    state: WORSE[sum.state] <= WORSE[count.state] ? sum.state : count.state,
    series: sum.series.map((one) => ({
      label: one.label,
      points: one.points.map(([ms, value]): Point => {
        const events = counts.get(one.label)?.get(ms);
        return [ms, value === null || !events ? null : value / events];
      }),
    })),
  };
}

function quantiles(row: EntityMetric): EntityMetric {
  const isQuantile = row.series.length > 0 && row.series.every((one) => /^p\d+$/.test(one.label));
  return isQuantile ? { ...row, unit: perEvent(row.unit) } : row;
}

const perEvent = (unit: string) => unit.replace(/\/(s|sec|second)$/, "");
