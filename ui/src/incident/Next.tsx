// What to do next, in one sentence beside the answer: who is on call need not search the page for it.
import type { FaultDetail } from "../api/types";
import { useT } from "../i18n";
import { Rich } from "../parts/rich";
import { categoryKey } from "./read";

export function Next({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const cause = detail.Resource.cause_metrics[0];
  if (!cause || detail.state !== "open") return null;
  // Where the cause is not known, those listed are hints: nothing is to be done on them.
  const code = detail.Resource.fault_category?.code === "unknown" ? "unknown" : cause.fault_category;
  return (
    <p className="do">
      <Rich text={t("incident.next", { what: t(`todo.${categoryKey(code)}`) })} />
    </p>
  );
}
