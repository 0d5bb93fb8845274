// Geometry of a small chart: values to a box of 1000 units width. Pure.
import type { Point } from "../api/types";

export interface Domain {
  low: number;
  high: number;
  log: boolean;
}

/** Times the largest value that a normal range may reach in a chart. */
const MOST_BAND = 4;

/** Range of the values with the band and limit inside; logarithmic when asked and possible. */
export function domainOf(
  points: readonly Point[][],
  options: { band?: { lo: number; hi: number } | null; limit?: number; log?: boolean; zero?: boolean | "always" },
): Domain {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  let smallest = Number.POSITIVE_INFINITY;
  const take = (value: number | null | undefined) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
    if (value > 0) smallest = Math.min(smallest, value);
  };
  for (const series of points) for (const [, value] of series) take(value);
  const [least, most] = [low, high];
  take(options.band?.lo);
  take(options.band?.hi);
  // A range far wider than what happened is cut, or the line would lie flat on an edge.
  if (Number.isFinite(least) && most > 0) {
    high = Math.min(high, Math.max(most, most * MOST_BAND));
    if (options.log && least > 0) low = Math.max(low, least / MOST_BAND);
  }
  take(options.limit);
  if (!Number.isFinite(low)) return { low: 0, high: 1, log: false };
  if (options.log && low > 0 && high / smallest > 20) return { low: low * 0.7, high: high * 1.3, log: true };
  if (low >= 0 && (options.zero === "always" || (options.zero !== false && low < 0.6 * high))) low = 0;
  if (high === low) {
    high += Math.abs(high) * 0.1 || 1;
    if (low !== 0) low -= Math.abs(low) * 0.1;
  }
  const space = (high - low) * 0.06;
  return { low: low === 0 ? 0 : low - space, high: high + space, log: false };
}

export function yOf(value: number, domain: Domain, height: number): number {
  const { low, high, log } = domain;
  const share = log
    ? (Math.log(Math.max(value, low)) - Math.log(low)) / (Math.log(high) - Math.log(low))
    : (value - low) / (high - low);
  return height - Math.min(1, Math.max(0, share)) * height;
}

export function xOf(ms: number, from: number, to: number): number {
  // One sample spans no time.
  return to > from ? ((ms - from) / (to - from)) * 1000 : 0;
}

/** Polylines of a series: a gap (null, or more than `gapMs` without a point) ends one. */
export function lines(
  points: readonly Point[],
  from: number,
  to: number,
  domain: Domain,
  height: number,
  gapMs = Number.POSITIVE_INFINITY,
): string[] {
  const out: string[] = [];
  let current: string[] = [];
  let last = Number.NEGATIVE_INFINITY;
  const close = () => {
    if (current.length === 1) current.push(current[0]!.replace(/^[\d.-]+/, (x) => String(Number(x) + 1)));
    if (current.length > 0) out.push(current.join(" "));
    current = [];
  };
  for (const [ms, value] of points) {
    if (ms < from || ms > to) continue;
    if (value === null || !Number.isFinite(value)) {
      // Where the distance of samples is known, the next one tells whether one is missing.
      if (gapMs === Number.POSITIVE_INFINITY) close();
      continue;
    }
    if (ms - last > gapMs) close();
    current.push(`${round(xOf(ms, from, to))},${round(yOf(value, domain, height))}`);
    last = ms;
  }
  close();
  return out;
}

/** A series that reports every minute has no gap between two of its samples: what is missing is told by its own distance. */
export function gapOf(points: readonly Point[], stepMs: number): number {
  const times = points.filter(([, value]) => value !== null).map(([ms]) => ms);
  const distances = times.slice(1).map((ms, index) => ms - times[index]!);
  distances.sort((a, b) => a - b);
  return GAP * Math.max(stepMs, distances[(distances.length - 1) >> 1] ?? 0);
}
/** Longer than this many usual distances between two samples is a gap. */
const GAP = 1.7;

/** Ink until judged: splits a series at the onset; the two parts share the last point before it. */
export function splitAt(points: readonly Point[], onset: number): [Point[], Point[]] {
  const cut = points.findIndex(([ms]) => ms >= onset);
  if (cut === -1) return [[...points], []];
  return [points.slice(0, cut), points.slice(Math.max(0, cut - 1))];
}

/** Value at or just before a time, if not older than `slackMs`. */
export function valueAt(points: readonly Point[], ms: number, slackMs: number): number | null {
  let low = 0;
  let high = points.length - 1;
  let found = -1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (points[middle]![0] <= ms) {
      found = middle;
      low = middle + 1;
    } else high = middle - 1;
  }
  while (found >= 0 && points[found]![1] === null) found--;
  if (found === -1 || ms - points[found]![0] > slackMs) return null;
  return points[found]![1];
}

/** The series that stands for a metric: of quantiles the highest, else the first. */
export function mainSeries<S extends { label: string }>(series: readonly S[]): S | undefined {
  return series.find((one) => one.label === "p99") ?? series[0];
}

export function lastValue(points: readonly Point[]): number | null {
  for (let index = points.length - 1; index >= 0; index--) if (points[index]![1] !== null) return points[index]![1];
  return null;
}

const round = (value: number) => Math.round(value * 10) / 10;
