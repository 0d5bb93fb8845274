import { describe, expect, it } from "vitest";
import { type LayoutEdge, type LayoutNode, labels, type PlacedNode, place, rowsOf } from "./layout";

const node = (id: string, group: string, row: number): LayoutNode => ({ id, group, row, width: 110, height: 46 });
const edge = (from: string, to: string): LayoutEdge => ({ id: `${from}>${to}`, from, to });

/** Points along a path of M, C and V commands, close enough that no node fits between two of them. */
function points(d: string): [number, number][] {
  const out: [number, number][] = [];
  let [x, y] = [0, 0];
  for (const [, command, text] of d.matchAll(/([MCV])([^MCV]*)/g)) {
    const n = text!.trim().split(/\s+/).map(Number);
    if (command === "M") [x, y] = [n[0]!, n[1]!];
    else if (command === "V") {
      for (let k = 0; k <= 40; k++) out.push([x, y + ((n[0]! - y) * k) / 40]);
      y = n[0]!;
    } else {
      const [x1, y1, x2, y2, x3, y3] = n as [number, number, number, number, number, number];
      for (let k = 0; k <= 60; k++) {
        const s = k / 60;
        const u = 1 - s;
        out.push([
          u ** 3 * x + 3 * u * u * s * x1 + 3 * u * s * s * x2 + s ** 3 * x3,
          u ** 3 * y + 3 * u * u * s * y1 + 3 * u * s * s * y2 + s ** 3 * y3,
        ]);
      }
      [x, y] = [x3, y3];
    }
  }
  return out;
}
const inside = ([x, y]: [number, number], box: PlacedNode) =>
  x > box.x + 1 && x < box.x + box.width - 1 && y > box.y + 1 && y < box.y + box.height - 1;

/** Reproducible numbers in 0..1. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

describe("rows", () => {
  it("put servers under their clients", () => {
    const rows = rowsOf(["c", "b", "a"], [edge("a", "b"), edge("b", "c"), edge("a", "c")]);
    expect([rows.get("a"), rows.get("b"), rows.get("c")]).toEqual([0, 1, 2]);
  });
  it("end on cycles", () => {
    const rows = rowsOf(["a", "b", "c"], [edge("a", "b"), edge("b", "c"), edge("c", "a")]);
    expect(new Set(rows.values()).size).toBe(3);
  });
  it("do not depend on the order of what comes in", () => {
    const ids = ["a", "b", "c", "d", "e"];
    const edges = [edge("a", "c"), edge("b", "c"), edge("c", "d"), edge("d", "b"), edge("a", "e")];
    expect(rowsOf([...ids].reverse(), [...edges].reverse())).toEqual(rowsOf(ids, edges));
  });
});

describe("a picture", () => {
  for (let seed = 1; seed <= 25; seed++)
    it(`of random relations has no line through a node and no two nodes over each other (${seed})`, () => {
      const next = random(seed);
      const count = 6 + Math.floor(next() * 30);
      const nodes = Array.from({ length: count }, (_, index) =>
        node(`n${index}`, `h${Math.floor(next() * 4)}`, Math.floor(next() * 3)),
      );
      const edges = [
        ...new Map(
          Array.from({ length: count * 2 }, () => edge(`n${Math.floor(next() * count)}`, `n${Math.floor(next() * count)}`)).map(
            (one) => [one.id, one],
          ),
        ).values(),
      ];
      const picture = place(nodes, edges, { width: 560, bandOf: (group) => Number(group[1]) % 3, title: 20 });
      const boxes = [...picture.nodes.values()];
      for (const a of boxes)
        for (const b of boxes)
          if (a !== b)
            expect(a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y).toBe(true);
      for (const line of picture.edges) {
        const [from, to] = line.id.split(">");
        for (const box of boxes) {
          if (box.id === from || box.id === to) continue;
          const hit = points(line.d).find((point) => inside(point, box));
          expect(hit, `${line.id} through ${box.id}`).toBeUndefined();
        }
      }
    });
  it("is the same when it is drawn again", () => {
    const nodes = [node("a", "x", 0), node("b", "x", 1), node("c", "y", 0)];
    const edges = [edge("a", "b"), edge("b", "c")];
    const options = { width: 560, bandOf: (group: string) => (group === "x" ? 0 : 1), title: 20 };
    expect(place(nodes, edges, options)).toEqual(place(nodes, edges, options));
  });
  it("keeps where things stand when a relation appears", () => {
    const nodes = [node("a", "x", 0), node("b", "x", 1), node("c", "y", 0)];
    const options = { width: 560, bandOf: (group: string) => (group === "x" ? 0 : 1), title: 20 };
    const before = place(nodes, [edge("a", "b")], options).nodes;
    expect(place(nodes, [edge("a", "b"), edge("a", "c")], options).nodes).toEqual(before);
  });
  it("places every one of 2,000 nodes", () => {
    const next = random(3);
    const nodes = Array.from({ length: 2000 }, (_, index) => node(`n${index}`, `h${index % 60}`, index % 3));
    const edges = Array.from({ length: 4000 }, (_, index) => ({
      ...edge(`n${Math.floor(next() * 2000)}`, `n${Math.floor(next() * 2000)}`),
      id: `e${index}`,
    }));
    const picture = place(nodes, edges, { width: 560, bandOf: (group) => Number(group.slice(1)) % 5, title: 20 });
    expect(picture.nodes.size).toBe(2000);
  });
  it("labels what has room and nothing over a node", () => {
    const nodes = [node("a", "x", 0), node("b", "x", 1), node("c", "x", 1)];
    const picture = place(nodes, [edge("a", "b"), edge("a", "c")], { width: 560, bandOf: () => 0, title: 0 });
    const found = labels(
      picture,
      new Map([
        ["a>b", "48/s · 640 ms"],
        ["a>c", "158/s · 18 ms"],
      ]),
    );
    expect(found.length).toBeGreaterThan(0);
    for (const one of found)
      for (const box of picture.nodes.values())
        expect(
          one.x - one.width / 2 < box.x + box.width &&
            one.x + one.width / 2 > box.x &&
            one.y < box.y + box.height &&
            one.y + 15 > box.y,
        ).toBe(false);
  });
});
