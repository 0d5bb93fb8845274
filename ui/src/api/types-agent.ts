// What the hub says of its agent, and the formats of Prometheus.
import type { Ms, Page } from "./types";

// --- agent -----------------------------------------------------------------------------------------------------------

export type Rung =
  | "tp_btf"
  | "raw_tracepoint"
  | "tracepoint"
  | "fexit"
  | "kprobe"
  | "uprobe"
  | "perf_event"
  | "iterator"
  | "netlink"
  | "procfs";
export type ProbeState = "full" | "degraded" | "off";
export interface Hook {
  probe: string;
  hook: string;
  state: ProbeState;
  rung: Rung | null;
  ladder: Rung[];
  /** Rungs of `ladder` that this kernel cannot do. */
  missing?: Rung[];
  reason: string;
  ns_per_event?: number | null;
  events_per_s?: number | null;
}
export interface ProbeRow {
  name: string;
  /** A few words: `connections`, `block latency`. */
  what: string;
  state: ProbeState;
  reason: string;
  hooks: Hook[];
  ns_per_event: number | null;
  events_per_s: number | null;
  /** Of one core, kernel and agent together. */
  cpu_ratio: number | null;
  map_bytes: number | null;
  drops: number;
  drops_reason?: string | null;
  /** What `cmd.probe` of its settings may name. */
  sub_probes: string[];
}
/** GET, PUT /agent/probes/{name}/config : in the words of the agent's REST API; empty while nobody has given it any. */
export interface ProbeConfig {
  cmd?: { bin?: string; probe?: string[] };
  /** What alone is observed. */
  snoopers?: ObservedObjects;
  /** What is not observed, all else being so. */
  blacklist?: ObservedObjects;
  params?: Record<string, string | number>;
  state?: "running" | "stopped";
}
export interface ObservedObjects {
  proc_id?: number[];
  proc_name?: { comm: string; cmdline?: string }[];
  container_id?: string[];
  container_name?: string[];
  pod_id?: string[];
}
/** GET /agent/probes */
export interface Probes extends Page<ProbeRow> {
  kernel?: { release: string; btf: boolean };
}
/** GET /agent/ledger : what could not be seen, by place; worst first. */
export interface Ledger extends Page<LedgerRow> {
  watched: { hosts: number; processes: number; connections: number; devices: number };
  /** Of all requests that took place; null if none were. */
  requests_ratio: number | null;
}
export interface LedgerRow {
  place: string;
  /** What was lost there. */
  what?: string;
  /** How often, since when. */
  count?: number;
  since_ms?: Ms;
  seen: number | null;
  total: number | null;
  ratio: number | null;
  reason: string;
  last_ms: Ms | null;
}
/** GET /agent/budget */
export interface Budget {
  cpu: {
    used_ratio: number;
    user_ratio: number;
    bpf_ratio: number;
    limit_ratio: number;
    /** Why BPF run time is not known; empty when it is. */
    bpf_reason?: string;
  };
  /** `used` counts against the limit: `agent` (of `rss`, which the hub fills too) and `map`. */
  memory: { used_bytes: number; agent_bytes: number; rss_bytes: number; map_bytes: number; limit_bytes: number };
  shed: { what: string; reason: string; at_ms: Ms }[];
  /** Last 15 minutes, at most 180 rows of [ms, cpu_ratio, memory_bytes]. */
  history: [Ms, number, number][];
  probes: {
    name: string;
    cpu_ratio: number;
    user_ratio: number;
    bpf_ratio: number;
    ns_per_event: number | null;
    events_per_s: number | null;
    map_bytes: number;
  }[];
}

// --- Prometheus ------------------------------------------------------------------------------------------------------

export interface PromSeries {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
}
export interface PromResult {
  resultType: "vector" | "matrix" | "scalar" | "string";
  result: PromSeries[] | [number, string];
}
export interface PromAnswer<T> {
  status: "success" | "error";
  data: T;
  errorType?: string;
  error?: string;
  warnings?: string[];
}
export type PromMetadata = Record<string, { type: string; help: string; unit: string }[]>;
