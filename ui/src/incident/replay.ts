// An incident as a case for `gala rca --case`: the numbers around it of everything the answer spoke of, in a tar archive.
//
// Files: case.json (what is asked), metrics.csv (a column a number, a row a moment), graph.json (who depends on whom),
// result.json (the answer it was given, to compare).
import { get } from "../api/client";
import { derive } from "../api/derive";
import type { EntityMetrics, FaultDetail } from "../api/types";
import { save } from "./exports";
import { symptomsOf } from "./read";

const BEFORE_MS = 30 * 60_000;
const AFTER_MS = 5 * 60_000;
const MOST_MS = 2 * 3_600_000;
const STEP_MS = 5000;
/** Entities asked for at most, and at once. */
const MAX_ENTITIES = 80;
const AT_ONCE = 4;

export interface Span {
  from: number;
  to: number;
}

/** From half an hour before the onset until it was over, in whole steps. */
export function spanOf(detail: FaultDetail, now: number): Span {
  const { onset } = detail.Resource;
  const end = Math.min(now, detail.closed_ms === null ? now : detail.closed_ms + AFTER_MS, onset + MOST_MS);
  const whole = (ms: number) => Math.floor(ms / STEP_MS) * STEP_MS;
  return { from: whole(onset - BEFORE_MS), to: whole(Math.max(end, onset + STEP_MS)) };
}

/** Everything the explanation speaks of: what hurts first, then causes, paths, what was ruled out. */
export function entitiesOf(detail: FaultDetail): string[] {
  const { Resource: result } = detail;
  const ids = [
    result.abnormal_kpi.entity_id,
    ...symptomsOf(detail).map((one) => one.entity_id),
    ...result.cause_metrics.flatMap((cause) => [cause.entity_id, ...cause.path.map((step) => step.entity_id)]),
    ...result.graph.nodes.map((node) => node.entity_id),
    ...(result.also_considered ?? []).map((one) => one.entity_id),
  ];
  return [...new Set(ids.filter(Boolean))].slice(0, MAX_ENTITIES);
}

export interface CaseFile {
  name: string;
  text: string;
}

/** The files of a case. Pure. */
export function caseFiles(detail: FaultDetail, span: Span, answers: ReadonlyMap<string, EntityMetrics>): CaseFile[] {
  const { Resource: result } = detail;
  const seconds = (ms: number) => Math.floor(ms / 1000);
  const nodes = [...answers.keys()];
  const edges = result.graph.edges
    .map((edge) => [result.graph.nodes[edge.to]?.entity_id, result.graph.nodes[edge.from]?.entity_id])
    .filter(([on, by]) => on !== undefined && by !== undefined && on !== by);
  const asked = {
    case: detail.id,
    interval_s: STEP_MS / 1000,
    normal: [seconds(span.from), seconds(result.onset) - 1],
    anomaly: [seconds(result.onset), seconds(span.to)],
    target: { node: result.abnormal_kpi.entity_id, metric: result.abnormal_kpi.metric_id, statistic: "" },
    candidates: nodes,
  };
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  return [
    { name: "case.json", text: json(asked) },
    { name: "metrics.csv", text: metricsCsv(answers, span) },
    { name: "graph.json", text: json({ nodes, edges: [...new Map(edges.map((edge) => [edge.join("\n"), edge])).values()] }) },
    { name: "result.json", text: json(detail) },
  ];
}

function metricsCsv(answers: ReadonlyMap<string, EntityMetrics>, span: Span): string {
  const columns: { name: string; values: Map<number, number | null> }[] = [];
  for (const [id, answer] of answers)
    for (const metric of answer.items)
      for (const one of metric.series)
        columns.push({
          name: [id, metric.metric, one.label].filter(Boolean).join("|"),
          values: new Map(one.points.map(([ms, value]) => [Math.floor(ms / STEP_MS) * STEP_MS, value])),
        });
  const lines = [["timestamp", ...columns.map((column) => quoted(column.name))].join(",")];
  for (let at = span.from; at <= span.to; at += STEP_MS)
    lines.push([at / 1000, ...columns.map((column) => column.values.get(at) ?? "")].join(","));
  return `${lines.join("\n")}\n`;
}

const quoted = (text: string) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);

const BLOCK = 512;

/** A tar archive (POSIX ustar). Pure. */
export function tar(folder: string, files: readonly CaseFile[], ms: number): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  const bodies = files.map((file) => encoder.encode(file.text));
  const padded = (size: number) => Math.ceil(size / BLOCK) * BLOCK;
  const total = bodies.reduce((sum, body) => sum + BLOCK + padded(body.length), 2 * BLOCK);
  const out = new Uint8Array(total);
  let at = 0;
  bodies.forEach((body, index) => {
    const header = out.subarray(at, at + BLOCK);
    const put = (offset: number, text: string) => header.set(encoder.encode(text), offset);
    const octal = (value: number, width: number) => Math.floor(value).toString(8).padStart(width, "0");
    put(0, `${folder}/${files[index]!.name}`.slice(0, 99));
    put(100, `${octal(0o644, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(body.length, 11)}\0${octal(ms / 1000, 11)}\0`);
    // The sum counts its own field as spaces.
    put(148, "        0");
    put(257, "ustar\x0000");
    const sum = header.reduce((all, byte) => all + byte, 0);
    put(148, `${octal(sum, 6)}\0 `);
    out.set(body, at + BLOCK);
    at += BLOCK + padded(body.length);
  });
  return out;
}

export async function exportReplay(detail: FaultDetail): Promise<void> {
  const span = spanOf(detail, Date.now());
  const answers = new Map<string, EntityMetrics>();
  const waiting = entitiesOf(detail);
  for (const id of waiting) answers.set(id, { items: [] } as unknown as EntityMetrics);
  const work = async (): Promise<void> => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      const answer = await get<EntityMetrics>(`/entities/${encodeURIComponent(id)}/metrics`, { ...span, step: STEP_MS });
      answers.set(id, { ...answer, items: derive(answer.items) });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const name = `incident-${detail.id.replace(/[^\w.-]+/g, "_")}`;
  save(`${name}.tar`, "application/x-tar", tar(name, caseFiles(detail, span, answers), span.to));
}
