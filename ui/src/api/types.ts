// The answers of the hub this interface reads, as TypeScript types. Times are integer milliseconds since 1970, ratios 0..1,
// units stand in the name. "optional" (`?`) means: the interface works without it and shows less.

export * from "./types-agent";

export type Ms = number;
export interface Text {
  en: string;
  zh: string;
}

/** Body of every error. */
export interface ErrorBody {
  error: { code: string; message: string; field: string | null };
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface Snapshot {
  ts: Ms;
  state: "complete" | "partial" | "missing";
}
/** Beside the payload of every topology answer. */
export interface Snapped {
  snapshot: Snapshot;
  partial: boolean;
}

/** Row of GET /topology/snapshots: a cycle in which the map was built. */
export interface Cycle extends Snapshot {
  entities: number;
  edges: number;
}

export type Severity = "INFO" | "WARN" | "ERROR" | "FATAL";
export type Band = "application" | "process" | "system" | "resource" | "host";
export type Layer = "application" | "process" | "host";
export type LifeState = "online" | "suspect" | "offline" | "unknown";

// --- GET /health -----------------------------------------------------------------------------------------------------

export interface Component {
  status: "ok" | "degraded" | "starting" | "off";
  reason: string;
  last_ms: Ms | null;
  /** Component `detection` only: how many KPI series are warm, of how many, and when the rest will be. */
  kpis?: { warm: number; total: number; warm_at_ms: Ms | null };
}
export interface Health {
  status: "ok" | "degraded" | "starting";
  version: string;
  uptime_ms: number;
  components: Record<string, Component>;
}

// --- GET /services : rows of Now's table, worst first ----------------------------------------------------------------

export type SignalState = "ok" | "warn" | "crit" | "na";
export interface Signal {
  state: SignalState;
  /** Why, for the hover; null when normal. */
  reason: Text | null;
}
/** One process (or application instance) that answers requests. Rates and quantiles over the last 5 minutes. */
export interface Service {
  entity_id: string;
  entity_type: string;
  name: string;
  host_names: string[];
  pid: number | null;
  /** Port it is asked at most. */
  port: number | null;
  /** Protocol, e.g. `redis`. */
  app: string | null;
  rate_per_s: number | null;
  error_ratio: number | null;
  p50_ms: number | null;
  p99_ms: number | null;
  /** Normal band of p99; null while it is not warm. */
  p99_normal_ms: { lo: number; hi: number } | null;
  /** The fullest resource it stands on. */
  saturation: { what: string; ratio: number } | null;
  /** p99 now / p99 at the same time yesterday; null without history. */
  yesterday_ratio: number | null;
  /** Rate, 15 minutes, some 30 points. */
  rate_points: Point[];
  signals: { latency: Signal; errors: Signal; traffic: Signal; saturation: Signal; resources: Signal };
}

// --- GET /hosts : Now's strip ----------------------------------------------------------------------------------------

export interface HostRow {
  entity_id: string;
  name: string;
  /** Names of what runs there and answers requests. */
  services: string[];
  state: SignalState;
  life: LifeState;
  /** 0..1 of capacity; null where not observed. */
  cpu: Meter;
  memory: Meter;
  disk: Meter;
  network: Meter;
}
export interface Meter {
  ratio: number | null;
  state: SignalState;
}

// --- faults ----------------------------------------------------------------------------------------------------------

export interface FaultCause {
  entity_id: string;
  entity_name: string;
  entity_type: string;
  category: string;
  probability: number;
}
export type Stage = "detected" | "domain" | "cause" | "final";
/** Row of GET /faults. */
export interface Fault {
  id: string;
  state: "open" | "closed";
  opened_ms: Ms;
  onset_ms: Ms;
  updated_ms: Ms;
  closed_ms: Ms | null;
  severity: Severity;
  scope: "single_node" | "cross_node";
  entity_id: string;
  entity_name: string;
  metric_id: string;
  summary: Text;
  stage: Stage;
  cause: FaultCause | null;
  /** Host of the entity that suffers. */
  host_name?: string;
  /** Somebody asked; nothing was detected. */
  asked?: boolean;
}

/** POST /faults, answered 202 with the id of the incident that will hold the answer. */
export interface Question {
  entity: string;
  metric: string;
  time?: Ms;
}

export interface Evidence {
  kind: "metric" | "inspection" | "hardware" | "change";
  text: Text;
  onset?: Ms | null;
  value_before?: number | null;
  value_after?: number | null;
  unit?: string | null;
  surprise?: number | null;
  event_id?: string | null;
}
export interface PathStep {
  entity_id: string;
  entity_type: string;
  entity_name?: string;
  host_name?: string;
  machine_id?: string;
  metric_id: string;
  metric_labels?: Record<string, string>;
  /** PromQL that gives its numbers; null where none measures it. */
  query?: string | null;
  onset?: Ms | null;
  value_before?: number | null;
  value_after?: number | null;
  unit?: string | null;
  hidden: boolean;
  rule?: string | null;
  score: number | null;
}
export interface CauseMetric {
  rank: number;
  probability: number;
  impact: number | null;
  score: number;
  keyword: string;
  fault_category: string;
  metric_id: string;
  entity_id: string;
  entity_type: string;
  entity_name?: string;
  machine_id?: string;
  host_name?: string;
  /** One sentence. */
  text?: Text;
  evidence: Evidence[];
  /** Cause first, symptom last. */
  path: PathStep[];
}
/** A cause that was looked at and is not among the causes. */
export interface Considered {
  entity_id: string;
  entity_type: string;
  entity_name: string;
  fault_category: string;
  metric_id: string;
  probability: number;
  impact: number | null;
  reason: Text;
}
/** What an incident is made of: one number of one entity that left its range. */
export interface Symptom {
  kpi: string;
  class: "app" | "sys";
  entity_id: string;
  entity_type: string;
  entity_name: string;
  process_id: string | null;
  metric: string;
  unit: string;
  help: string;
  /** How the value comes out of series. `percent` of a quantile, 90 for the slow tenth. */
  source: { kind: "mean" | "quantile" | "share" | "number" | string; percent?: number };
  falls: boolean;
  onset_ms: Ms;
  closed_ms: Ms | null;
  /** Edges of the normal range. */
  low: number | null;
  high: number | null;
  before: number | null;
  /** The worst so far. */
  peak: number | null;
  now: number | null;
  score: number;
  severity: Severity;
}
export interface GraphNode {
  entity_id: string;
  entity_type: string;
  metric_id: string;
  score: number | null;
  onset: Ms | null;
  state: "abnormal" | "normal" | "hidden";
}
/** From what hurts to what is hurt, by place in `nodes`. */
export interface GraphEdge {
  from: number;
  to: number;
  rule: string;
  kind: "causal" | "hidden" | "cross_node";
  weight: number | null;
}
/** GET /faults/{id}?version= : the last explanation, or an earlier version of it. */
export interface FaultDetail {
  id: string;
  summary?: Text;
  asked?: boolean;
  state: "open" | "closed";
  opened_ms: Ms;
  closed_ms: Ms | null;
  Timestamp: Ms;
  event_id: string;
  Attributes: Record<string, unknown>;
  Resource: {
    result_version: number;
    stage: Stage;
    scope: "single_node" | "cross_node";
    onset: Ms;
    abnormal_kpi: {
      metric_id: string;
      entity_id: string;
      entity_type?: string;
      entity_name?: string;
      host_name?: string;
      timestamp: Ms;
      metric_labels: Record<string, string>;
      desc: string;
      value_before?: number | null;
      value_after?: number | null;
      unit?: string | null;
      normal?: { lo: number | null; hi: number | null } | null;
    };
    fault_domain: {
      level: string;
      entity_id: string;
      entity_name?: string;
      probability: number;
      runner_up: string | null;
    } | null;
    fault_category: { code: string; name: string; probability: number } | null;
    cause_metrics: CauseMetric[];
    unknown_probability: number | null;
    limits: (string | Text)[];
    graph: { nodes: GraphNode[]; edges: GraphEdge[] };
    /** Stage name to milliseconds after the fault was opened. */
    timing?: Partial<Record<Stage, number>>;
    desc_en?: string;
    desc?: string;
    /** Best first. */
    also_considered?: Considered[];
    symptoms?: Symptom[];
  };
  keywords: string[];
  SeverityText: Severity;
  SeverityNumber: number;
  Body: string;
}
/** POST /faults/{id}/feedback, answered 204 */
export interface Feedback {
  verdict: "right" | "wrong" | "expected";
  entity_id: string | null;
  text: string;
}

// --- topology --------------------------------------------------------------------------------------------------------

/** The node object: in topology answers, in GET /entities, and as `entity` of GET /entities/{id}. */
export interface Entity {
  id: string;
  type: string;
  name: string;
  band: Band;
  level: string;
  machine_id: string;
  host_name: string;
  state: LifeState;
  offline_at: Ms | null;
  labels: Record<string, string>;
  /** `judged` is false where no number of it has a normal range. */
  badges: { anomalies: number; severity: Severity | null; judged?: boolean };
  /** Children by type, for collapsed bands. */
  children: Record<string, number>;
}
export interface Edge {
  id: string;
  relation: string;
  layer: "direct" | "indirect";
  from: string;
  to: string;
  state: LifeState;
  /** False for two-way edges between hosts. */
  directed: boolean;
  attributes: {
    connections?: number;
    bytes_tx?: number;
    bytes_rx?: number;
    rate_per_s?: number | null;
    latency_p50_ms?: number | null;
    latency_p95_ms?: number | null;
    latency_p99_ms?: number | null;
    error_ratio?: number | null;
    server_port?: number | string;
    [key: string]: unknown;
  };
  via: string | null;
  ambiguous: boolean;
}
/** GET /topology/horizontal?layer=&at=&center=&hops=&fold= */
export interface Horizontal extends Snapped {
  layer: Layer;
  center: string | null;
  nodes: Entity[];
  edges: Edge[];
}
/** GET /topology/vertical?entity=&perspective=&at=&highlight=&expand= */
export interface Vertical extends Snapped {
  root: string;
  perspective: Layer;
  bands: { band: Band; nodes: Entity[] }[];
  edges: Edge[];
  highlight: string[];
}
/** GET /entities?type=&machine=&state=&q=&limit=&cursor= ; `q` matches name, host and id, any case. */
export interface Entities extends Page<Entity>, Snapped {}

/** GET /topology/changes?from=&to=&buckets=N ; `density` only when `buckets` is given. */
export interface Changes extends Page<Change>, Snapped {
  density?: { ts: Ms; changes: number }[];
}
export interface Change {
  ts: Ms;
  kind: "appeared" | "disappeared";
  what: "entity" | "edge";
  id: string;
  type: string;
  name: string;
}

/** GET /entities/{id}?at= */
export interface EntityDetail extends Snapped {
  entity: Entity;
  /** Outermost (host) first. */
  parents: Entity[];
  first_seen_ms: Ms;
  last_seen_ms: Ms;
  /** Current values, at most 200. */
  metrics: { metric: string; value: number | null; unit: string }[];
  /** One sentence per judged signal: worst first. */
  checks: Check[];
  /** Newest first, at most 50. */
  anomalies: Anomaly[];
  /** Faults where it suffers or is a cause, newest first. */
  faults: Fault[];
  /** Life-cycle and kernel events, newest first. */
  events: { ts: Ms; severity: Severity; text: Text }[];
}
export interface Check {
  state: SignalState;
  metric: string | null;
  /** What is now. */
  text: Text;
  /** What is normal; null if not known. */
  normal: Text | null;
  since_ms: Ms | null;
}
/** GET /entities/{id}/edges?relation=&direction=&at= */
export interface EntityEdges extends Page<Edge>, Snapped {
  /** The other ends, so that no second call is needed. */
  nodes: Entity[];
}

export type Point = [Ms, number | null];
/** GET /entities/{id}/metrics?metric=&from=&to=&step= ; without `metric`: every metric of the entity. Gaps are null.
 *  Counters come as rates per second, histograms as quantiles (p50, p90, p99) and mean: what a person wants to see. */
export interface EntityMetrics extends Snapped {
  from: Ms;
  to: Ms;
  step_ms: number;
  items: EntityMetric[];
}
export interface EntityMetric {
  metric: string;
  /** Table of the vocabulary, e.g. `proc_cpu`; charts are grouped by it. */
  table: string;
  help: string;
  unit: string;
  /** PromQL the points come from, for "open in Explore". */
  query: string;
  bad: "up" | "down" | "both" | "never";
  series: { label: string; points: Point[]; normal?: { lo: number; hi: number } | null }[];
  /** Normal band now, of the main line; null if not known. */
  normal: { lo: number; hi: number } | null;
  onset_ms: Ms | null;
  /** Whether it is out of its normal range now. */
  state: SignalState;
}

// --- GET /anomalies?from=&to=&kind=&severity=&entity=&machine=&metric=&dedup= --------------------------------------------

export interface Anomaly {
  /** Latest event of the row. */
  event_id: string;
  event_ids: string[];
  time_ms: Ms;
  first_ms: Ms;
  count: number;
  kind: "app" | "sys";
  entity_id: string;
  entity_name: string;
  entity_type: string;
  host_name: string;
  metric_id: string;
  severity: Severity;
  state: "open" | "update" | "close";
  desc: Text;
  score: number;
  value: number | null;
  normal: { lo: number; hi: number } | null;
  unit: string;
  incident_id: string | null;
}

// --- GET /stream?topics=topology,anomaly,root_cause,agent ---------------------------------------------------------------

export type Topic = "topology" | "anomaly" | "root_cause" | "agent";
/** `topology`: {"ts"}; `anomaly`: an Anomaly row; `root_cause`: a Fault row; `agent`: {"cpu_ratio","memory_bytes"}. */
export interface AgentPulse {
  cpu_ratio: number;
  memory_bytes: number;
}
