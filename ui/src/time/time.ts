// The one time of every page: a window of a length, ending now or at a moment. Lives in the URL as `range` and `at`. Pure.

export interface TimeState {
  /** End of the window; null follows now. */
  at: number | null;
  rangeMs: number;
}

export const DEFAULT_RANGE_MS = 15 * 60_000;
export const RANGES_MS = [5, 15, 30, 60, 180, 720, 1440, 10_080].map((minutes) => minutes * 60_000);
const MIN_RANGE_MS = 10_000;
const MAX_RANGE_MS = 30 * 86_400_000;

const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export function parseRange(text: string | null): number {
  const match = /^(\d+)(s|m|h|d)$/.exec(text ?? "");
  if (!match) return DEFAULT_RANGE_MS;
  return clamp(Number(match[1]) * UNITS[match[2]!]!, MIN_RANGE_MS, MAX_RANGE_MS);
}

export function formatRange(ms: number): string {
  const seconds = Math.round(ms / 1000);
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
  ] as const)
    if (seconds % size === 0) return `${seconds / size}${unit}`;
  return `${seconds}s`;
}

export function parseTime(params: URLSearchParams): TimeState {
  const at = Number(params.get("at") ?? Number.NaN);
  return { at: Number.isInteger(at) && at > 0 ? at : null, rangeMs: parseRange(params.get("range")) };
}

/** A moment that has not come, as a clock that is ahead or a wrong link may give, is now. */
export function notAhead(state: TimeState, now: number): TimeState {
  return state.at !== null && state.at > now ? { ...state, at: null } : state;
}

/** Writes the time into parameters; what is the default stays out, so that links stay short. */
export function writeTime(params: URLSearchParams, state: TimeState): URLSearchParams {
  const out = new URLSearchParams(params);
  if (state.at === null) out.delete("at");
  else out.set("at", String(Math.round(state.at)));
  if (state.rangeMs === DEFAULT_RANGE_MS) out.delete("range");
  else out.set("range", formatRange(state.rangeMs));
  return out;
}

export function windowOf(state: TimeState, now: number): { from: number; to: number } {
  const to = Math.min(state.at ?? now, now);
  return { from: to - state.rangeMs, to };
}

/** One window back or forward; forward to now, or nearly, follows it again. */
export function shift(state: TimeState, direction: -1 | 1, now: number): TimeState {
  const to = (state.at ?? now) + direction * state.rangeMs;
  return { ...state, at: to >= now - state.rangeMs / 4 ? null : to };
}

/** The stretch of time the bar draws: at least four windows and an hour, ending now or a quarter after the moment. */
export function track(state: TimeState, now: number): { from: number; to: number } {
  const span = Math.max(3_600_000, 4 * state.rangeMs);
  if (state.at === null) return { from: now - span, to: now };
  const to = Math.min(now, state.at + span / 4);
  return { from: to - span, to };
}

/** A dragged stretch as a time; one that ends at now follows it. */
export function fromDrag(a: number, b: number, now: number): TimeState {
  const [from, to] = a < b ? [a, b] : [b, a];
  const rangeMs = clamp(Math.round((to - from) / 1000) * 1000, MIN_RANGE_MS, MAX_RANGE_MS);
  return { rangeMs, at: to >= now - 2000 ? null : Math.round(to) };
}

/** Step of a query so that a chart gets some `points` of them, never finer than the report period. */
export function stepFor(rangeMs: number, points = 180, periodMs = 5000): number {
  const nice = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600].map((seconds) => seconds * 1000);
  const raw = Math.max(periodMs, rangeMs / points);
  return nice.find((step) => step >= raw * 0.99) ?? 43_200_000;
}

/** Round times for ticks: at most `count`, on whole minutes, hours or days. */
export function ticks(from: number, to: number, count: number): number[] {
  const nice = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800].map(
    (s) => s * 1000,
  );
  const step = nice.find((step) => (to - from) / step <= count) ?? 604_800_000;
  const offset = new Date(from).getTimezoneOffset() * 60_000;
  const out: number[] = [];
  for (let tick = Math.ceil((from - offset) / step) * step + offset; tick <= to; tick += step) out.push(tick);
  return out;
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
