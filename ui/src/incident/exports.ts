// An incident as a file: the result as it is, or as text for a ticket.
import type { FaultDetail } from "../api/types";
import { sure } from "../format";
import { pathOf, stepName, symptomsOf } from "./read";

/** Markdown of a result, in English, times in ISO. */
export function markdown(detail: FaultDetail): string {
  const { Resource: result } = detail;
  const iso = (ms: number | null | undefined) => (ms ? new Date(ms).toISOString() : "–");
  const cause = result.cause_metrics[0];
  const out = [
    `# ${result.abnormal_kpi.entity_name ?? result.abnormal_kpi.entity_id}: ${result.abnormal_kpi.desc}`,
    "",
    `- event: \`${detail.event_id}\``,
    `- onset: ${iso(result.onset)}, opened: ${iso(detail.opened_ms)}, closed: ${iso(detail.closed_ms)}`,
    `- result: version ${result.result_version}, ${result.stage}`,
  ];
  if (result.fault_category)
    out.push(
      `- category: ${result.fault_category.code} ${result.fault_category.name} (${sure(result.fault_category.probability)})`,
    );
  if (cause)
    out.push(`- first cause: ${cause.entity_name ?? cause.entity_id}, \`${cause.metric_id}\` (${sure(cause.probability)})`);
  if (result.desc_en) out.push("", result.desc_en);
  const path = pathOf(detail);
  if (path.length > 0) {
    out.push("", "| step | entity | metric | before | after | onset | score |", "|---|---|---|---|---|---|---|");
    path.forEach((step, index) => {
      out.push(
        `| ${index + 1} | ${stepName(step)} | ${step.hidden ? "not observed" : step.metric_id} | ${step.value_before ?? "–"} | ${step.value_after ?? "–"} | ${iso(step.onset)} | ${step.score} |`,
      );
    });
  }
  const symptoms = symptomsOf(detail);
  if (symptoms.length > 0) {
    out.push("", "| hurts | metric | value | before | worst | normal | unit |", "|---|---|---|---|---|---|---|");
    for (const one of symptoms)
      out.push(
        `| ${one.entity_name} | ${one.metric} | ${one.source.kind}${one.source.percent === undefined ? "" : ` ${one.source.percent}`} | ${one.before ?? "–"} | ${one.peak ?? "–"} | ${one.low ?? ""}…${one.high ?? ""} | ${one.unit} |`,
      );
  }
  const others = [
    ...result.cause_metrics.slice(1).map((one) => ({ ...one, text: one.text?.en ?? one.metric_id })),
    ...(result.also_considered ?? []).map((one) => ({ ...one, text: one.reason.en })),
  ];
  if (others.length > 0) {
    out.push("", "Also considered:", "");
    for (const other of others) out.push(`- ${sure(other.probability)} ${other.entity_name ?? other.entity_id}: ${other.text}`);
  }
  if (result.unknown_probability !== null) out.push("", `None of these: ${sure(result.unknown_probability)}`);
  if (result.limits.length > 0)
    out.push("", "Could not be seen:", "", ...result.limits.map((limit) => `- ${typeof limit === "string" ? limit : limit.en}`));
  return `${out.join("\n")}\n`;
}

export function exportFile(detail: FaultDetail, kind: "json" | "md"): void {
  const text = kind === "json" ? `${JSON.stringify(detail, null, 2)}\n` : markdown(detail);
  const name = `incident-${detail.id.replace(/[^\w.-]+/g, "_")}.${kind}`;
  save(name, kind === "json" ? "application/json" : "text/markdown", text);
}

/** Hands a file to the browser. */
export function save(name: string, type: string, content: BlobPart): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
