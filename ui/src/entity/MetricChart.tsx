// One metric of an entity: name, value now, chart with its normal band, range and mean; as a table for the table twin.
import { useEffect, useRef } from "react";
import { useSearchParams } from "react-router";
import { shows } from "../api/derive";
import type { EntityMetric, EntityMetrics } from "../api/types";
import { quantity, rangeText, scaled, scaleFor, sentenceCase, withUnit } from "../format";
import { useT } from "../i18n";
import { useMetricName } from "../metrics";
import { Chart, type Mark } from "../parts/Chart";
import { To } from "../parts/links";
import { lastValue, mainSeries } from "../parts/trace";
import { useTwin } from "../parts/twin";
import { unitOf } from "../units";

/** Names of this many series fit beside the lines. */
const MAX_NAMES = 4;

export function MetricChart({
  row,
  answer,
  type,
  marks,
  height = 58,
}: {
  row: EntityMetric;
  answer: EntityMetrics;
  type: string;
  marks: readonly Mark[];
  height?: number;
}) {
  const t = useT();
  const metricName = useMetricName();
  const twin = useTwin();
  const [params] = useSearchParams();
  const box = useRef<HTMLLIElement>(null);
  const wanted = params.get("metric");
  const asked = wanted !== null && shows(row, wanted);
  useEffect(() => {
    if (asked) box.current?.scrollIntoView({ block: "center" });
  }, [asked]);
  const all = row.series.flatMap((one) => one.points.map(([, value]) => value)).filter((value) => value !== null);
  const unit = unitOf(row.metric, row.unit);
  const main = mainSeries(row.series);
  const now = main ? lastValue(main.points) : null;
  const most = all.length > 0 ? Math.max(...all.map(Math.abs)) : 0;
  const scale = scaleFor(unit, most);
  const last = quantity(now, unit);
  // On its own scale: what is normal may be far from what is.
  const normalScale = scaleFor(unit, row.normal?.hi ?? row.normal?.lo ?? 0);
  const name = sentenceCase(metricName(row.metric, type));
  const shown = (value: number) => scaled(value, scale);
  const least = all.length > 0 ? Math.min(...all) : 0;
  const mean = all.length > 0 ? all.reduce((sum, value) => sum + value, 0) / all.length : 0;
  const normal = row.normal
    ? t("chart.normal", { range: rangeText(row.normal, normalScale, least < 0), unit: normalScale.unit }).trim()
    : t("chart.not_judged");
  const tone = row.state === "crit" || row.state === "warn" ? row.state : "";
  return (
    <li ref={box} className={asked ? "asked" : undefined}>
      <figure>
        <figcaption>
          <To
            className="mn"
            to={`/explore?q=${encodeURIComponent(row.query)}`}
            title={`${row.metric}${row.help ? `\n${row.help}` : ""}`}
          >
            {name}
          </To>
          <span className="v">
            <b className={tone}>{last.text}</b>
            <span className="u">{last.unit}</span>
          </span>
        </figcaption>
        {twin ? (
          <table className="tt">
            <tbody>
              <tr>
                <th>{t("entity.last")}</th>
                <td className="num">{withUnit(now, unit)}</td>
              </tr>
              <tr>
                <th>{t("entity.mean")}</th>
                <td className="num">{withUnit(mean, unit)}</td>
              </tr>
              <tr>
                <th>{t("entity.min_max")}</th>
                <td className="num">
                  {shown(least)}–{shown(most)} {scale.unit}
                </td>
              </tr>
            </tbody>
          </table>
        ) : (
          <div className="chw">
            <Chart
              series={row.series}
              from={answer.from}
              to={answer.to}
              height={height}
              label={t("entity.chart_label", { name, now: withUnit(now, unit), normal })}
              unit={unit}
              band={row.normal}
              onset={row.onset_ms}
              state={row.state}
              marks={marks}
              stepMs={answer.step_ms}
            />
            {row.series.length > 1
              ? row.series.slice(0, MAX_NAMES).map((one, index) => (
                  <span key={one.label} className={`tick ser c${index + 1}`} style={{ right: 0, top: index * 12 }}>
                    {one.label}
                  </span>
                ))
              : null}
          </div>
        )}
        <p className="lab nrm">
          <span>{normal}</span>
          {all.length > 0 ? (
            <span title={t("entity.mean_of", { mean: withUnit(mean, unit) })}>
              ⌀ {shown(mean)}, {shown(least)}–{shown(most)} {scale.unit}
            </span>
          ) : null}
        </p>
      </figure>
    </li>
  );
}
