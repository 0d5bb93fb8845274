// The questions pages ask, each with its key. The first part of a key names the stream's topic that makes it stale.
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { stepFor } from "../time/time";
import type { Time } from "../time/useTime";
import { get, prom, put } from "./client";
import { derive, parts } from "./derive";
import type * as T from "./types";

/** Live answers are asked again this often even when the stream is silent. */
const LIVE_MS = 10_000;
const SLOW_MS = 30_000;
/** While a hub is young its health changes with every report. */
const QUICK_MS = 5000;
const YOUNG_MS = 600_000;
/** After so long the map has seen what happened. */
const SETTLED_MS = 60_000;

const live = (time: Time, every = LIVE_MS) => ({
  refetchInterval: time.live ? every : (false as const),
  placeholderData: keepPreviousData,
});

/** Until the answer is there an earlier one stands in, but never what is now for what was, nor one moment for another. */
const keepWhile =
  (time: Time | undefined) =>
  <A>(previous: A | undefined, query: { queryKey: readonly unknown[] } | undefined): A | undefined => {
    const before = query?.queryKey.find((part): part is string => typeof part === "string" && TIME_KEY.test(part));
    const isOfNow = before === undefined || before.startsWith("now-");
    return !time || (time.live && isOfNow) ? previous : undefined;
  };
/** Stable part of a key that says of which time it is. */
const TIME_KEY = /^(now|\d+)-\d+$/;

export function useHealth() {
  return useQuery({
    queryKey: ["health"],
    queryFn: ({ signal }) => get<T.Health>("/health", {}, signal),
    refetchInterval: (query) => {
      const health = query.state.data;
      return health && health.uptime_ms > YOUNG_MS ? SLOW_MS : QUICK_MS;
    },
  });
}

/** The table of services is of now only; past windows are read on the entities' own pages. */
export function useServices(time: Time) {
  return useQuery({
    queryKey: ["services", "rows"],
    enabled: time.live,
    queryFn: ({ signal }) => get<T.Page<T.Service>>("/services", { limit: 1000 }, signal),
    ...live(time),
  });
}

export function useHosts(time: Time) {
  return useQuery({
    queryKey: ["services", "hosts"],
    queryFn: ({ signal }) => get<T.Page<T.HostRow>>("/hosts", { limit: 1000 }, signal),
    ...live(time),
  });
}

export function useFaults(params: { state?: string; from?: number; to?: number; entity?: string; limit?: number }, time?: Time) {
  return useQuery({
    queryKey: ["fault", "list", params.state, params.entity, params.limit, time?.key],
    queryFn: ({ signal }) => get<T.Page<T.Fault>>("/faults", { ...params }, signal),
    refetchInterval: !time || time.live ? LIVE_MS : false,
    placeholderData: keepWhile(time),
  });
}

/** How many incidents are open, also while nobody looks at the tab: its title tells. */
export function useOpenFaults() {
  return useQuery({
    queryKey: ["fault", "list", "open", undefined, OPEN_LIMIT, undefined],
    queryFn: ({ signal }) => get<T.Page<T.Fault>>("/faults", { state: "open", limit: OPEN_LIMIT }, signal),
    refetchInterval: () => (document.hidden ? SLOW_MS : LIVE_MS),
    refetchIntervalInBackground: true,
  });
}
const OPEN_LIMIT = 100;

/** With a version: that one, which never changes. */
export function useFault(id: string, version: number | null = null) {
  return useQuery({
    queryKey: ["fault", id, version],
    enabled: id !== "",
    queryFn: ({ signal }) => get<T.FaultDetail>(`/faults/${encodeURIComponent(id)}`, { version }, signal),
    refetchInterval: (query) => {
      const fault = query.state.data;
      // A question about the past is answered a moment after it was asked.
      const waits = fault?.state === "open" || (fault?.asked && fault.Resource.stage === "detected");
      return version === null && waits ? LIVE_MS : false;
    },
  });
}

/** What appeared and went in a stretch of time, of one type. */
export function useChangesOf(type: string, from: number, to: number) {
  return useQuery({
    // Not under "topology": what was does not change with every cycle of the map.
    queryKey: ["changed", type, Math.round(from), Math.round(to)],
    queryFn: ({ signal }) =>
      get<T.Changes>("/topology/changes", { type, from: Math.round(from), to: Math.round(to), limit: 10_000 }, signal),
    staleTime: Number.POSITIVE_INFINITY,
    refetchInterval: () => (Date.now() - to < SETTLED_MS ? LIVE_MS : false),
  });
}

export function useAnomalies(time: Time, params: { entity?: string; limit?: number } = {}) {
  return useQuery({
    queryKey: ["anomaly", time.key, params.entity, params.limit],
    queryFn: ({ signal }) =>
      get<T.Page<T.Anomaly>>("/anomalies", { from: Math.round(time.from), to: Math.round(time.to), ...params }, signal),
    ...live(time),
    placeholderData: keepWhile(time),
  });
}

/** Moments of a window looked at to tell whether it was watched, ends included. */
const WATCH_MOMENTS = 9;
/** The map is built every five minutes at least; a moment is watched if that was done just before it. */
const WATCHED_WITHIN_MS = 330_000;

/**
 * How much of a past window was watched, 0 to 1, by the cycles the map was built in: a hub that was not there yet, was
 * stopped, heard of no host, or has forgotten, has none.
 */
export function useWatchedThen(time: Time) {
  return useQuery({
    queryKey: ["watched", time.key],
    enabled: !time.live,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }) => {
      const moments = Array.from({ length: WATCH_MOMENTS }, (_, index) =>
        Math.round(time.from + ((time.to - time.from) * index) / (WATCH_MOMENTS - 1)),
      );
      const cycles = await Promise.all(
        moments.map((nearest) => get<T.Page<T.Cycle>>("/topology/snapshots", { nearest, limit: 1 }, signal)),
      );
      const isWatched = cycles.map(({ items: [cycle] }, index) => {
        if (!cycle || cycle.state === "missing" || cycle.entities === 0) return false;
        return moments[index]! - cycle.ts <= WATCHED_WITHIN_MS;
      });
      return isWatched.filter(Boolean).length / WATCH_MOMENTS;
    },
  });
}

/** What is out of its normal range now. */
export function useAbnormal(time: Time) {
  return useQuery({
    queryKey: ["anomaly", "now"],
    enabled: time.live,
    queryFn: ({ signal }) => get<T.Page<T.Anomaly>>("/anomalies", { limit: 1000 }, signal),
    ...live(time),
  });
}

export function useHorizontal(
  layer: T.Layer,
  at: number | null,
  options: { center?: string; hops?: number; enabled?: boolean } = {},
) {
  return useQuery({
    queryKey: ["topology", "horizontal", layer, at, options.center, options.hops],
    queryFn: ({ signal }) =>
      get<T.Horizontal>("/topology/horizontal", { layer, at, center: options.center, hops: options.hops }, signal),
    enabled: options.enabled ?? true,
    refetchInterval: at === null ? LIVE_MS : false,
    placeholderData: keepPreviousData,
  });
}

export function useVertical(entity: string | null, at: number | null, options: { perspective?: T.Layer; expand?: string } = {}) {
  return useQuery({
    queryKey: ["topology", "vertical", entity, at, options.perspective, options.expand],
    queryFn: ({ signal }) => get<T.Vertical>("/topology/vertical", { entity, at, ...options }, signal),
    enabled: entity !== null,
    refetchInterval: at === null ? LIVE_MS : false,
    placeholderData: (previous) => (previous && previous.root === entity ? previous : undefined),
  });
}

export function useChanges(from: number, to: number, key: string) {
  return useQuery({
    queryKey: ["topology", "changes", key],
    queryFn: ({ signal }) =>
      get<T.Changes>("/topology/changes", { from: Math.round(from), to: Math.round(to), buckets: 120, limit: 1 }, signal),
    placeholderData: keepPreviousData,
    refetchInterval: SLOW_MS,
    retry: false,
  });
}

/** Longer lists are read again more seldom. */
const MANY_ROWS = 1000;

export function useEntities(
  params: { type?: string; machine?: string; state?: string; q?: string; limit: number; at?: number | null },
  enabled = true,
) {
  return useQuery({
    // Not under "topology": thousands of rows are not read again with every cycle of the map.
    queryKey: ["entities", params],
    queryFn: ({ signal }) => get<T.Entities>("/entities", params, signal),
    refetchInterval: (query) => {
      if (params.at !== undefined && params.at !== null) return false;
      return (query.state.data?.items.length ?? 0) > MANY_ROWS ? SLOW_MS : LIVE_MS;
    },
    placeholderData: keepPreviousData,
    enabled,
  });
}

export function useEntity(id: string, at: number | null) {
  return useQuery({
    queryKey: ["entity", id, at],
    queryFn: ({ signal }) => get<T.EntityDetail>(`/entities/${encodeURIComponent(id)}`, { at }, signal),
    refetchInterval: at === null ? LIVE_MS : false,
    placeholderData: (previous) => (previous && previous.entity.id === id ? previous : undefined),
  });
}

export function useEntityEdges(id: string, at: number | null) {
  return useQuery({
    queryKey: ["entity", id, "edges", at],
    queryFn: ({ signal }) => get<T.EntityEdges>(`/entities/${encodeURIComponent(id)}/edges`, { at, limit: 1000 }, signal),
  });
}

const derived = (answer: T.EntityMetrics): T.EntityMetrics => ({ ...answer, items: derive(answer.items) });

export function useEntityMetrics(id: string | null, time: Time, metrics?: readonly string[]) {
  return useQuery({
    queryKey: ["entity", id, "metrics", time.key, metrics],
    queryFn: ({ signal }) =>
      get<T.EntityMetrics>(
        `/entities/${encodeURIComponent(id!)}/metrics`,
        {
          metric: metrics?.flatMap(parts),
          from: Math.round(time.from),
          to: Math.round(time.to),
          step: stepFor(time.rangeMs),
        },
        signal,
      ),
    select: derived,
    enabled: id !== null,
    refetchInterval: time.live ? LIVE_MS : false,
    placeholderData: (previous, query) => (query?.queryKey[1] === id ? previous : undefined),
  });
}

/** Whether an agent runs in the hub's process; not known at first. A hub alone has nothing to say of an agent. */
export function useHasAgent(): boolean | undefined {
  const { data } = useHealth();
  return data ? data.components.agent !== undefined : undefined;
}

function useAgent<A>(part: string) {
  return useQuery({
    queryKey: ["agent", part],
    enabled: useHasAgent() === true,
    queryFn: ({ signal }) => get<A>(`/agent/${part}`, {}, signal),
    refetchInterval: LIVE_MS,
  });
}
export const useProbes = () => useAgent<T.Probes>("probes");
export const useLedger = () => useAgent<T.Ledger>("ledger");
export const useBudget = () => useAgent<T.Budget>("budget");

const configPath = (probe: string) => `/agent/probes/${encodeURIComponent(probe)}/config`;

/** Settings of a probe; asked for once they are looked at. */
export function useProbeConfig(probe: string, enabled: boolean) {
  return useQuery({
    queryKey: ["agent", "config", probe],
    enabled,
    queryFn: ({ signal }) => get<T.ProbeConfig>(configPath(probe), {}, signal),
  });
}

/** Changes settings of a probe; what the agent refuses is an error with its reason. */
export function useConfigureProbe(probe: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (config: T.ProbeConfig) => put<T.ProbeConfig>(configPath(probe), config),
    onSuccess: (config) => {
      client.setQueryData(["agent", "config", probe], config);
      return client.invalidateQueries({ queryKey: ["agent", "probes"] });
    },
  });
}

export function useRangeQuery(query: string, time: Time, enabled: boolean) {
  return useQuery({
    queryKey: ["prom", "range", query, time.key],
    queryFn: async ({ signal }) => {
      const started = performance.now();
      const step = stepFor(time.rangeMs, 240) / 1000;
      const answer = await prom<T.PromResult>(
        "/query_range",
        { query, start: time.from / 1000, end: time.to / 1000, step },
        signal,
      );
      return { answer, tookMs: performance.now() - started, stepS: step, from: time.from, to: time.to };
    },
    enabled: enabled && query !== "",
    retry: false,
    ...live(time),
  });
}

export function useInstantQuery(query: string, time: Time, enabled: boolean) {
  return useQuery({
    queryKey: ["prom", "instant", query, time.at],
    queryFn: async ({ signal }) => {
      const started = performance.now();
      const answer = await prom<T.PromResult>("/query", { query, time: time.to / 1000 }, signal);
      return { answer, tookMs: performance.now() - started };
    },
    enabled: enabled && query !== "",
    retry: false,
    ...live(time),
  });
}

export function useMetadata(enabled = true) {
  return useQuery({
    queryKey: ["prom", "metadata"],
    queryFn: async ({ signal }) => (await prom<T.PromMetadata>("/metadata", {}, signal)).data,
    staleTime: 60_000,
    enabled,
  });
}
