// Incident: what happened, the answer with its probability, the path drawn twice, the evidence aligned in time, what else was
// considered, what changed, what could not be seen, what to do.
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useParams } from "react-router";
import { ApiError, post } from "../api/client";
import { useFault } from "../api/queries";
import type { FaultDetail, Feedback, Stage } from "../api/types";
import { clock, duration, num, percent, shortId, utc } from "../format";
import { useT, useText } from "../i18n";
import { sentenceCase, useMetricName } from "../metrics";
import { NotFound } from "../notfound";
import { EntityName, To } from "../parts/links";
import { Answer, CopyId, Page, Section } from "../parts/page";
import { Rich } from "../parts/rich";
import { ofSeverity, State } from "../parts/state";
import { useTime } from "../time/useTime";
import { Evidence } from "./Evidence";
import { exportFile } from "./exports";
import { Pictures } from "./Pictures";
import { categoryKey, stepName } from "./read";
import "./incident.css";

export default function Incident() {
  const t = useT();
  const { id = "" } = useParams();
  const fault = useFault(id);
  if (fault.error instanceof ApiError && fault.error.status === 404) return <NotFound what={id} />;
  const name = fault.data
    ? (fault.data.Resource.abnormal_kpi.entity_name ?? fault.data.Resource.abnormal_kpi.entity_id)
    : t("page.incidents");
  return (
    <Page title={name} className="incp">
      <Answer of={fault} lines={12}>
        {(detail) => <Shown detail={detail} />}
      </Answer>
    </Page>
  );
}

function useAnswerWords(detail: FaultDetail): { head: string; lead: string } {
  const t = useT();
  const say = useText();
  const metricName = useMetricName();
  const { Resource: result } = detail;
  const cause = result.cause_metrics[0];
  const kpi = result.abnormal_kpi;
  const long = say({ en: result.desc_en ?? "", zh: result.desc ?? "" }) || kpi.desc;
  if (!cause)
    return { head: t("incident.no_cause", { what: kpi.entity_name ?? kpi.entity_id, time: clock(result.onset) }), lead: long };
  const head =
    say(cause.text) ||
    say(cause.evidence[0]?.text) ||
    t("incident.cause_head", {
      metric: sentenceCase(metricName(cause.metric_id, cause.entity_type)),
      entity: cause.entity_name ?? stepName({ entity_id: cause.entity_id, entity_type: cause.entity_type }),
    });
  return { head: head.replace(/[.。]?$/, (end) => end || "."), lead: long };
}

function Shown({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const { now } = useTime();
  const { Resource: result } = detail;
  const words = useAnswerWords(detail);
  const judged = ofSeverity(detail.SeverityText);
  return (
    <>
      <div className="hd">
        <div>
          <p className="meta">
            <To className="lnk" to="/incidents">
              {t("page.incidents")}
            </To>
            <span className={`nw ${judged === "na" ? "dim" : judged}`}>
              <State state={judged} /> <b className={judged}>{t(`severity.${detail.SeverityText}`)}</b>
            </span>
            <span title={utc(result.onset)}>
              {detail.state === "open"
                ? t("incident.open_since", { time: clock(result.onset, { now }), duration: duration(now - result.onset) })
                : t("incident.was", {
                    time: clock(result.onset, { now }),
                    duration: duration((detail.closed_ms ?? now) - result.onset),
                  })}
            </span>
            <span>{t(result.scope === "cross_node" ? "incident.cross" : "incident.single")}</span>
            <CopyId id={detail.event_id} shown={shortId(detail.event_id, 30)} />
          </p>
          <h1>{words.head}</h1>
        </div>
        <Actions detail={detail} />
      </div>
      {words.lead ? <p className="lead">{words.lead}</p> : null}
      <Facts detail={detail} />
      <Belief detail={detail} />
      {result.cause_metrics[0]?.path.length ? (
        <>
          <Pictures detail={detail} />
          <Evidence detail={detail} />
        </>
      ) : (
        <Evidence detail={detail} />
      )}
      <Columns detail={detail} />
    </>
  );
}

const VERDICTS = ["right", "wrong", "expected"] as const;

function Actions({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const [given, setGiven] = useState<Feedback["verdict"] | null>(null);
  const send = useMutation({
    mutationFn: (verdict: Feedback["verdict"]) =>
      post(`/faults/${encodeURIComponent(detail.id)}/feedback`, {
        verdict,
        entity_id: detail.Resource.cause_metrics[0]?.entity_id ?? null,
        text: "",
      } satisfies Feedback),
    onSuccess: (_, verdict) => setGiven(verdict),
  });
  return (
    <div className="act">
      {detail.Resource.cause_metrics.length > 0 ? (
        <>
          <span className="lab q" role="status">
            {send.isError ? send.error.message : given ? t("incident.thanks") : t("incident.this_cause")}
          </span>
          <span className="grp" role="group" aria-label={t("incident.this_cause")}>
            {VERDICTS.map((verdict) => (
              <button
                key={verdict}
                type="button"
                className="btn"
                aria-pressed={given === verdict}
                disabled={send.isPending}
                onClick={() => send.mutate(verdict)}
              >
                {t(`incident.${verdict}`)}
              </button>
            ))}
          </span>
        </>
      ) : null}
      <details className="menu">
        <summary className="btn pick">{t("incident.export")}</summary>
        <ul>
          <li>
            <button type="button" onClick={() => exportFile(detail, "json")}>
              JSON
            </button>
          </li>
          <li>
            <button type="button" onClick={() => exportFile(detail, "md")}>
              Markdown
            </button>
          </li>
        </ul>
      </details>
    </div>
  );
}

const STAGES: Stage[] = ["domain", "cause", "final"];

function Facts({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const { Resource: result } = detail;
  const { fault_category: category, fault_domain: domain } = result;
  const impact = result.cause_metrics[0]?.impact;
  const timing = result.timing;
  return (
    <dl className="facts">
      <div>
        <dt>{t("incident.category")}</dt>
        <dd>
          {category ? (
            <>
              {category.code === "unknown" ? "" : `${category.code} `}
              {t(`category.${categoryKey(category.code)}`)} <small>{percent(category.probability)}</small>
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
              {domain.level} {domain.entity_name ?? ""}{" "}
              <small>
                {percent(domain.probability)}
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
            {percent(impact)} <small>{t("incident.of_slowdown")}</small>
          </dd>
        </div>
      )}
      <div>
        <dt>{t("incident.hurts")}</dt>
        <dd>
          <EntityName
            id={result.abnormal_kpi.entity_id}
            type={result.abnormal_kpi.entity_type ?? "sli"}
            name={result.abnormal_kpi.entity_name ?? result.abnormal_kpi.entity_id}
            host={result.abnormal_kpi.host_name}
          />
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

function Belief({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const { cause_metrics: causes, unknown_probability: none } = detail.Resource;
  if (causes.length === 0) return null;
  const whole = (value: number) => Math.round(value * 100);
  const names = causes.map(
    (cause) => cause.entity_name ?? stepName({ entity_id: cause.entity_id, entity_type: cause.entity_type }),
  );
  const parts = [
    ...causes.map((cause, index) => `${names[index]} ${whole(cause.probability)}`),
    ...(none === null ? [] : [`${t("incident.none")} ${whole(none)}`]),
  ];
  return (
    <figure className="bel">
      <figcaption className="lab">{t("incident.believe")}</figcaption>
      <div className="bb" role="img" aria-label={`${t("incident.believe")}: ${parts.join(", ")}`}>
        {causes.map((cause, index) => (
          <span
            key={`${cause.entity_id}${cause.metric_id}`}
            className={index === 0 ? "b1" : ""}
            style={{ flex: Math.max(0.005, cause.probability) }}
            title={parts[index]}
          >
            <b>{whole(cause.probability)}</b>
            {cause.probability > 0.06 ? names[index] : null}
          </span>
        ))}
        {none === null ? null : (
          <span className="b5" style={{ flex: Math.max(0.01, none) }} title={parts[parts.length - 1]}>
            <b>{whole(none)}</b>
            {none > 0.05 ? t("incident.none_short") : null}
          </span>
        )}
      </div>
    </figure>
  );
}

function Columns({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const say = useText();
  const { now } = useTime();
  const metricName = useMetricName();
  const { Resource: result } = detail;
  const others = result.cause_metrics.slice(1);
  const changes = result.changes ?? [];
  const advice = result.advice ?? [];
  const code = categoryKey(result.fault_category?.code ?? "unknown");
  return (
    <div className="cols">
      <Section title={t("incident.also")}>
        <ol className="alt">
          {others.map((cause) => (
            <li key={`${cause.entity_id}${cause.metric_id}`}>
              <b className="num">{percent(cause.probability)}</b>
              <p>
                <EntityName
                  id={cause.entity_id}
                  type={cause.entity_type}
                  name={cause.entity_name ?? stepName({ entity_id: cause.entity_id, entity_type: cause.entity_type })}
                />{" "}
                {say(cause.text) || metricName(cause.metric_id, cause.entity_type)} <Rich text={say(cause.why_less)} />
              </p>
            </li>
          ))}
          <li>
            <b className="num">{percent(result.unknown_probability)}</b>
            <p className="dim">{t("incident.none")}</p>
          </li>
        </ol>
      </Section>
      <Section title={t("incident.changed")}>
        {changes.length === 0 ? (
          <p className="dim pad">{t("incident.changed_none")}</p>
        ) : (
          <ul className="tl">
            {changes.map((change) => (
              <li key={`${change.ts}${change.text.en}`}>
                <time dateTime={new Date(change.ts).toISOString()} title={utc(change.ts)}>
                  {clock(change.ts, { now })}
                </time>
                <p>
                  <Rich text={say(change.text)} />
                </p>
              </li>
            ))}
          </ul>
        )}
      </Section>
      <Section title={t("incident.limits")}>
        {result.limits.length === 0 ? (
          <p className="dim pad">{t("incident.limits_none")}</p>
        ) : (
          <ul className="tl n">
            {result.limits.map((limit) => (
              <li key={typeof limit === "string" ? limit : limit.en}>
                <p>{say(limit).replace(/[.。]?$/, (end) => end || ".")}</p>
              </li>
            ))}
          </ul>
        )}
      </Section>
      <Section title={t("incident.todo")}>
        <ol className="tl d">
          {advice.length > 0 ? (
            advice.map((one) => (
              <li key={one.en}>
                <p>
                  <Rich text={say(one)} />
                </p>
              </li>
            ))
          ) : (
            <li>
              <p>{t(`todo.${code}`)}</p>
            </li>
          )}
          {result.cause_metrics[0] ? (
            <li>
              <p>
                <To
                  to={`/entities/${encodeURIComponent(result.cause_metrics[0].entity_id)}?metric=${result.cause_metrics[0].metric_id}`}
                >
                  {t("incident.look", { name: result.cause_metrics[0].entity_name ?? result.cause_metrics[0].entity_type })}
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
