// The evidence ladder: one row a step, cause above symptom, one time axis for all, each with before, after, onset, score.
import { useEntityMetrics, useRangeQuery } from "../api/queries";
import type { FaultDetail, PathStep, Point, PromSeries, Evidence as Proof, SignalState, Symptom } from "../api/types";
import { beforeAfter, clock, clockRange, duration, isDated, num, sentence, withUnit } from "../format";
import { useT, useText } from "../i18n";
import { useMetricName } from "../metrics";
import { Chart } from "../parts/Chart";
import { EntityName, To } from "../parts/links";
import { ChartAnswer, Section } from "../parts/page";
import { Rich } from "../parts/rich";
import { ofSeverity } from "../parts/state";
import { Time } from "../parts/Time";
import { mainSeries } from "../parts/trace";
import { useTwin } from "../parts/twin";
import { ticks } from "../time/time";
import { useTime, type Time as Window } from "../time/useTime";
import { unitOf } from "../units";
import { isMeasured, pathOf, rangeOf, stepName, symptomsOf, takenQuery } from "./read";

const BEFORE_MS = 120_000;
const AFTER_MS = 180_000;
/** The whole of a long incident is not needed to see how it began. */
const MOST_MS = 1_800_000;
const CHART_HEIGHT = 62;

export function Evidence({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const time = useTime();
  const twin = useTwin();
  const { Resource: result } = detail;
  const { onset, abnormal_kpi: kpi } = result;
  const path = pathOf(detail);
  const steps: PathStep[] =
    path.length > 0
      ? path
      : [
          {
            entity_id: kpi.entity_id,
            entity_type: kpi.entity_type ?? "sli",
            metric_id: kpi.metric_id,
            onset,
            hidden: false,
            score: 1,
            ...(kpi.entity_name ? { entity_name: kpi.entity_name } : {}),
            ...(kpi.host_name ? { host_name: kpi.host_name } : {}),
            value_before: kpi.value_before ?? null,
            value_after: kpi.value_after ?? null,
            unit: kpi.unit ?? null,
          },
        ];
  const end = Math.min(time.now, onset + MOST_MS, Math.max(onset + AFTER_MS, detail.closed_ms ?? 0));
  const from = onset - BEFORE_MS;
  const fixed: Window = {
    ...time,
    from,
    to: end,
    rangeMs: end - from,
    at: end,
    live: false,
    key: `${from}-${Math.floor(end / 10_000)}`,
  };
  const symptoms = symptomsOf(detail);
  const proofs = result.cause_metrics[0]?.evidence ?? [];
  return (
    <Section
      title={t("incident.evidence")}
      note={clockRange(from, end, time.now)}
      right={
        <>
          <span className="lg">
            <i className="sw" />
            {t("incident.legend_normal")}
          </span>{" "}
          <span className="lg">
            <i className="ol" />
            {t("incident.onset")} <Time ms={onset} />
          </span>{" "}
          <span className="lg">
            <i className="om" />
            {t("incident.this_step")}
          </span>
        </>
      }
    >
      <div className="evh lab" aria-hidden="true">
        <span />
        <span>{t("incident.entity_measure")}</span>
        <span>{t("incident.before_after")}</span>
        <span className="num">{t("incident.onset")}</span>
        <span className="num">{t("incident.score")}</span>
        <span />
      </div>
      <ol className="evs">
        {steps.map((step, index) => (
          <Row
            key={`${step.entity_id}${step.metric_id}${index}`}
            step={step}
            index={index}
            last={index === steps.length - 1}
            onset={onset}
            time={fixed}
            twin={twin}
            taken={takenQuery(steps, index)}
            symptoms={symptoms}
            judged={ofSeverity(detail.SeverityText)}
            role={steps.length === 1 ? "symptom" : index === 0 ? "cause" : index === steps.length - 1 ? "symptom" : null}
          />
        ))}
      </ol>
      <div className="evx">
        <div className="xa">
          {ticks(from, end, isDated(from, end, time) ? 3 : 5)
            .filter((tick) => tick - from > 0.03 * (end - from) && end - tick > 0.08 * (end - from))
            .map((tick) => (
              <span key={tick} className="tick" style={{ left: `${((tick - from) / (end - from)) * 100}%` }}>
                {clock(tick, { seconds: end - from < 600_000, now: time.now, brief: true })}
              </span>
            ))}
        </div>
      </div>
      {proofs.length > 0 ? <Proofs proofs={proofs} /> : null}
    </Section>
  );
}

function Row({
  step,
  index,
  last,
  onset,
  time,
  twin,
  taken,
  symptoms,
  judged,
  role,
}: {
  step: PathStep;
  index: number;
  last: boolean;
  onset: number;
  time: Window;
  twin: boolean;
  /** Query of the chart where it is not the entity's own number. */
  taken: string | null;
  symptoms: readonly Symptom[];
  /** How the incident is judged. */
  judged: SignalState;
  role: "cause" | "symptom" | null;
}) {
  const t = useT();
  const metricName = useMetricName();
  const isEvent = !step.hidden && !isMeasured(step.metric_id);
  const isOwn = !step.hidden && !isEvent && step.entity_id !== "" && taken === null;
  const metrics = useEntityMetrics(isOwn ? step.entity_id : null, time, [step.metric_id]);
  const asked = useRangeQuery(taken ?? "", time, taken !== null);
  const metric = metrics.data?.items[0];
  const found = asked.data?.answer.data.result[0];
  const main =
    taken === null ? mainSeries(metric?.series ?? []) : found && typeof found !== "number" ? seriesOf(found) : undefined;
  const unit = unitOf(step.metric_id, step.unit ?? metric?.unit);
  const offset = step.onset ? step.onset - onset : null;
  const name = step.hidden
    ? t("incident.hidden_step")
    : taken === null
      ? metricName(step.metric_id, step.entity_type)
      : t("metric.taken");
  const [before, said] = beforeAfter(step.value_before ?? null, step.value_after ?? null, unit);
  const [, after = said, afterUnit = ""] = /^(\S+) (\D+)$/.exec(said) ?? [];
  const shift = offset === null ? "" : `${offset < 0 ? "−" : "+"} ${duration(offset)}`;
  return (
    <li className={`ev ${index === 0 ? "first" : ""} ${last ? "last" : ""} ${step.hidden ? "hid" : ""}`}>
      <span className="bdg">{index + 1}</span>
      <div className="who">
        <EntityName id={step.entity_id || null} type={step.entity_type} name={stepName(step)} host={step.host_name} />
        {step.hidden ? (
          <span className="lab">{name}</span>
        ) : (
          <To
            className="lab"
            to={
              taken === null
                ? `/entities/${encodeURIComponent(step.entity_id)}?metric=${isEvent ? "" : encodeURIComponent(step.metric_id)}&at=${Math.round(time.to)}`
                : `/explore?q=${encodeURIComponent(taken)}&at=${Math.round(time.to)}`
            }
            title={step.metric_id}
          >
            {name}
          </To>
        )}
        {step.query ? (
          <To
            className="lab"
            to={`/explore?q=${encodeURIComponent(step.query)}&at=${Math.round(time.to)}`}
            title={step.query}
            aria-label={t("incident.explore_label", { name })}
          >
            {t("incident.explore")}
          </To>
        ) : null}
      </div>
      <div className="ba">
        {step.hidden ? (
          <span className="dim">–</span>
        ) : (
          <>
            <span className="bv">{before}</span>
            <span className="ar">→</span>
            <span className="av">{after}</span>
            <span className="u">{afterUnit}</span>
          </>
        )}
      </div>
      <div className="num os">
        {step.onset ? <Time ms={step.onset} brief /> : "–"}
        <span className="lab">{role ? t(`incident.role_${role}`) : shift}</span>
      </div>
      <div className="num sc" title={step.rule ?? undefined}>
        {step.score === null ? "–" : step.score.toFixed(2)}
      </div>
      {step.hidden ? (
        <p className="lab hidden-why">{t("incident.hidden_why")}</p>
      ) : isEvent ? (
        <p className="lab hidden-why">{t("incident.event_why")}</p>
      ) : (
        <ChartAnswer<unknown> of={taken === null ? metrics : asked} height={CHART_HEIGHT}>
          {() =>
            twin ? (
              <ol className="twin">
                {(main?.points ?? [])
                  .filter((_, at, all) => at % Math.max(1, Math.floor(all.length / 12)) === 0)
                  .map(([ms, v]) => (
                    <li key={ms}>
                      <span className="dim">
                        <Time ms={ms} />
                      </span>{" "}
                      {withUnit(v, unitOf(step.metric_id, metric?.unit))}
                    </li>
                  ))}
              </ol>
            ) : (
              <Chart
                series={main ? [main] : []}
                from={time.from}
                to={time.to}
                height={CHART_HEIGHT}
                label={`${stepName(step)}, ${name}: ${before} → ${said}`}
                unit={unitOf(step.metric_id, metric?.unit)}
                band={metric?.normal ?? rangeOf(symptoms, step.entity_id, step.metric_id, main)}
                onset={onset}
                tick={step.onset ?? null}
                state={judged}
                log
                stepMs={metrics.data?.step_ms ?? 5000}
              />
            )
          }
        </ChartAnswer>
      )}
    </li>
  );
}

function seriesOf(found: string | PromSeries): { label: string; points: Point[] } | undefined {
  if (typeof found === "string") return undefined;
  return { label: "", points: (found.values ?? []).map(([at, value]) => [at * 1000, Number(value)]) };
}

function Proofs({ proofs }: { proofs: readonly Proof[] }) {
  const t = useT();
  const say = useText();
  return (
    <ul className="proofs" aria-label={t("incident.why")}>
      {proofs.map((proof) => (
        <li key={proof.text.en}>
          <span className="lab">{t(`proof.${proof.kind}`)}</span> <Rich text={sentence(say(proof.text))} />
          {proof.surprise != null ? (
            <span className="dim nw" title={t("incident.nats_help")}>
              {" "}
              {t("incident.nats", { value: num(proof.surprise, 2) })}
            </span>
          ) : null}
        </li>
      ))}
    </ul>
  );
}
