// An incident as a file: the result as it is, or as text for a ticket.
import type { FaultDetail } from "../api/types";
import { percent } from "../format";
import { pathOf, stepName } from "./read";

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
      `- category: ${result.fault_category.code} ${result.fault_category.name} (${percent(result.fault_category.probability)})`,
    );
  if (cause)
    out.push(`- first cause: ${cause.entity_name ?? cause.entity_id}, \`${cause.metric_id}\` (${percent(cause.probability)})`);
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
  if (result.cause_metrics.length > 1) {
    out.push("", "Also considered:", "");
    for (const other of result.cause_metrics.slice(1))
      out.push(`- ${percent(other.probability)} ${other.entity_name ?? other.entity_id} ${other.why_less?.en ?? ""}`.trimEnd());
  }
  if (result.unknown_probability !== null) out.push("", `None of these: ${percent(result.unknown_probability)}`);
  if (result.limits.length > 0)
    out.push("", "Could not be seen:", "", ...result.limits.map((limit) => `- ${typeof limit === "string" ? limit : limit.en}`));
  return `${out.join("\n")}\n`;
}

export function exportFile(detail: FaultDetail, kind: "json" | "md"): void {
  const text = kind === "json" ? `${JSON.stringify(detail, null, 2)}\n` : markdown(detail);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind === "json" ? "application/json" : "text/markdown" }));
  link.download = `incident-${detail.id.replace(/[^\w.-]+/g, "_")}.${kind}`;
  link.click();
  URL.revokeObjectURL(link.href);
}
