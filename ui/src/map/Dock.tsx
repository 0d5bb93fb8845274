// What is under the pointer or chosen, docked so that it never covers the picture: state in a sentence and its worst numbers.
import { useEntity, useEntityMetrics } from "../api/queries";
import type { Entity } from "../api/types";
import { worstFirst } from "../entity/order";
import { quantity, withUnit } from "../format";
import { useT, useText } from "../i18n";
import { useMetricName } from "../metrics";
import { Chart } from "../parts/Chart";
import { EntityName, entityPath, To } from "../parts/links";
import { Answer, Broken } from "../parts/page";
import { Rich } from "../parts/rich";
import { ofEntity, State } from "../parts/state";
import { lastValue, mainSeries } from "../parts/trace";
import { useTime } from "../time/useTime";
import { unitOf } from "../units";
import { namesOf } from "./names";

export function Dock({ entity }: { entity: Entity }) {
  const t = useT();
  const say = useText();
  const time = useTime();
  const metricName = useMetricName();
  const detail = useEntity(entity.id, time.at);
  const metrics = useEntityMetrics(entity.id, time);
  const check = detail.data?.checks[0];
  const names = namesOf(entity);
  const rows = worstFirst(metrics.data?.items ?? [], entity.type).slice(0, 3);
  return (
    <aside className="dock" aria-label={t("map.dock", { name: names.name })}>
      <div>
        <p className="ch1">
          <EntityName
            id={entity.id}
            type={entity.type}
            name={[names.name, names.sub].filter(Boolean).join(" ")}
            host={entity.host_name}
          />
          <State state={ofEntity(entity, detail.data?.checks)} />
        </p>
        {detail.isError ? (
          <Broken error={detail.error} retry={detail.refetch} {...(detail.data ? { since: detail.dataUpdatedAt } : {})} />
        ) : null}
        {check ? (
          <p>
            <Rich text={say(check.text)} />{" "}
            <span className="dim">
              <Rich text={say(check.normal)} />
            </span>
          </p>
        ) : detail.isError ? null : (
          <p className="dim">{t(detail.data ? "map.no_checks" : "page.loading")}</p>
        )}
        <p className="lab">
          <To
            className="lnk"
            to={rows[0] && rows[0].state !== "ok" ? `${entityPath(entity.id)}?metric=${rows[0].metric}` : entityPath(entity.id)}
          >
            {t("map.open")}
          </To>
        </p>
      </div>
      <Answer of={metrics} lines={2}>
        {(data) => (
          <dl>
            {rows.map((row) => {
              const main = mainSeries(row.series);
              const points = main?.points ?? [];
              const now = lastValue(points);
              const unit = unitOf(row.metric, row.unit);
              const shown = quantity(now, unit);
              const name = metricName(row.metric, entity.type);
              return (
                <div key={row.metric}>
                  <dt title={row.metric}>
                    <span className="dn">{name}</span>
                    <b className={row.state === "crit" || row.state === "warn" ? row.state : undefined}>{shown.text}</b>{" "}
                    {shown.unit}
                  </dt>
                  <dd>
                    <Chart
                      series={main ? [main] : []}
                      from={data.from}
                      to={data.to}
                      height={34}
                      label={`${name}: ${withUnit(now, unit)}`}
                      unit={unit}
                      band={row.normal}
                      onset={row.onset_ms}
                      state={row.state}
                      stepMs={data.step_ms}
                    />
                  </dd>
                </div>
              );
            })}
          </dl>
        )}
      </Answer>
    </aside>
  );
}
