// One open incident on Now: sentence, first cause, path, and the KPI that suffers.
import { useEntityMetrics, useFault } from "../api/queries";
import type { Fault, FaultDetail, SignalState, Symptom } from "../api/types";
import { clock, duration, isDated, quantity, rangeText, scaleFor, sentence, sentenceCase, sure, withUnit } from "../format";
import { useT, useText } from "../i18n";
import { Next } from "../incident/Next";
import { categoryKey, faultPath, hurtBy, pathOf, rangeOf, stepName, symptomsOf, takenQuery } from "../incident/read";
import { useMetricName } from "../metrics";
import { Chart } from "../parts/Chart";
import { EntityName, To } from "../parts/links";
import { Answer, ChartAnswer } from "../parts/page";
import { Rich } from "../parts/rich";
import { judgedClass, ofSeverity, State } from "../parts/state";
import { Time } from "../parts/Time";
import { lastValue, mainSeries } from "../parts/trace";
import { useTime } from "../time/useTime";
import { unitOf } from "../units";

export function OpenIncident({ fault }: { fault: Fault }) {
  const t = useT();
  const say = useText();
  const time = useTime();
  const detail = useFault(fault.id);
  const stated = detail.data?.Resource.timing?.cause;
  const symptoms = detail.data ? symptomsOf(detail.data) : [];
  const numbers = symptoms.length;
  const judged = ofSeverity(fault.severity);
  const word = judged === "crit" ? "crit" : judged === "warn" ? "warn" : "dim";
  return (
    <article className={`inc ${word} ${judgedClass(judged)}`} aria-labelledby={`i-${fault.id}`}>
      <div className="say">
        <p className="meta">
          <span className={`${word} nw`}>
            <State state={judged} label="" /> <b className={word}>{t(`severity.${fault.severity}`)}</b>
          </span>
          <span>
            {fault.state === "open"
              ? t("now.open_for", { duration: duration(time.now - fault.opened_ms) })
              : t("incident.closed_after", { duration: duration((fault.closed_ms ?? time.now) - fault.opened_ms) })}
          </span>
          {numbers > 1 ? <span>{t("now.hurts", { count: numbers, services: hurtBy(symptoms) })}</span> : null}
          {stated === undefined ? (
            <span>{t(`stage.${fault.stage}`)}</span>
          ) : (
            <span>{t("now.cause_after", { duration: duration(stated) })}</span>
          )}
        </p>
        <h2 id={`i-${fault.id}`}>
          <To to={faultPath(fault)}>
            <Rich text={sentence(say(fault.summary))} />
          </To>
        </h2>
        <Answer of={detail} lines={2}>
          {(data) => <Why detail={data} />}
        </Answer>
      </div>
      <Kpi fault={fault} symptoms={symptoms} judged={judged} />
    </article>
  );
}

function Why({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const say = useText();
  const metricName = useMetricName();
  const cause = detail.Resource.cause_metrics[0];
  if (!cause) return <p className="why">{t("now.no_cause_yet")}</p>;
  const why =
    say(cause.text) ||
    say(cause.evidence[0]?.text) ||
    `${sentenceCase(metricName(cause.metric_id, cause.entity_type))}: ${cause.entity_name ?? cause.entity_id}`;
  const steps = pathOf(detail);
  return (
    <>
      <p className="why">
        <Rich text={sentence(why)} />{" "}
        <span className="nw">
          {t("now.likely", { category: t(`category.${categoryKey(cause.fault_category)}`) })} (<b>{sure(cause.probability)}</b>
          ).
        </span>
      </p>
      <Next detail={detail} />
      {steps.length > 1 ? (
        <ol className="chain" aria-label={t("incident.path_label")}>
          {steps.map((step, index) => (
            <li key={`${step.entity_id}${step.metric_id}${index}`}>
              <span className="bdg">{index + 1}</span>
              <span>
                <EntityName id={step.entity_id || null} type={step.entity_type} name={stepName(step)} />
                <span className="lab">
                  {step.hidden
                    ? t("incident.hidden_step")
                    : `${takenQuery(steps, index) === null ? metricName(step.metric_id, step.entity_type) : t("metric.taken")} ${withUnit(step.value_after, unitOf(step.metric_id, step.unit))}`}
                </span>
              </span>
            </li>
          ))}
        </ol>
      ) : null}
    </>
  );
}

const KPI_HEIGHT = 92;

function Kpi({ fault, symptoms, judged }: { fault: Fault; symptoms: readonly Symptom[]; judged: SignalState }) {
  const t = useT();
  const time = useTime();
  const metricName = useMetricName();
  const metrics = useEntityMetrics(fault.entity_id, time, [fault.metric_id]);
  const metric = metrics.data?.items[0];
  const main = mainSeries(metric?.series ?? []);
  const points = main?.points ?? [];
  const now = lastValue(points);
  const unit = unitOf(fault.metric_id, metric?.unit);
  const name = metricName(fault.metric_id);
  const normal = metric?.normal ?? rangeOf(symptoms, fault.entity_id, fault.metric_id, main);
  const shown = quantity(now, unit);
  // On its own scale: what is normal may be far from what is.
  const normalScale = scaleFor(unit, normal?.hi ?? normal?.lo ?? 0);
  const normalWords = normal
    ? t("chart.normal", { range: rangeText(normal, normalScale), unit: normalScale.unit })
    : t("chart.not_judged");
  const tone = judged === "crit" || judged === "warn" ? judged : "";
  const span = time.to - time.from;
  const tick = { now: time.now, span, brief: true };
  const share = (fault.onset_ms - time.from) / span;
  // A time with its date is wider, and must not cover the ends of the axis.
  const margin = isDated(time.from, time.to, tick) ? 30 : 18;
  return (
    <figure className="kpi">
      <figcaption>
        <span>
          {name}
          {main?.label ? ` ${main.label}` : ""}, {fault.entity_name}
        </span>
        <span className={`big ${tone}`}>
          {shown.text} {now === null ? null : <small>{shown.unit}</small>}
        </span>
      </figcaption>
      <ChartAnswer of={metrics} height={KPI_HEIGHT}>
        {(data) => (
          <Chart
            series={main ? [main] : []}
            from={time.from}
            to={time.to}
            height={KPI_HEIGHT}
            label={t("entity.chart_label", {
              name: `${name}, ${fault.entity_name}`,
              now: withUnit(now, unit),
              normal: normalWords,
            })}
            unit={unit}
            band={normal}
            onset={fault.onset_ms}
            state={judged}
            stepMs={data.step_ms}
          />
        )}
      </ChartAnswer>
      <div className="xa">
        <span className="tick" style={{ left: 0 }}>
          {clock(time.from, { ...tick, seconds: false })}
        </span>
        {fault.onset_ms > time.from && fault.onset_ms < time.to ? (
          <span className="tick c" style={{ left: `${Math.min(100 - margin, Math.max(margin, share * 100))}%` }}>
            <Time ms={fault.onset_ms} span={span} brief />
          </span>
        ) : null}
        <span className="tick" style={{ right: 0 }}>
          {clock(time.to, { ...tick, seconds: false })}
        </span>
      </div>
      <p className="lab key">
        <span>
          {normal ? (
            <>
              <i className="sw" />
              {normalWords}
            </>
          ) : null}
        </span>
        <To className="lnk" to={faultPath(fault)}>
          {t("now.open_incident")}
        </To>
      </p>
    </figure>
  );
}
