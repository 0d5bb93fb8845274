// The time of the page from the URL, with a clock that moves while now is followed.
import { useCallback, useMemo, useSyncExternalStore } from "react";
import { useSearchParams } from "react-router";
import { notAhead, parseTime, shift, type TimeState, windowOf, writeTime } from "./time";

const TICK_MS = 5000;
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function tick(): void {
  if (document.hidden) return;
  now = Date.now();
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(tick, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

document.addEventListener("visibilitychange", tick);

/** Now, moving every five seconds while the page is seen. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

export interface Time extends TimeState {
  now: number;
  from: number;
  to: number;
  live: boolean;
  /** Stable part of query keys: the window's length while live, the window itself otherwise. */
  key: string;
  set: (next: TimeState) => void;
  step: (direction: -1 | 1) => void;
}

export function useTime(): Time {
  const [params, setParams] = useSearchParams();
  const clock = useNow();
  const state = useMemo(() => notAhead(parseTime(params), Date.now()), [params]);
  const { from, to } = windowOf(state, clock);
  const set = useCallback((next: TimeState) => setParams((old) => writeTime(old, next)), [setParams]);
  const step = useCallback((direction: -1 | 1) => set(shift(state, direction, Date.now())), [set, state]);
  return {
    ...state,
    now: clock,
    from,
    to,
    live: state.at === null,
    key: state.at === null ? `now-${state.rangeMs}` : `${state.at}-${state.rangeMs}`,
    set,
    step,
  };
}
