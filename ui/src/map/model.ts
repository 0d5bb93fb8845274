// From topology answers to pictures: names, folding of what is alike, rows, and where a path runs. Pure.
import type { Edge, Entity, Horizontal, Layer, PathStep, Vertical } from "../api/types";
import { beforeAfter, num } from "../format";
import { iconPath, typeIcon } from "../parts/icons";
import { type Judged, ofEntity } from "../parts/state";
import { unitOf } from "../units";
import { type LayoutEdge, type LayoutNode, type Placed, type PlacedEdge, place, route, rowsFrom, rowsOf } from "./layout";
import { namesOf } from "./names";

export interface PictureNode {
  id: string;
  name: string;
  sub: string;
  icon: string;
  type: string;
  state: Judged;
  /** How many it stands for; 1 for itself. */
  count: number;
  /** Key under which a fold opens. */
  fold: string | null;
  entity: Entity | null;
  /** First step of the path on it; null if there is none. */
  number: number | null;
  /** All its steps: `2`, `2–4`. */
  steps: string;
  /** What the step changed: `2.5 → 51 ms`. */
  note: string;
  cause: boolean;
}
export interface PictureEdge {
  id: string;
  from: string;
  to: string;
  gone: boolean;
  directed: boolean;
  label: string;
  /** The connection it stands for, when it is only one. */
  edge: Edge | null;
}
export interface Picture {
  nodes: PictureNode[];
  edges: PictureEdge[];
  placed: Placed;
  path: PlacedEdge[];
  folded: number;
}
export type GroupBy = "host" | "service" | "unit";
/** Above this many nodes what is alike folds even in twos. */
const MANY = 300;
/** Above this many a whole tray is one node, until it is opened. */
const MAX_VISIBLE = 1000;
const NODE_H = 46;
const NODE_H_ONE = 32;
const NOTE_H = 15;
/** More processes than this that went a moment ago fold into one node of their tray; those that went before always do. */
const MAX_GONE = 6;
/** What went within this time may be why somebody looks. */
const RECENT_MS = 600_000;
/** Processes of one kind with the same peers fold from this many. */
const FOLD_FROM = 3;

/** Measures text as the picture draws it; replaced in tests. */
export type Measure = (text: string, strong: boolean) => number;

const cut = (text: string, length: number) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function groupOf(entity: Entity, by: GroupBy): string {
  if (by === "service") return namesOf(entity).name;
  if (by === "unit") return entity.labels.container_name ?? entity.labels.container_id ?? entity.labels.unit ?? entity.host_name;
  return entity.host_name || entity.machine_id;
}

export interface HorizontalOptions {
  layer: Layer;
  by: GroupBy;
  width: number;
  measure: Measure;
  /** Never folded: selected, on the path. */
  pinned: ReadonlySet<string>;
  /** Keys of opened folds. */
  open: ReadonlySet<string>;
  /** Whether each process that is gone stands for itself. */
  gone: boolean;
  steps: readonly PathStep[];
  host: string | null;
  /** Name of what is folded because it talks to nobody, and of what is gone. */
  otherWord: string;
  goneWord: string;
}

export function horizontal(answer: Horizontal, options: HorizontalOptions): Picture {
  const entities = answer.nodes.filter((one) => !options.host || one.host_name === options.host);
  const known = new Map(entities.map((one) => [one.id, one]));
  const edges = answer.edges.filter((edge) => known.has(edge.from) && known.has(edge.to) && edge.from !== edge.to);
  const onPath = pathIds(options.steps, entities, options.layer);
  const pinned = new Set([...options.pinned, ...onPath.filter((id): id is string => id !== null)]);
  const folds = foldAlike(entities, edges, answer.snapshot.ts, pinned, options);
  const shown = [...folds.nodes.values()];
  const rows = new Map<string, number>();
  const groups = new Map<string, string[]>();
  for (const node of shown) groups.set(node.group, [...(groups.get(node.group) ?? []), node.id]);
  for (const ids of groups.values()) {
    const inside = new Set(ids);
    const own = rowsOf(
      ids,
      folds.edges.filter((edge) => inside.has(edge.from) && inside.has(edge.to)),
    );
    for (const [id, row] of own) rows.set(id, row);
  }
  const linked = new Set(folds.edges.flatMap((edge) => [edge.from, edge.to]));
  for (const node of shown) if (!linked.has(node.id)) rows.set(node.id, 900);
  const groupEdges = folds.edges
    .map((edge) => ({ id: edge.id, from: folds.nodes.get(edge.from)!.group, to: folds.nodes.get(edge.to)!.group }))
    .filter((edge) => edge.from !== edge.to);
  const bands = rowsOf([...groups.keys()], groupEdges);
  const numbers = numberIds(onPath);
  const nodes = shown.map((node): PictureNode => {
    const one = node.members[0]!;
    const names = namesOf(one);
    const folded = node.members.length > 1 || node.word !== null;
    return {
      id: node.id,
      name:
        node.word === null
          ? cut(names.name, 22)
          : node.word === "tray"
            ? cut(node.name, 22)
            : node.word === "gone"
              ? options.goneWord
              : options.otherWord,
      sub: folded ? "" : options.layer === "process" ? names.sub : "",
      icon: iconPath(typeIcon(node.word === "tray" && options.by === "host" ? "host" : one.type)),
      type: one.type,
      state: worst(node.members),
      count: node.members.length,
      fold: folded ? node.id : null,
      entity: folded ? null : one,
      ...stepsOn(numbers.get(node.id), options.steps),
    };
  });
  const sized = new Map(nodes.map((node) => [node.id, sizeOf(node, options.measure)]));
  const orderKey = (id: string) => `${linked.has(id) ? 0 : 1}${folds.nodes.get(id)!.sort}`;
  const layoutNodes = nodes
    .map(
      (node): LayoutNode => ({
        id: node.id,
        group: folds.nodes.get(node.id)!.group,
        row: rows.get(node.id) ?? 0,
        ...sized.get(node.id)!,
      }),
    )
    .sort((a, b) => (orderKey(a.id) < orderKey(b.id) ? -1 : 1));
  const picked = folds.edges.map((edge): LayoutEdge => ({ id: edge.id, from: edge.from, to: edge.to }));
  const placed = place(layoutNodes, picked, {
    width: options.width,
    bandOf: (group) => bands.get(group) ?? 0,
    title: options.layer === "process" ? 20 : 0,
  });
  return { nodes, edges: folds.edges, placed, path: routePath(onPath, placed), folded: entities.length - shown.length };
}

/** Same node on the picture for each step of a path; null where it is not on it. */
export function pathIds(steps: readonly PathStep[], entities: readonly Entity[], layer: Layer | null): (string | null)[] {
  const ids = new Set(entities.map((one) => one.id));
  return steps.map((step) => {
    if (ids.has(step.entity_id)) return step.entity_id;
    const near = entities.filter((one) =>
      step.machine_id ? one.machine_id === step.machine_id : one.host_name === step.host_name,
    );
    if (layer === "host") return near.find((one) => one.type === "host")?.id ?? null;
    const tgid = step.metric_labels?.tgid ?? /_(?:sli|l7|l7_api|tcp_link|proc|thread)_(\d+)/.exec(step.entity_id)?.[1];
    if (layer === "process" && tgid) return near.find((one) => one.type === "proc" && one.labels.tgid === tgid)?.id ?? null;
    return null;
  });
}

/** Places in the path of each node, from 0. */
function numberIds(ids: readonly (string | null)[]): Map<string, number[]> {
  const out = new Map<string, number[]>();
  ids.forEach((id, index) => {
    if (id !== null) out.set(id, [...(out.get(id) ?? []), index]);
  });
  return out;
}

/** What a node says of the steps it carries; the symptom, or else its first one, gives the value. */
export function stepsOn(
  places: readonly number[] | undefined,
  steps: readonly PathStep[],
): Pick<PictureNode, "number" | "steps" | "note" | "cause"> {
  if (!places || places.length === 0) return { number: null, steps: "", note: "", cause: false };
  const [first, last] = [places[0]!, places[places.length - 1]!];
  const isRun = last - first === places.length - 1 && places.length > 1;
  const shown = steps[last === steps.length - 1 ? last : first]!;
  const hasValue = !shown.hidden && shown.value_after !== null && shown.value_after !== undefined;
  return {
    number: first + 1,
    steps: isRun ? `${first + 1}–${last + 1}` : places.map((place) => place + 1).join(", "),
    note: hasValue
      ? beforeAfter(shown.value_before ?? null, shown.value_after!, unitOf(shown.metric_id, shown.unit)).join(" → ")
      : "",
    cause: first === 0,
  };
}

function routePath(ids: readonly (string | null)[], placed: Placed): PlacedEdge[] {
  const seen = ids.filter((id): id is string => id !== null && placed.nodes.has(id));
  const edges: LayoutEdge[] = [];
  for (let index = 1; index < seen.length; index++)
    if (seen[index] !== seen[index - 1]) edges.push({ id: `p${index}`, from: seen[index - 1]!, to: seen[index]! });
  return route(placed.nodes, rowsFrom(placed), edges, placed.width);
}

interface Folded {
  id: string;
  group: string;
  name: string;
  sort: string;
  /** Why it is folded, if not because its members are alike. */
  word: "other" | "gone" | "tray" | null;
  members: Entity[];
}

/**
 * Folds what is alike: same name, same tray, same peers; what talks to nobody into "other"; what is gone into "gone", unless it
 * went just before the moment of the picture.
 */
function foldAlike(
  entities: readonly Entity[],
  edges: readonly Edge[],
  moment: number,
  pinned: ReadonlySet<string>,
  { layer, by, open, gone: isGoneShown }: HorizontalOptions,
) {
  const byId = new Map(entities.map((one) => [one.id, one]));
  const peers = new Map<string, Set<string>>();
  const note = (id: string, mark: string) => {
    const set = peers.get(id) ?? new Set<string>();
    peers.set(id, set);
    set.add(mark);
  };
  const kind = (id: string) => {
    const one = byId.get(id)!;
    return `${namesOf(one).name}@${groupOf(one, by)}`;
  };
  for (const edge of edges) {
    note(edge.from, `>${kind(edge.to)}`);
    note(edge.to, `<${kind(edge.from)}`);
  }
  const from = entities.length > MANY ? 2 : FOLD_FROM;
  const isGone = (one: Entity) => layer === "process" && one.state === "offline" && one.badges.anomalies === 0;
  const isRecent = (one: Entity) => one.offline_at !== null && moment - one.offline_at < RECENT_MS;
  const recent = new Map<string, number>();
  for (const one of entities)
    if (isGone(one) && isRecent(one)) recent.set(groupOf(one, "host"), (recent.get(groupOf(one, "host")) ?? 0) + 1);
  /** Trays of services and units hold what talks; the rest stands in the tray of its host. */
  const groups = new Map<string, string>();
  const buckets = new Map<string, Entity[]>();
  for (const one of [...entities].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const host = groupOf(one, "host");
    const lonely = !peers.has(one.id) && one.type === "proc" && ofEntity(one) !== "crit" && ofEntity(one) !== "warn";
    const signature = [...(peers.get(one.id) ?? [])].sort().join(",");
    const isPast = isGone(one) && !isGoneShown && !open.has(`gone:${host}`) && (!isRecent(one) || recent.get(host)! > MAX_GONE);
    const group = isPast || lonely ? host : groupOf(one, by);
    groups.set(one.id, group);
    const key = pinned.has(one.id)
      ? `one:${one.id}`
      : isPast
        ? `gone:${group}`
        : lonely
          ? `other:${group}`
          : `alike:${group}:${one.type}:${namesOf(one).name}:${one.state === "offline"}:${signature}`;
    buckets.set(key, [...(buckets.get(key) ?? []), one]);
  }
  const nodes = new Map<string, Folded>();
  const of = new Map<string, string>();
  const put = (id: string, members: Entity[], word: Folded["word"]) => {
    const one = members[0]!;
    const name = namesOf(one).name;
    nodes.set(id, { id, group: groups.get(one.id)!, name, sort: `${word ? 1 : 0}${name}${one.id}`, word, members });
    for (const member of members) of.set(member.id, id);
  };
  for (const [key, members] of buckets) {
    const word = key.startsWith("other:") ? "other" : key.startsWith("gone:") ? "gone" : null;
    if (open.has(key) || members.length < (word ? 2 : from)) for (const one of members) put(one.id, [one], null);
    else put(key, members, word);
  }
  if (nodes.size > MAX_VISIBLE) foldTrays(entities, groups, pinned, open, nodes, of);
  const merged = new Map<string, { edge: Edge; all: Edge[]; from: string; to: string }>();
  for (const edge of edges) {
    const [a, b] = [of.get(edge.from)!, of.get(edge.to)!];
    if (a === b) continue;
    const key = `${a}>${b}`;
    const known = merged.get(key);
    if (known) known.all.push(edge);
    else merged.set(key, { edge, all: [edge], from: a, to: b });
  }
  const pictureEdges = [...merged.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([key, { all, from, to }]): PictureEdge => ({
        id: key,
        from,
        to,
        gone: all.every((edge) => edge.state === "offline"),
        directed: all.every((edge) => edge.directed),
        label: edgeLabel(all),
        edge: all.length === 1 ? all[0]! : null,
      }),
    );
  return { nodes, edges: pictureEdges };
}

/** Puts one node in place of each tray that is not opened. */
function foldTrays(
  entities: readonly Entity[],
  groups: ReadonlyMap<string, string>,
  pinned: ReadonlySet<string>,
  open: ReadonlySet<string>,
  nodes: Map<string, Folded>,
  of: Map<string, string>,
): void {
  const trays = new Map<string, Entity[]>();
  for (const one of entities) {
    const group = groups.get(one.id)!;
    if (!pinned.has(one.id) && !open.has(`tray:${group}`)) trays.set(group, [...(trays.get(group) ?? []), one]);
  }
  for (const [group, members] of trays) {
    const id = `tray:${group}`;
    for (const one of members) {
      nodes.delete(of.get(one.id)!);
      of.set(one.id, id);
    }
    nodes.set(id, { id, group: "", name: group, sort: `0${group}`, word: "tray", members });
  }
}

function edgeLabel(all: readonly Edge[]): string {
  // What an edge that is over told last is not of now.
  const edges = all.some((edge) => edge.state === "online") ? all.filter((edge) => edge.state === "online") : [];
  if (edges.length === 0) return "";
  const rate = edges.reduce((sum, edge) => sum + (edge.attributes.rate_per_s ?? 0), 0);
  const latency = Math.max(
    -1,
    ...edges.map(
      (edge) => edge.attributes.latency_p99_ms ?? edge.attributes.latency_p95_ms ?? edge.attributes.latency_p50_ms ?? -1,
    ),
  );
  const parts = [rate > 0 ? `${num(rate)}/s` : "", latency >= 0 ? `${num(latency, 2)} ms` : ""].filter(Boolean);
  if (parts.length === 0) {
    const connections = edges.reduce((sum, edge) => sum + (edge.attributes.connections ?? 1), 0);
    return `× ${num(connections)}`;
  }
  return parts.join(" · ");
}

function worst(members: readonly Entity[]): Judged {
  const states = members.map((one) => ofEntity(one));
  for (const state of ["crit", "warn"] as const) if (states.includes(state)) return state;
  if (states.every((state) => state === "gone")) return "gone";
  return states.includes("ok") ? "ok" : "na";
}

function sizeOf(node: PictureNode, measure: Measure): { width: number; height: number } {
  const count = node.count > 1 || node.fold ? 34 : 0;
  const mark = node.state === "crit" || node.state === "warn" ? 18 : 0;
  const text = Math.max(measure(node.name, true) + mark, measure(node.sub, false), measure(node.note, true));
  return {
    width: Math.max(84, Math.ceil(30 + text + 12 + count)),
    height: (node.sub ? NODE_H : NODE_H_ONE) + (node.note ? NOTE_H : 0),
  };
}

const BANDS = ["application", "process", "system", "resource", "host"] as const;
/** Rows of the process and resource bands, children above parents. */
const DEPTH: Record<string, number> = {
  proc: 1,
  thread: 1,
  container: 2,
  pod: 3,
  net_ns: 3,
  mnt_ns: 3,
  cpu_cgp: 3,
  mem_cgp: 3,
  disk: 1,
  nic: 1,
  cpu: 1,
  mem: 1,
};
/** Entities of one type in one band that fold. */
const VERTICAL_FOLD = 3;

export interface VerticalOptions {
  width: number;
  measure: Measure;
  pinned: ReadonlySet<string>;
  open: ReadonlySet<string>;
  steps: readonly PathStep[];
  /** Only what the path touches, its parents and the rest folded. */
  brief?: boolean;
}

export function vertical(answer: Vertical, options: VerticalOptions): Picture {
  const entities = answer.bands.flatMap((band) => band.nodes);
  const onPath = pathIds(options.steps, entities, "process");
  const pinned = new Set([...options.pinned, answer.root, ...onPath.filter((id): id is string => id !== null)]);
  const buckets = new Map<string, Entity[]>();
  for (const one of [...entities].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1))) {
    const loud = one.badges.anomalies > 0 && one.state !== "offline";
    const key = pinned.has(one.id) || loud ? `one:${one.id}` : `v:${one.band}:${one.type}`;
    buckets.set(key, [...(buckets.get(key) ?? []), one]);
  }
  const numbers = numberIds(onPath);
  const nodes: PictureNode[] = [];
  const of = new Map<string, string>();
  const band = new Map<string, string>();
  const depth = new Map<string, number>();
  for (const [key, members] of buckets) {
    const limit = options.brief ? 2 : VERTICAL_FOLD + 1;
    const folded = members.length >= limit && !options.open.has(key);
    for (const one of folded ? [members[0]!] : members) {
      const id = folded ? key : one.id;
      const names = namesOf(one);
      nodes.push({
        id,
        name: folded ? one.type : cut(one.type === "proc" ? `${names.name} ${names.sub}` : names.name, 24),
        sub: "",
        icon: iconPath(typeIcon(one.type)),
        type: one.type,
        state: folded ? worst(members) : ofEntity(one),
        count: folded ? members.length : 1,
        fold: folded ? key : null,
        entity: folded ? null : one,
        ...stepsOn(numbers.get(id), options.steps),
      });
      band.set(id, one.band);
      depth.set(id, DEPTH[one.type] ?? 0);
      for (const member of folded ? members : [one]) of.set(member.id, id);
    }
  }
  const seen = new Set<string>();
  const edges: PictureEdge[] = [];
  for (const edge of answer.edges) {
    const [from, to] = [of.get(edge.from), of.get(edge.to)];
    if (!from || !to || from === to) continue;
    // A process belongs to its application, but the picture draws that edge downwards.
    const [a, b] = band.get(to) === "application" && band.get(from) !== "application" ? [to, from] : [from, to];
    const id = `${a}>${b}`;
    if (seen.has(id)) continue;
    seen.add(id);
    edges.push({ id, from: a, to: b, gone: edge.state === "offline", directed: true, label: "", edge: null });
  }
  edges.sort((a, b) => (a.id < b.id ? -1 : 1));
  const layoutNodes = nodes.map((node): LayoutNode => {
    const size = sizeOf(node, options.measure);
    return { id: node.id, group: band.get(node.id)!, row: depth.get(node.id)!, ...size, wide: node.type === "host" };
  });
  const wideHost = layoutNodes.filter((node) => node.wide).length === 1;
  for (const node of layoutNodes) if (!wideHost) node.wide = false;
  const placed = place(layoutNodes, edges, {
    width: options.width,
    bandOf: (group) => BANDS.indexOf(group as (typeof BANDS)[number]),
    title: 0,
    left: 96,
    strips: true,
  });
  return { nodes, edges, placed, path: routePath(onPath, placed), folded: entities.length - nodes.length };
}
