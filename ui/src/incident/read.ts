// Reading a result: the path of its first cause, names where it leaves them out. Pure.
import type { Fault, FaultDetail, Page, PathStep, Symptom } from "../api/types";
import { num, sure } from "../format";
import { formatRange } from "../time/time";

const MINUTE_MS = 60_000;

/** Address of an incident. One that is over takes the time of the page with it, so that every chart shows what was. */
export function faultPath(fault: Pick<Fault, "id" | "state" | "onset_ms" | "closed_ms">): string {
  const path = `/incidents/${encodeURIComponent(fault.id)}`;
  if (fault.state === "open" || fault.closed_ms === null) return path;
  const at = fault.closed_ms + MINUTE_MS;
  const minutes = Math.max(15, Math.ceil((at - fault.onset_ms) / MINUTE_MS) + 5);
  return `${path}?at=${at}&range=${formatRange(minutes * MINUTE_MS)}`;
}

/** How many there are, as far as the answer tells: it may be the first of more. */
export function countOf(answer: Page<unknown>, shown = answer.items.length): string {
  return `${num(shown, 9)}${answer.next_cursor === null ? "" : "+"}`;
}

/** A probability in whole percents without their sign; almost all is not all, next to nothing not nothing. */
export function share(probability: number): string {
  return sure(probability).replace(/ %$/, "").replace(" ", "");
}

/** Steps from cause to symptom of the cause with this rank; empty before the first result. */
export function pathOf(detail: FaultDetail, rank = 1): PathStep[] {
  const cause = detail.Resource.cause_metrics.find((one) => one.rank === rank) ?? detail.Resource.cause_metrics[rank - 1];
  return cause?.path ?? [];
}

/** Name of a step, from its id where no name is given: `<machine>_disk_sdb` is `sdb`. */
export function stepName(step: { entity_name?: string | undefined; entity_id?: string; entity_type: string }): string {
  if (step.entity_name) return step.entity_name;
  const id = step.entity_id ?? "";
  const mark = `_${step.entity_type}_`;
  const at = id.indexOf(mark);
  if (at >= 0) return id.slice(at + mark.length) || step.entity_type;
  return step.entity_type;
}

/** Whether a series measures it; what happened, as a kill for memory, is told by an event alone. */
export const isMeasured = (metric: string) => metric !== "virtual_metric";

const TAKEN = "gala_gopher_proc_preempted_ns";

/**
 * Query of what a process took from the next one of the path, or null where a step's number is its own: the number stands at
 * the one that waited, by who ran instead.
 */
export function takenQuery(steps: readonly PathStep[], index: number): string | null {
  const [step, next] = [steps[index]!, steps[index + 1]];
  const [by, from] = [step.metric_labels?.tgid, next?.metric_labels?.tgid];
  if (step.metric_id !== TAKEN || step.entity_type !== "proc" || !by || !from || by === from) return null;
  // A last value must not live on after the end.
  return `sum(last_over_time(${TAKEN}{machine_id="${step.machine_id ?? ""}",tgid="${from}",by_tgid="${by}"}[15s]))`;
}

/** The nine fault categories; anything else is not known. */
const CODES = ["S1", "S2", "S3", "S4", "S5", "S6", "H1", "H2", "H3"] as const;
export function categoryKey(code: string): (typeof CODES)[number] | "unknown" {
  return (CODES as readonly string[]).includes(code) ? (code as (typeof CODES)[number]) : "unknown";
}

/** Name of what the fault sits in; the hub gives its id, the path gives names of hosts. */
export function domainName(detail: FaultDetail): string {
  const { fault_domain: domain, cause_metrics: causes, abnormal_kpi: kpi } = detail.Resource;
  if (!domain) return "";
  if (domain.entity_name) return domain.entity_name;
  const known = [...causes, ...causes.flatMap((cause) => cause.path)].find((one) => one.entity_id === domain.entity_id);
  if (known?.entity_name) return known.entity_name;
  const machine = /^(.+)_host$/.exec(domain.entity_id)?.[1];
  if (machine === undefined) return "";
  if (kpi.host_name && kpi.entity_id.startsWith(`${machine}_`)) return kpi.host_name;
  return causes.find((cause) => cause.machine_id === machine)?.host_name ?? "";
}

/** What people feel first, then by how far it is off. */
export function symptomsOf(detail: FaultDetail): Symptom[] {
  const weight = (one: Symptom) => (one.class === "app" ? 0 : 1);
  return [...(detail.Resource.symptoms ?? [])].sort((a, b) => weight(a) - weight(b) || b.score - a.score);
}

/** Services hurt, each once; where none is, the entities. */
export function hurtBy(symptoms: readonly Symptom[]): number {
  const services = new Set(symptoms.map((one) => one.process_id).filter((id) => id !== null));
  return services.size || new Set(symptoms.map((one) => one.entity_id)).size;
}

/** Normal range of what a chart draws, from the symptom that judges the same number. */
export function rangeOf(
  symptoms: readonly Symptom[],
  entity: string,
  metric: string,
  series: { label: string } | undefined,
): { lo: number; hi: number } | null {
  const percent = /^p(\d+)$/.exec(series?.label ?? "")?.[1];
  const found = symptoms.find(
    (one) =>
      one.entity_id === entity &&
      one.metric === metric &&
      (percent ? one.source.kind === "quantile" && one.source.percent === Number(percent) : one.source.kind !== "quantile"),
  );
  return found && found.high !== null ? { lo: found.low ?? 0, hi: found.high } : null;
}
