// Below the evidence: what else was considered, what changed just before, what could not be seen, what to do.
import type { CauseMetric, Considered, FaultDetail } from "../api/types";
import { num, sentence, sure } from "../format";
import { useT, useText } from "../i18n";
import { useMetricName } from "../metrics";
import { EntityName, To } from "../parts/links";
import { Section } from "../parts/page";
import { Rich } from "../parts/rich";
import { ChangedBefore } from "./Changed";
import { categoryKey, isMeasured, stepName } from "./read";

/** Likelier than this is told apart from what was ruled out. */
const POSSIBLE = 0.005;

export function Columns({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const say = useText();
  const { Resource: result } = detail;
  const first = result.cause_metrics[0];
  const code = categoryKey(result.fault_category?.code ?? "unknown");
  return (
    <div className="cols">
      <Section title={t("incident.also")}>
        <Also detail={detail} />
      </Section>
      <Section title={t("incident.changed")} note={t("changed.note")}>
        <ChangedBefore detail={detail} />
      </Section>
      <Section title={t("incident.limits")}>
        {result.limits.length === 0 ? (
          <p className="dim pad">{t("incident.limits_none")}</p>
        ) : (
          <ul className="tl n">
            {result.limits.map((limit) => (
              <li key={typeof limit === "string" ? limit : limit.en}>
                <p>
                  <Rich text={sentence(say(limit))} />
                </p>
              </li>
            ))}
          </ul>
        )}
      </Section>
      <Section title={t("incident.todo")}>
        <ol className="tl d">
          <li>
            <p>{t(`todo.${code}`)}</p>
          </li>
          {first ? (
            <li>
              <p>
                <To
                  to={`/entities/${encodeURIComponent(first.entity_id)}?metric=${isMeasured(first.metric_id) ? first.metric_id : ""}`}
                >
                  {t("incident.look", { name: first.entity_name ?? first.entity_type })}
                </To>
              </p>
            </li>
          ) : null}
          <li className="dim">
            <p>
              {t("incident.evidence_count", {
                count: num(result.cause_metrics.reduce((sum, cause) => sum + cause.evidence.length, 0)),
              })}
            </p>
          </li>
        </ol>
      </Section>
    </div>
  );
}

function Also({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const { Resource: result } = detail;
  const considered = [...(result.also_considered ?? [])].sort((a, b) => b.probability - a.probability);
  const possible = considered.filter((one) => one.probability >= POSSIBLE);
  const ruledOut = considered.filter((one) => one.probability < POSSIBLE);
  return (
    <>
      <ol className="alt">
        {result.cause_metrics.slice(1).map((cause) => (
          <Other key={`${cause.entity_id}${cause.metric_id}`} cause={cause} />
        ))}
        {possible.map((one) => (
          <Reason key={`${one.entity_id}${one.metric_id}`} one={one} />
        ))}
        <li>
          <b className="num">{sure(result.unknown_probability)}</b>
          <p className="dim">{t("incident.none")}</p>
        </li>
      </ol>
      {ruledOut.length > 0 ? (
        <details className="ruled">
          <summary>{t("incident.ruled_out", { count: ruledOut.length })}</summary>
          <ol className="alt">
            {ruledOut.map((one) => (
              <Reason key={`${one.entity_id}${one.metric_id}`} one={one} />
            ))}
          </ol>
        </details>
      ) : null}
    </>
  );
}

function Other({ cause }: { cause: CauseMetric }) {
  const say = useText();
  const metricName = useMetricName();
  return (
    <li>
      <b className="num">{sure(cause.probability)}</b>
      <p>
        <EntityName
          id={cause.entity_id}
          type={cause.entity_type}
          name={cause.entity_name ?? stepName({ entity_id: cause.entity_id, entity_type: cause.entity_type })}
        />{" "}
        <Rich text={sentence(say(cause.text) || metricName(cause.metric_id, cause.entity_type))} />
      </p>
    </li>
  );
}

function Reason({ one }: { one: Considered }) {
  const say = useText();
  const metricName = useMetricName();
  return (
    <li>
      <b className="num">{sure(one.probability)}</b>
      <p>
        <EntityName id={one.entity_id} type={one.entity_type} name={one.entity_name} />{" "}
        <span className="dim">{metricName(one.metric_id, one.entity_type)}.</span> <Rich text={sentence(say(one.reason))} />
      </p>
    </li>
  );
}
