// Positions of a topology picture. Pure and stable: the same nodes and edges give the same picture, whatever order they come in.
//
// Nodes stand in rows; groups (hosts) are trays of rows side by side in bands. Between rows run channels, inside a row the gaps
// between nodes. An edge moves sideways only in channels and crosses a row only through a gap, so no line runs through a node.

export interface LayoutNode {
  id: string;
  /** Tray it stands in. */
  group: string;
  width: number;
  height: number;
  /** Row inside its tray, from the top; given by `rowsOf` or by the caller. */
  row: number;
  /** Edges end where they arrive instead of at spread ports (the host at the bottom of a stack). */
  wide?: boolean;
}
export interface LayoutEdge {
  id: string;
  from: string;
  to: string;
}
export interface PlacedNode {
  id: string;
  x: number;
  y: number;
  width: number;
  height: number;
}
export interface PlacedEdge {
  id: string;
  d: string;
  /** Where a label fits. */
  mid: [number, number];
}
export interface Tray {
  group: string;
  x: number;
  y: number;
  width: number;
  height: number;
}
export interface Placed {
  nodes: Map<string, PlacedNode>;
  trays: Tray[];
  edges: PlacedEdge[];
  width: number;
  height: number;
}

export interface LayoutOptions {
  /** Width the picture should not exceed if it can. */
  width: number;
  /** Band (from the top) of each group. */
  bandOf: (group: string) => number;
  /** Space for a tray's title; 0 for none. */
  title: number;
  /** Left edge of all trays, and trays as wide as the picture (the five bands of a stack). */
  left?: number;
  strips?: boolean;
}

const GAP_X = 22;
const CHANNEL = 40;
const PAD = 14;
const TRAY_GAP = 16;
/** Lines that share a gap keep this distance. */
const LANE = 4;

/** Longest way from a source for each node; edges that close a cycle do not count. Visited in id order, so it is stable. */
export function rowsOf(ids: readonly string[], edges: readonly LayoutEdge[]): Map<string, number> {
  const sorted = [...ids].sort();
  const known = new Set(sorted);
  const out = new Map<string, string[]>(sorted.map((id) => [id, []]));
  const incoming = new Map<string, number>();
  for (const edge of edges) {
    if (edge.from === edge.to || !known.has(edge.from) || !known.has(edge.to)) continue;
    out.get(edge.from)!.push(edge.to);
    incoming.set(edge.to, (incoming.get(edge.to) ?? 0) + 1);
  }
  for (const list of out.values()) list.sort();
  const state = new Map<string, 1 | 2>();
  const order: string[] = [];
  const forward = new Map<string, string[]>(sorted.map((id) => [id, []]));
  for (const root of [...sorted].sort((a, b) => (incoming.get(a) ?? 0) - (incoming.get(b) ?? 0) || (a < b ? -1 : 1))) {
    if (state.has(root)) continue;
    const stack: { id: string; next: number }[] = [{ id: root, next: 0 }];
    state.set(root, 1);
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      const targets = out.get(top.id)!;
      if (top.next === targets.length) {
        state.set(top.id, 2);
        order.push(top.id);
        stack.pop();
        continue;
      }
      const target = targets[top.next++]!;
      if (state.get(target) === 1) continue;
      forward.get(top.id)!.push(target);
      if (!state.has(target)) {
        state.set(target, 1);
        stack.push({ id: target, next: 0 });
      }
    }
  }
  const rows = new Map<string, number>(sorted.map((id) => [id, 0]));
  for (const id of order.reverse())
    for (const target of forward.get(id)!) rows.set(target, Math.max(rows.get(target)!, rows.get(id)! + 1));
  return rows;
}

interface Row {
  top: number;
  bottom: number;
  nodes: PlacedNode[];
}

export function place(nodes: readonly LayoutNode[], edges: readonly LayoutEdge[], options: LayoutOptions): Placed {
  const left = options.left ?? 0;
  const bands = new Map<number, Map<string, LayoutNode[]>>();
  for (const node of nodes) {
    const band = options.bandOf(node.group);
    const groups = bands.get(band) ?? new Map<string, LayoutNode[]>();
    bands.set(band, groups);
    const members = groups.get(node.group);
    if (members) members.push(node);
    else groups.set(node.group, [node]);
  }
  const placed = new Map<string, PlacedNode>();
  const trays: Tray[] = [];
  const rows: Row[] = [];
  let y = options.strips ? 0 : 4;
  let width = options.width;

  const packed = [...bands.keys()]
    .sort((a, b) => a - b)
    .map((band) =>
      [...bands.get(band)!.entries()]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([group, members]) => ({ group, rows: wrap(members, room(bands.get(band)!.size)) })),
    );
  for (const groups of packed)
    width = Math.max(width, left + groups.reduce((sum, one) => sum + trayWidth(one.rows), 0) + TRAY_GAP * (groups.length - 1));

  for (const groups of packed) {
    const count = Math.max(...groups.map((one) => one.rows.length));
    const heights = Array.from({ length: count }, (_, index) =>
      Math.max(0, ...groups.flatMap((one) => (one.rows[index] ?? []).map((node) => node.height))),
    );
    const inner = heights.reduce((sum, height) => sum + height, 0) + CHANNEL * 0.85 * (count - 1);
    const height = options.title + PAD + inner + PAD;
    const total = groups.reduce((sum, one) => sum + trayWidth(one.rows), 0) + TRAY_GAP * (groups.length - 1);
    let x = options.strips ? left : left + (width - left - total) / 2;
    const first = rows.length;
    let rowTop = y + options.title + PAD;
    for (const rowHeight of heights) {
      rows.push({ top: rowTop, bottom: rowTop + rowHeight, nodes: [] });
      rowTop += rowHeight + CHANNEL * 0.85;
    }
    for (const { group, rows: members } of groups) {
      const wide = trayWidth(members);
      trays.push(options.strips ? { group, x: 0, y, width, height } : { group, x, y, width: wide, height });
      members.forEach((row, index) => {
        const free = options.strips ? width - left - PAD : wide - 2 * PAD;
        let at = x + (options.strips ? 0 : PAD) + Math.max(0, (free - rowWidth(row)) / 2);
        const line = rows[first + index]!;
        for (const node of row) {
          const one = {
            id: node.id,
            x: at,
            y: line.top + (heights[index]! - node.height) / 2,
            width: node.width,
            height: node.height,
          };
          if (node.wide) {
            one.x = x;
            one.width = free;
          }
          placed.set(node.id, one);
          line.nodes.push(one);
          at += node.width + GAP_X;
        }
      });
      x += wide + TRAY_GAP;
    }
    y += height + (options.strips ? 0 : CHANNEL);
  }
  for (const row of rows) row.nodes.sort((a, b) => a.x - b.x);
  const height = options.strips ? y : Math.max(0, y - CHANNEL) + 4;
  const wide = new Set(nodes.filter((node) => node.wide).map((node) => node.id));
  return { nodes: placed, trays, edges: route(placed, rows, edges, width, wide), width, height };

  function room(groups: number): number {
    return Math.max(220, (options.width - left - TRAY_GAP * (groups - 1)) / groups - (options.strips ? PAD : 2 * PAD));
  }
}

/** Rows of a tray in order; one that does not fit the room becomes several of even length. */
function wrap(members: readonly LayoutNode[], room: number): LayoutNode[][] {
  const byRow = new Map<number, LayoutNode[]>();
  for (const node of members) {
    const line = byRow.get(node.row);
    if (line) line.push(node);
    else byRow.set(node.row, [node]);
  }
  const out: LayoutNode[][] = [];
  for (const row of [...byRow.keys()].sort((a, b) => a - b)) {
    const line = byRow.get(row)!;
    const parts = Math.max(1, Math.ceil(rowWidth(line) / room));
    const each = Math.ceil(line.length / parts);
    for (let start = 0; start < line.length; start += each) out.push(line.slice(start, start + each));
  }
  return out;
}

const rowWidth = (row: readonly LayoutNode[]) =>
  row.reduce((sum, node) => sum + node.width, 0) + GAP_X * Math.max(0, row.length - 1);
const trayWidth = (rows: readonly LayoutNode[][]) => Math.max(60, ...rows.map(rowWidth)) + 2 * PAD;

/** Routes edges over placed nodes; used again for paths, which avoid nodes the same way. */
export function route(
  placed: ReadonlyMap<string, PlacedNode>,
  rows: readonly Row[],
  edges: readonly LayoutEdge[],
  width: number,
  wide: ReadonlySet<string> = new Set(),
): PlacedEdge[] {
  const rowOf = new Map<string, number>();
  rows.forEach((row, index) => {
    for (const node of row.nodes) rowOf.set(node.id, index);
  });
  const used = new Map<string, number>();
  const valid = edges.filter((edge) => edge.from !== edge.to && rowOf.has(edge.from) && rowOf.has(edge.to));
  const ports = portsOf(placed, rowOf, valid);
  return valid.map((edge) => {
    const a = placed.get(edge.from)!;
    const b = placed.get(edge.to)!;
    const [ra, rb] = [rowOf.get(edge.from)!, rowOf.get(edge.to)!];
    const start = ports.get(`${edge.id}>`)!;
    let end = ports.get(`${edge.id}<`)!;
    if (ra === rb) {
      const depth = Math.min(CHANNEL * 0.7, 14 + Math.abs(end - start) * 0.06);
      const [ya, yb] = [a.y + a.height, b.y + b.height];
      return {
        id: edge.id,
        d: `M${r(start)} ${r(ya)}C${r(start)} ${r(ya + depth)} ${r(end)} ${r(yb + depth)} ${r(end)} ${r(yb + 2)}`,
        mid: [(start + end) / 2, Math.max(ya, yb) + depth * 0.75],
      };
    }
    const down = rb > ra;
    const step = down ? 1 : -1;
    const crossed: { x: number; from: number; to: number }[] = [];
    let at = start;
    for (let index = ra + step; index !== rb; index += step) {
      const left = Math.abs(rb - index) + 1;
      const aim = wide.has(edge.to) ? at : at + (end - at) / left;
      at = gapIn(rows[index]!, aim, width, index, used);
      crossed.push({
        x: at,
        from: down ? rows[index]!.top : rows[index]!.bottom,
        to: down ? rows[index]!.bottom : rows[index]!.top,
      });
    }
    if (wide.has(edge.to)) end = Math.min(b.x + b.width - 8, Math.max(b.x + 8, at));
    let y = down ? a.y + a.height : a.y;
    let x = start;
    let d = `M${r(x)} ${r(y)}`;
    let mid: [number, number] = [x, y];
    let longest = -1;
    const bend = (toX: number, toY: number) => {
      const middle = (y + toY) / 2;
      d += Math.abs(toX - x) < 0.5 ? `V${r(toY)}` : `C${r(x)} ${r(middle)} ${r(toX)} ${r(middle)} ${r(toX)} ${r(toY)}`;
      if (Math.abs(toY - y) + Math.abs(toX - x) > longest) {
        longest = Math.abs(toY - y) + Math.abs(toX - x);
        mid = [(x + toX) / 2, middle];
      }
      [x, y] = [toX, toY];
    };
    for (const gap of crossed) {
      bend(gap.x, gap.from);
      d += `V${r(gap.to)}`;
      y = gap.to;
    }
    bend(end, down ? b.y - 2 : b.y + b.height + 2);
    return { id: edge.id, d, mid };
  });
}

/** Ports on the sides of nodes, in the order of where their lines go, so that few cross. */
function portsOf(
  placed: ReadonlyMap<string, PlacedNode>,
  rowOf: ReadonlyMap<string, number>,
  edges: readonly LayoutEdge[],
): Map<string, number> {
  const sides = new Map<string, { key: string; toward: number }[]>();
  const center = (id: string) => placed.get(id)!.x + placed.get(id)!.width / 2;
  const add = (node: string, bottom: boolean, key: string, other: string) => {
    const side = `${node}|${bottom ? "b" : "t"}`;
    const list = sides.get(side);
    if (list) list.push({ key, toward: center(other) });
    else sides.set(side, [{ key, toward: center(other) }]);
  };
  for (const edge of edges) {
    const [ra, rb] = [rowOf.get(edge.from)!, rowOf.get(edge.to)!];
    add(edge.from, rb >= ra, `${edge.id}>`, edge.to);
    add(edge.to, rb <= ra, `${edge.id}<`, edge.from);
  }
  const out = new Map<string, number>();
  for (const [side, list] of sides) {
    const node = placed.get(side.slice(0, side.lastIndexOf("|")))!;
    list.sort((a, b) => a.toward - b.toward || (a.key < b.key ? -1 : 1));
    const span = Math.min(node.width * 0.72, (list.length - 1) * 14);
    list.forEach((one, index) => {
      const share = list.length === 1 ? 0.5 : index / (list.length - 1);
      out.set(one.key, node.x + node.width / 2 + (share - 0.5) * span);
    });
  }
  return out;
}

/** The gap of a row nearest to an aim; lines through one gap stand side by side. */
function gapIn(row: Row, aim: number, width: number, index: number, used: Map<string, number>): number {
  let best = aim;
  let cost = Number.POSITIVE_INFINITY;
  let key = "";
  let before = -40;
  const edges = [...row.nodes.map((node) => [node.x, node.x + node.width] as const), [width + 40, width + 40] as const];
  for (const [from, to] of edges) {
    const space = from - before;
    if (space >= 12) {
      const margin = Math.min(9, space / 2);
      const x = Math.min(from - margin, Math.max(before + margin, aim));
      const outside = x < 0 || x > width ? 60 : 0;
      if (Math.abs(x - aim) + outside < cost) {
        cost = Math.abs(x - aim) + outside;
        best = x;
        key = `${index}:${Math.round(before)}:${Math.round(x / 8)}`;
      }
    }
    before = Math.max(before, to);
  }
  const lane = used.get(key) ?? 0;
  used.set(key, lane + 1);
  const offset = lane === 0 ? 0 : (lane % 2 ? 1 : -1) * Math.ceil(lane / 2) * LANE;
  return best + Math.max(-7, Math.min(7, offset));
}

const r = (value: number) => Math.round(value * 10) / 10;

export interface Label {
  id: string;
  text: string;
  x: number;
  y: number;
  width: number;
}
const LABEL_H = 15;
const CHAR_W = 5.9;

/** Labels of edges where they fit; one that would cover a node or another label is left out (a hover still shows it). */
export function labels(placed: Placed, texts: ReadonlyMap<string, string>): Label[] {
  const taken: { x: number; y: number; width: number; height: number }[] = [...placed.nodes.values()];
  const out: Label[] = [];
  for (const edge of placed.edges) {
    const text = texts.get(edge.id);
    if (!text) continue;
    const width = text.length * CHAR_W + 10;
    const box = [0, -LABEL_H - 2, LABEL_H + 2].map((dy) => ({
      x: edge.mid[0] - width / 2,
      y: edge.mid[1] - LABEL_H / 2 + dy,
      width,
      height: LABEL_H,
    }));
    const free = box.find(
      (one) =>
        !taken.some(
          (other) =>
            one.x < other.x + other.width &&
            one.x + one.width > other.x &&
            one.y < other.y + other.height &&
            one.y + one.height > other.y,
        ),
    );
    if (!free) continue;
    taken.push(free);
    out.push({ id: edge.id, text, x: edge.mid[0], y: free.y, width });
  }
  return out;
}

/** Rows of a placed picture, for routing more lines over it. */
export function rowsFrom(placed: Placed): Row[] {
  const byTop = new Map<number, Row>();
  const sorted = [...placed.nodes.values()].sort((a, b) => a.y - b.y);
  for (const node of sorted) {
    const hit = [...byTop.values()].find((row) => node.y < row.bottom && node.y + node.height > row.top);
    if (hit) {
      hit.top = Math.min(hit.top, node.y);
      hit.bottom = Math.max(hit.bottom, node.y + node.height);
      hit.nodes.push(node);
    } else byTop.set(node.y, { top: node.y, bottom: node.y + node.height, nodes: [node] });
  }
  const rows = [...byTop.values()].sort((a, b) => a.top - b.top);
  for (const row of rows) row.nodes.sort((a, b) => a.x - b.x);
  return rows;
}
