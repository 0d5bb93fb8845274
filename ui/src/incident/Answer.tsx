// The answer of an incident in numbers: category, fault domain, share explained, what hurts; and how likely each cause is.
import type { FaultDetail, Stage } from "../api/types";
import { duration, portion, sure } from "../format";
import { useT } from "../i18n";
import { tidyName } from "../map/names";
import { EntityName } from "../parts/links";
import { categoryKey, domainName, hurtBy, share, stepName, symptomsOf } from "./read";

const STAGES: Stage[] = ["domain", "cause", "final"];

export function Facts({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const { Resource: result } = detail;
  const { fault_category: category, fault_domain: domain, abnormal_kpi: kpi, timing } = result;
  const impact = result.cause_metrics[0]?.impact;
  const symptoms = symptomsOf(detail);
  const services = hurtBy(symptoms);
  return (
    <dl className="facts">
      <div>
        <dt>{t("incident.category")}</dt>
        <dd>
          {category ? (
            <>
              {category.code === "unknown" ? "" : `${category.code} `}
              {t(`category.${categoryKey(category.code)}`)} <small>{sure(category.probability)}</small>
            </>
          ) : (
            "–"
          )}
        </dd>
      </div>
      <div>
        <dt>{t("incident.domain")}</dt>
        <dd>
          {domain ? (
            <>
              {domain.level} {domainName(detail)}{" "}
              <small>
                {sure(domain.probability)}
                {domain.runner_up ? `, ${t("incident.then", { level: domain.runner_up })}` : ""}
              </small>
            </>
          ) : (
            "–"
          )}
        </dd>
      </div>
      {impact === null || impact === undefined ? null : (
        <div>
          <dt>{t("incident.explains")}</dt>
          <dd>
            {portion(impact)} <small>{t("incident.of_slowdown")}</small>
          </dd>
        </div>
      )}
      <div>
        <dt>{t("incident.hurts")}</dt>
        <dd>
          <EntityName
            id={kpi.entity_id}
            type={kpi.entity_type ?? "sli"}
            name={kpi.entity_name ?? kpi.entity_id}
            host={kpi.host_name}
          />
          {services > 1 ? <small> {t("incident.and_more", { count: services - 1 })}</small> : null}
        </dd>
      </div>
      <div className="ver">
        <dt>{t("incident.result", { version: result.result_version })}</dt>
        <dd>
          <ol>
            {STAGES.map((stage) => {
              const after = timing?.[stage];
              const here = stage === result.stage;
              return (
                <li
                  key={stage}
                  aria-current={here ? "step" : undefined}
                  className={after === undefined && !here ? "todo" : undefined}
                >
                  <span>{t(`stage.short.${stage as "domain" | "cause" | "final"}`)}</span>{" "}
                  {after === undefined ? "" : `+ ${duration(after)}`}
                </li>
              );
            })}
          </ol>
        </dd>
      </div>
    </dl>
  );
}

/** Probabilities to scale; none of these is always there. */
export function Belief({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const { cause_metrics: causes, unknown_probability: none } = detail.Resource;
  if (causes.length === 0) return null;
  const total = causes.reduce((sum, cause) => sum + cause.probability, none ?? 0) || 1;
  const names = causes.map((cause) =>
    tidyName(cause.entity_type, cause.entity_name ?? stepName({ entity_id: cause.entity_id, entity_type: cause.entity_type })),
  );
  const parts = [
    ...causes.map((cause, index) => `${names[index]} ${share(cause.probability)}`),
    ...(none === null ? [] : [`${t("incident.none")} ${share(none)}`]),
  ];
  return (
    <figure className="bel">
      <figcaption className="lab">{t("incident.believe")}</figcaption>
      <div className="bb" role="img" aria-label={`${t("incident.believe")}: ${parts.join(", ")}`}>
        {causes.map((cause, index) => (
          <span
            key={`${cause.entity_id}${cause.metric_id}`}
            className={index === 0 ? "b1" : ""}
            style={{ flex: Math.max(0.005, cause.probability / total) }}
            title={parts[index]}
          >
            <b>{share(cause.probability)}</b>
            {cause.probability > 0.06 ? <i>{names[index]}</i> : null}
          </span>
        ))}
        {none === null ? null : (
          <span className="b5" style={{ flex: Math.max(0.01, none / total) }} title={parts[parts.length - 1]}>
            <b>{share(none)}</b>
            {none > 0.05 ? <i>{t("incident.none_short")}</i> : null}
          </span>
        )}
      </div>
    </figure>
  );
}
