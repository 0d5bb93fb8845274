import { describe, expect, it } from "vitest";
import type { Edge, Entity, Horizontal, PathStep } from "../api/types";
import { type HorizontalOptions, horizontal, stepsOn } from "./model";

const NOW = 1_700_000_000_000;
const proc = (pid: number, comm: string, state: Entity["state"] = "online"): Entity => ({
  id: `m_proc_${pid}`,
  type: "proc",
  name: `${pid}, ${comm}, host-a`,
  band: "process",
  level: "PROCESS",
  machine_id: "m",
  host_name: "host-a",
  state,
  offline_at: state === "offline" ? NOW : null,
  labels: { comm, tgid: String(pid) },
  badges: { anomalies: 0, severity: null },
  children: {},
});
const call = (from: Entity, to: Entity): Edge => ({
  id: `${from.id}>${to.id}`,
  relation: "connect",
  layer: "indirect",
  from: from.id,
  to: to.id,
  state: from.state,
  directed: true,
  attributes: {},
  via: null,
  ambiguous: false,
});
const answer = (nodes: Entity[], edges: Edge[]): Horizontal => ({
  snapshot: { ts: NOW, state: "complete" },
  partial: false,
  layer: "process",
  center: null,
  nodes,
  edges,
});
const OPTIONS: HorizontalOptions = {
  layer: "process",
  by: "host",
  width: 560,
  measure: (text) => text.length * 7,
  pinned: new Set(),
  open: new Set(),
  gone: false,
  steps: [],
  host: null,
  otherWord: "other",
  goneWord: "gone",
};

describe("processes that are gone", () => {
  const server = proc(1, "redis-server");
  const past = Array.from({ length: 9 }, (_, index) => proc(100 + index, `job-${index}`, "offline"));
  const many = answer([server, ...past], [...past.map((one) => call(one, server))]);
  it("fold into one dashed node when they are many", () => {
    const picture = horizontal(many, OPTIONS);
    const gone = picture.nodes.find((node) => node.name === "gone")!;
    expect(gone).toMatchObject({ count: 9, state: "gone", fold: "gone:host-a" });
    expect(picture.edges).toHaveLength(1);
    expect(picture.edges[0]).toMatchObject({ from: "gone:host-a", to: server.id, gone: true });
  });
  it("stand alone when few, when opened, and on a path", () => {
    expect(
      horizontal(
        answer(
          [server, ...past.slice(0, 3)],
          past.slice(0, 3).map((one) => call(one, server)),
        ),
        OPTIONS,
      ).nodes,
    ).toHaveLength(4);
    expect(horizontal(many, { ...OPTIONS, open: new Set(["gone:host-a"]) }).nodes).toHaveLength(10);
    const pinned = horizontal(many, { ...OPTIONS, pinned: new Set([past[0]!.id]) });
    expect(pinned.nodes.find((node) => node.id === past[0]!.id)?.count).toBe(1);
    expect(pinned.nodes.find((node) => node.name === "gone")?.count).toBe(8);
  });
  it("fold also when few, once they have been gone for long, unless they are asked for or judged", () => {
    const long = past.slice(0, 3).map((one) => ({ ...one, offline_at: NOW - 3_600_000 }));
    const few = (ended: Entity[]) =>
      answer(
        [server, ...ended],
        ended.map((one) => call(one, server)),
      );
    const shown = (ended: Entity[], options = OPTIONS) =>
      horizontal(few(ended), options).nodes.map((node) => [node.name, node.count]);
    expect(shown(long)).toEqual([
      ["redis-server", 1],
      ["gone", 3],
    ]);
    expect(shown(long, { ...OPTIONS, gone: true })).toHaveLength(4);
    // The third went just now.
    expect(shown([...long.slice(0, 2), past[2]!])).toContainEqual(["job-2", 1]);
    const judged = { ...long[2]!, badges: { anomalies: 1, severity: "ERROR" as const } };
    expect(shown([...long.slice(0, 2), judged])).toContainEqual(["job-2", 1]);
  });
});

describe("trays of services", () => {
  it("hold what talks; what talks to nobody, and what is gone, is folded by host", () => {
    const [client, server] = [proc(1, "web"), proc(2, "redis-server")];
    const alone = [proc(3, "bash"), proc(4, "cron"), proc(5, "agetty")];
    const ended = [proc(6, "cc1", "offline"), proc(7, "as", "offline")].map((one) => ({ ...one, offline_at: NOW - 3_600_000 }));
    const picture = horizontal(answer([client, server, ...alone, ...ended], [call(client, server), call(ended[0]!, server)]), {
      ...OPTIONS,
      by: "service",
    });
    expect(picture.nodes.map((node) => [node.name, node.count]).sort()).toEqual([
      ["gone", 2],
      ["other", 3],
      ["redis-server", 1],
      ["web", 1],
    ]);
    expect(picture.placed.trays.map((tray) => tray.group).sort()).toEqual(["host-a", "redis-server", "web"]);
  });
});

describe("very many processes", () => {
  const hosts = ["a", "b", "c", "d"];
  const nodes = Array.from({ length: 1200 }, (_, index) => {
    const host = hosts[index % 4]!;
    return { ...proc(index, `svc-${index}`), host_name: host, machine_id: host };
  });
  const edges = nodes
    .map((one, index) => call(one, nodes[(index * 7 + 1) % nodes.length]!))
    .filter((edge) => edge.from !== edge.to);
  it("are one node a host until one is opened", () => {
    const closed = horizontal(answer(nodes, edges), OPTIONS);
    expect(closed.nodes.map((node) => [node.name, node.count])).toEqual(hosts.map((host) => [host, 300]));
    const opened = horizontal(answer(nodes, edges), { ...OPTIONS, open: new Set(["tray:b"]) });
    expect(opened.nodes.filter((node) => node.fold?.startsWith("tray:"))).toHaveLength(3);
    expect(opened.nodes.length).toBeGreaterThan(100);
  });
});

describe("steps of a path on a node", () => {
  const step = (value_after: number | null, hidden = false) =>
    ({ metric_id: "x_ms", unit: "ms", value_before: 1, value_after, hidden }) as PathStep;
  const steps = [step(10), step(20), step(30), step(40)];
  it("are a number, a run, or a list", () => {
    expect(stepsOn([1], steps).steps).toBe("2");
    expect(stepsOn([1, 2, 3], steps).steps).toBe("2–4");
    expect(stepsOn([0, 2], steps).steps).toBe("1, 3");
  });
  it("tell the value of the symptom, or of the first of them", () => {
    expect(stepsOn([1, 2, 3], steps).note).toBe("1 → 40 ms");
    expect(stepsOn([0, 1], steps)).toMatchObject({ note: "1 → 10 ms", cause: true });
  });
  it("tell none where nothing was measured", () => {
    expect(stepsOn([0], [step(null), step(2)]).note).toBe("");
    expect(stepsOn([0], [step(3, true), step(2)]).note).toBe("");
    expect(stepsOn(undefined, steps).number).toBeNull();
  });
});
