// The anomalies of the window: same entity and metric are one row; the entity leads to its map, the metric to its chart, the
// event to the incident it is part of, or to the question why.
import { useMemo } from "react";
import { useSearchParams } from "react-router";
import { useAnomalies } from "../api/queries";
import type { Anomaly, Severity } from "../api/types";
import { isDated, num, shortId, withUnit } from "../format";
import { useT, useText } from "../i18n";
import { tidyName } from "../map/names";
import { useMetricName } from "../metrics";
import { AskWhy } from "../parts/AskWhy";
import { Icon, typeIcon } from "../parts/icons";
import { To } from "../parts/links";
import { Answer, CopyId, Empty, Section } from "../parts/page";
import { Rich, usePlain } from "../parts/rich";
import { ofSeverity, State } from "../parts/state";
import { Time } from "../parts/Time";
import { VirtualTable } from "../parts/VirtualTable";
import { useTime } from "../time/useTime";
import { unitOf } from "../units";

const MAX_ROWS = 10_000;
const LOUD: readonly Severity[] = ["WARN", "ERROR", "FATAL"];

/** The chart with the anomaly in the middle of its window. */
function chartOf(row: Anomaly): string {
  const minutes = Math.max(2, Math.ceil((row.time_ms - row.first_ms) / 60_000) + 3);
  return `/entities/${encodeURIComponent(row.entity_id)}?metric=${encodeURIComponent(row.metric_id)}&at=${row.time_ms + 60_000}&range=${minutes}m`;
}

const PARTS_OF_HOST = new Set(["host", "cpu", "mem", "disk", "block", "fs", "nic", "qdisc", "net", "sched", "hw", "sli_node"]);

/** The layer its entity is of, whatever kind of trouble it is. */
function mapOf(row: Anomaly): string {
  return `/map?center=${encodeURIComponent(row.entity_id)}&layer=${PARTS_OF_HOST.has(row.entity_type) ? "host" : "process"}`;
}

export function Anomalies() {
  const t = useT();
  const plain = usePlain();
  const say = useText();
  const time = useTime();
  const metricName = useMetricName();
  const [params, setParams] = useSearchParams();
  const kind = params.get("kind") ?? "";
  const type = params.get("type") ?? "";
  const loud = params.get("loud") === "1";
  const host = params.get("host");
  const anomalies = useAnomalies(time, { limit: MAX_ROWS });
  const all = useMemo(() => anomalies.data?.items ?? [], [anomalies.data]);
  const types = useMemo(() => [...new Set(all.map((row) => row.entity_type))].sort(), [all]);
  const rows = useMemo(
    () =>
      all.filter(
        (row) =>
          (!kind || row.kind === kind) &&
          (!type || row.entity_type === type) &&
          (!host || row.host_name === host) &&
          (!loud || LOUD.includes(row.severity)),
      ),
    [all, kind, type, host, loud],
  );
  const isLong = rows.some((row) => isDated(row.first_ms, row.time_ms, { now: time.now }));
  const timeWidth = isLong ? "128px" : "62px";
  const choose = (name: string, value: string) =>
    setParams((old) => {
      const next = new URLSearchParams(old);
      if (value) next.set(name, value);
      else next.delete(name);
      return next;
    });
  return (
    <Section
      title={t("anomalies.title")}
      note={anomalies.data ? t("anomalies.note", { count: num(rows.length, 9) }) : null}
      right={
        <span className="tools">
          <label className="btn pick sel">
            <select value={type} aria-label={t("entities.by_type")} onChange={(event) => choose("type", event.target.value)}>
              <option value="">{t("entities.all_types")}</option>
              {(type && !types.includes(type) ? [type, ...types] : types).map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <button type="button" className="btn" aria-pressed={loud} onClick={() => choose("loud", loud ? "" : "1")}>
            {t("anomalies.loud")}
          </button>
          <span className="grp" role="group" aria-label={t("anomalies.filter")}>
            {(["", "app", "sys"] as const).map((value) => (
              <button
                key={value}
                type="button"
                className="btn"
                aria-pressed={kind === value}
                onClick={() => choose("kind", value)}
              >
                {t(value === "" ? "incidents.all" : value === "app" ? "anomalies.app" : "anomalies.sys")}
              </button>
            ))}
          </span>
        </span>
      }
    >
      <Answer of={anomalies} lines={4}>
        {() =>
          rows.length === 0 ? (
            <Empty title={t(all.length > 0 ? "anomalies.none_match" : time.live ? "anomalies.none" : "anomalies.none_then")}>
              {t("anomalies.none_help")}
            </Empty>
          ) : (
            <VirtualTable
              label={t("anomalies.title")}
              rows={rows}
              // One event of one moment may be of several metrics.
              rowKey={(row) => `${row.event_id}/${row.metric_id}`}
              columns={[
                {
                  head: t("anomalies.time"),
                  width: timeWidth,
                  narrow: isLong ? timeWidth : "58px",
                  cell: (row) => <Time ms={row.time_ms} />,
                },
                {
                  head: t("anomalies.first"),
                  width: timeWidth,
                  narrow: null,
                  cell: (row) => (
                    <span className="dim">
                      <Time ms={row.first_ms} />
                    </span>
                  ),
                },
                {
                  head: t("anomalies.count"),
                  width: "44px",
                  narrow: null,
                  num: true,
                  cell: (row) => <span title={row.event_ids.join("\n")}>{num(row.count)}</span>,
                },
                {
                  head: t("anomalies.entity"),
                  width: "minmax(190px, 1fr)",
                  narrow: "minmax(110px, 1.2fr)",
                  cell: (row) => (
                    <span className="ste">
                      <State state={ofSeverity(row.severity)} label={t(`severity.${row.severity}`)} />
                      <To
                        to={mapOf(row)}
                        className="ent"
                        title={`${row.entity_id}: ${t("anomalies.to_map")}`}
                        data-entity={row.entity_id}
                      >
                        <Icon name={typeIcon(row.entity_type)} />
                        <span className="en">{tidyName(row.entity_type, row.entity_name)}</span> <small>{row.host_name}</small>
                      </To>
                    </span>
                  ),
                },
                {
                  head: t("anomalies.metric"),
                  width: "minmax(140px, .7fr)",
                  narrow: "minmax(96px, 1fr)",
                  cell: (row) => (
                    <To className="lnk" to={chartOf(row)} title={row.metric_id}>
                      {metricName(row.metric_id, row.entity_type)}
                    </To>
                  ),
                },
                {
                  head: t("anomalies.value"),
                  width: "84px",
                  narrow: null,
                  num: true,
                  cell: (row) => withUnit(row.value, unitOf(row.metric_id, row.unit)),
                },
                {
                  head: t("anomalies.desc"),
                  width: "minmax(180px, 1.2fr)",
                  narrow: null,
                  cell: (row) => (
                    <span title={plain(row.desc)}>
                      <Rich text={say(row.desc)} />
                    </span>
                  ),
                },
                {
                  head: t("anomalies.event"),
                  width: "96px",
                  narrow: null,
                  cell: (row) => <CopyId id={row.event_id} shown={shortId(row.event_id, 13)} />,
                },
                {
                  head: <span className="sr">{t("ask.why")}</span>,
                  width: "64px",
                  narrow: "52px",
                  cell: (row) =>
                    row.incident_id ? (
                      <To className="lnk" to={`/incidents/${encodeURIComponent(row.incident_id)}`}>
                        {t("search.incident")}
                      </To>
                    ) : (
                      <AskWhy
                        entity={row.entity_id}
                        metric={row.metric_id}
                        {...(row.state === "close" ? { time: row.time_ms } : {})}
                        what={`${row.entity_name}, ${metricName(row.metric_id, row.entity_type)}`}
                      />
                    ),
                },
              ]}
            />
          )
        }
      </Answer>
    </Section>
  );
}
