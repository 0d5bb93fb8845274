// What an incident hurts: each number that left its normal range, by entity, worst first.
import { Fragment } from "react";
import type { FaultDetail, Symptom } from "../api/types";
import { num, rangeText, scaled, scaleFor, sentenceCase } from "../format";
import { type Translate, useT } from "../i18n";
import { useMetricName } from "../metrics";
import { EntityName, To } from "../parts/links";
import { Section } from "../parts/page";
import { RangeDot } from "../parts/RangeDot";
import { type Judged, ofSeverity, State } from "../parts/state";
import { Time } from "../parts/Time";
import { unitOf } from "../units";
import { hurtBy, symptomsOf } from "./read";

/** Which number of the metric it is: its mean, the slow tenth, a share. */
export function measureOf(symptom: Symptom, name: string, t: Translate): string {
  const { kind, percent } = symptom.source;
  if (kind === "mean") return t("symptom.mean", { metric: name });
  if (kind === "quantile") return t("symptom.quantile", { metric: name, percent: num(percent ?? 0) });
  if (kind === "share") return t("symptom.share", { metric: name });
  return sentenceCase(name);
}

/** Numbers of one symptom on one scale. */
function words(symptom: Symptom) {
  const unit = symptom.source.kind === "share" ? "ratio" : unitOf(symptom.metric, symptom.unit);
  const worst = symptom.peak ?? symptom.now;
  const scale = scaleFor(unit, Math.max(...[worst, symptom.high, symptom.low].map((value) => Math.abs(value ?? 0))));
  const shown = (value: number | null) => scaled(value, scale);
  const normal = rangeText({ lo: symptom.low, hi: symptom.high }, scale, (symptom.before ?? 0) < 0);
  return { shown, normal, unit: scale.unit, worst };
}

/** The process a number belongs to, where another entity has the same name. */
function pidOf(row: Symptom, rows: readonly Symptom[]): string | null {
  const isShared = rows.some((other) => other.entity_id !== row.entity_id && other.entity_name === row.entity_name);
  return isShared ? (/_proc_(\d+)$/.exec(row.process_id ?? "")?.[1] ?? null) : null;
}

export function Symptoms({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const metricName = useMetricName();
  const rows = symptomsOf(detail);
  if (rows.length === 0) return null;
  const entities = [...new Set(rows.map((row) => row.entity_id))];
  return (
    <Section title={t("symptom.title")} note={t("symptom.note", { count: rows.length, services: hurtBy(rows) })} className="sym">
      <div className="scroll" tabIndex={0} role="region" aria-label={t("symptom.title")}>
        <table>
          <thead>
            <tr>
              <th>{t("symptom.entity")}</th>
              <th>{t("symptom.measure")}</th>
              <th className="num">{t("symptom.before")}</th>
              <th className="num">{t("symptom.worst")}</th>
              <th className="num">{t("symptom.last")}</th>
              <th className="num">{t("symptom.normal")}</th>
              <th>{t("symptom.range")}</th>
              <th>{t("symptom.since")}</th>
              <th>{t("symptom.until")}</th>
            </tr>
          </thead>
          <tbody>
            {entities.map((id) => {
              const own = rows.filter((row) => row.entity_id === id);
              return (
                <Fragment key={id}>
                  {own.map((row, index) => {
                    const said = words(row);
                    const judged = ofSeverity(row.severity);
                    const measure = measureOf(row, metricName(row.metric, row.entity_type), t);
                    return (
                      <tr key={row.kpi}>
                        <td>
                          {index === 0 ? (
                            <EntityName
                              id={row.entity_id}
                              type={row.entity_type}
                              name={row.entity_name}
                              host={pidOf(row, rows)}
                            />
                          ) : (
                            <span className="sr">{row.entity_name}</span>
                          )}
                        </td>
                        <td>
                          <State
                            state={row.closed_ms === null ? judged : "ok"}
                            label={row.closed_ms === null ? undefined : t("symptom.over")}
                          />{" "}
                          <To
                            className="lnk"
                            title={row.help || row.metric}
                            to={`/entities/${encodeURIComponent(row.entity_id)}?metric=${encodeURIComponent(row.metric)}`}
                          >
                            {measure}
                          </To>
                        </td>
                        <td className="num">{said.shown(row.before)}</td>
                        <td className={`num ${judged === "crit" || judged === "warn" ? judged : ""}`}>
                          <b className={judged === "crit" || judged === "warn" ? judged : undefined}>{said.shown(row.peak)}</b>
                          <span className="u">{said.unit}</span>
                        </td>
                        <td className="num">{said.shown(row.now)}</td>
                        <td className="num dim">{said.normal}</td>
                        <td>
                          <Distance
                            row={row}
                            state={judged}
                            label={`${measure}: ${said.shown(said.worst)} ${said.unit}, ${said.normal}`}
                          />
                        </td>
                        <td className="nw">
                          <Time ms={row.onset_ms} />
                        </td>
                        <td className="nw">{row.closed_ms === null ? t("symptom.lasts") : <Time ms={row.closed_ms} />}</td>
                      </tr>
                    );
                  })}
                </Fragment>
              );
            })}
          </tbody>
        </table>
      </div>
    </Section>
  );
}

/** The worst value against the normal range, on an axis of its own, for units differ from row to row. */
function Distance({ row, state, label }: { row: Symptom; state: Judged; label: string }) {
  const worst = row.peak ?? row.now;
  const known = [worst, row.low, row.high].filter((value): value is number => value !== null && value > 0);
  if (worst === null || worst <= 0 || known.length < 2) return null;
  const span: [number, number] = [Math.min(...known) / 2, Math.max(...known) * 2];
  return <RangeDot now={worst} normal={{ lo: row.low, hi: row.high }} span={span} state={state} label={label} />;
}
