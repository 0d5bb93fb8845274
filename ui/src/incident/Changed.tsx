// What changed just before an incident: processes that started or ended, by program; those of the answer first, then those that
// came and stayed.
import { useMemo } from "react";
import { useChangesOf } from "../api/queries";
import type { FaultDetail } from "../api/types";
import { num, sentenceCase } from "../format";
import { type Key, useT, useText } from "../i18n";
import { EntityName } from "../parts/links";
import { Answer } from "../parts/page";
import { Rich } from "../parts/rich";
import { Time } from "../parts/Time";
import { type Changed, groupChanges } from "./changes";

const BEFORE_MS = 600_000;
/** The map is built in cycles: what caused it may be seen a moment later. */
const AFTER_MS = 15_000;
const MAX_ROWS = 6;

function wordOf(one: Changed): Key {
  if (one.started > 0 && one.ended > 0) return one.started + one.ended === 2 ? "changed.both" : "changed.both_many";
  if (one.started > 0) return one.started === 1 ? "changed.started" : "changed.started_many";
  return one.ended === 1 ? "changed.ended" : "changed.ended_many";
}

export function ChangedBefore({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const say = useText();
  const { Resource: result } = detail;
  const { onset } = result;
  const changes = useChangesOf("proc", onset - BEFORE_MS, onset + AFTER_MS);
  const answer = useMemo(
    () => new Set(result.cause_metrics.flatMap((cause) => [cause.entity_id, ...cause.path.map((step) => step.entity_id)])),
    [result],
  );
  const groups = useMemo(() => groupChanges(changes.data?.items ?? [], answer), [changes.data, answer]);
  const proofs = result.cause_metrics.flatMap((cause) => cause.evidence).filter((proof) => proof.kind === "change");
  return (
    <Answer of={changes} lines={3}>
      {() =>
        groups.length + proofs.length === 0 ? (
          <p className="dim pad">{t("incident.changed_none")}</p>
        ) : (
          <>
            <ul className="tl">
              {proofs.map((proof) => (
                <li key={proof.text.en}>
                  {proof.onset ? <Time ms={proof.onset} brief /> : <span />}
                  <p>
                    <Rich text={sentenceCase(say(proof.text))} />
                  </p>
                </li>
              ))}
              {groups.slice(0, MAX_ROWS).map((one) => (
                <li key={one.program}>
                  <Time ms={one.last_ms} brief />
                  <p>
                    <EntityName id={one.id} type={one.type} name={one.program} />{" "}
                    {t(wordOf(one), { started: num(one.started), ended: num(one.ended) })}
                  </p>
                </li>
              ))}
            </ul>
            {groups.length > MAX_ROWS ? (
              <p className="dim pad">{t("changed.more", { count: num(groups.length - MAX_ROWS) })}</p>
            ) : null}
          </>
        )
      }
    </Answer>
  );
}
