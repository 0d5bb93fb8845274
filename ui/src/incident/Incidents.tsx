// Incidents: every fault of the window and before, newest first, and the single anomalies they were made of.
import { useSearchParams } from "react-router";
import { useAnomalies, useFaults } from "../api/queries";
import type { Anomaly, Fault } from "../api/types";
import { clock, duration, percent, withUnit } from "../format";
import { useT, useText } from "../i18n";
import { unitOf, useMetricName } from "../metrics";
import { EntityName, To } from "../parts/links";
import { Answer, Empty, Page, Section } from "../parts/page";
import { ofSeverity, State } from "../parts/state";
import { VirtualTable } from "../parts/VirtualTable";
import { useTime } from "../time/useTime";
import { categoryKey, faultPath } from "./read";

export default function Incidents() {
  const t = useT();
  const time = useTime();
  const [params, setParams] = useSearchParams();
  const state = params.get("state") ?? "";
  const faults = useFaults({ limit: 1000, ...(state ? { state } : {}) }, time);
  const host = params.get("host");
  const rows = (faults.data?.items ?? []).filter(
    (fault) =>
      (!host || !fault.host_name || fault.host_name === host) &&
      (time.live || (fault.onset_ms <= time.to && (fault.closed_ms ?? time.to) >= time.from)),
  );
  const open = rows.filter((fault) => fault.state === "open").length;
  const choose = (value: string) =>
    setParams((old) => {
      const next = new URLSearchParams(old);
      if (value) next.set("state", value);
      else next.delete("state");
      return next;
    });
  return (
    <Page title={t("page.incidents")}>
      <div className="lh">
        <h1>
          {faults.data
            ? open > 0
              ? t(open === 1 ? "incidents.open_1" : "incidents.open", { count: open })
              : t("incidents.none_open")
            : t("page.incidents")}
        </h1>
        <span className="grp" role="group" aria-label={t("incidents.filter")}>
          {(["", "open", "closed"] as const).map((value) => (
            <button key={value} type="button" className="btn" aria-pressed={state === value} onClick={() => choose(value)}>
              {t(value === "" ? "incidents.all" : value === "open" ? "incidents.state_open" : "incidents.state_closed")}
            </button>
          ))}
        </span>
      </div>
      <Answer of={faults} lines={6}>
        {() =>
          rows.length === 0 ? (
            <Empty title={t("incidents.none")}>{t("incidents.none_help")}</Empty>
          ) : (
            <Faults rows={rows} now={time.now} />
          )
        }
      </Answer>
      <Anomalies />
    </Page>
  );
}

function Faults({ rows, now }: { rows: Fault[]; now: number }) {
  const t = useT();
  const say = useText();
  return (
    <div className="scroll list" tabIndex={0} role="region" aria-label={t("page.incidents")}>
      <table>
        <thead>
          <tr>
            <th>{t("incidents.since")}</th>
            <th>{t("incidents.what")}</th>
            <th>{t("incidents.suffers")}</th>
            <th>{t("incidents.cause")}</th>
            <th>{t("incidents.category")}</th>
            <th className="num">{t("incidents.sure")}</th>
            <th className="num">{t("incidents.lasted")}</th>
            <th>
              <span className="sr">{t("page.map")}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((fault) => (
            <tr key={fault.id}>
              <td className="nw">{clock(fault.onset_ms, { now })}</td>
              <td>
                <State
                  state={fault.state === "open" ? ofSeverity(fault.severity) : "ok"}
                  label={t(fault.state === "open" ? "incidents.state_open" : "incidents.state_closed")}
                />{" "}
                <To to={faultPath(fault)}>{say(fault.summary)}</To>
              </td>
              <td>
                <EntityName id={fault.entity_id} type={typeOf(fault.entity_id)} name={fault.entity_name} host={fault.host_name} />
              </td>
              <td>
                {fault.cause ? (
                  <EntityName id={fault.cause.entity_id} type={fault.cause.entity_type} name={fault.cause.entity_name} />
                ) : (
                  <span className="dim">{t(`stage.${fault.stage}`)}</span>
                )}
              </td>
              <td>{fault.cause ? t(`category.${categoryKey(fault.cause.category)}`) : "–"}</td>
              <td className="num">{fault.cause ? percent(fault.cause.probability) : "–"}</td>
              <td className="num">{duration((fault.closed_ms ?? now) - fault.onset_ms)}</td>
              <td className="num">
                <To
                  to={`/map?path=${encodeURIComponent(fault.id)}&center=${encodeURIComponent(fault.cause?.entity_id ?? fault.entity_id)}${fault.state === "closed" ? `&at=${fault.closed_ms}` : ""}`}
                >
                  {t("page.map")}
                </To>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const TYPES = ["appinstance", "proc", "sli", "l7_api", "l7", "tcp_link", "container", "host"];
function typeOf(id: string): string {
  return TYPES.find((type) => id.includes(`_${type}_`) || id.endsWith(`_${type}`)) ?? "proc";
}

/** UI of the anomaly table: same entity and metric are one row; the entity leads to its map, the metric to its chart. */
function Anomalies() {
  const t = useT();
  const say = useText();
  const time = useTime();
  const metricName = useMetricName();
  const [params, setParams] = useSearchParams();
  const kind = params.get("kind") ?? "";
  const host = params.get("host");
  const anomalies = useAnomalies(time, { limit: 10_000 });
  const rows = (anomalies.data?.items ?? []).filter((row) => (!kind || row.kind === kind) && (!host || row.host_name === host));
  const choose = (value: string) =>
    setParams((old) => {
      const next = new URLSearchParams(old);
      if (value) next.set("kind", value);
      else next.delete("kind");
      return next;
    });
  const chart = (row: Anomaly) =>
    `/entities/${encodeURIComponent(row.entity_id)}?metric=${encodeURIComponent(row.metric_id)}&at=${row.time_ms + 60_000}&range=${Math.max(2, Math.ceil((row.time_ms - row.first_ms) / 60_000) + 3)}m`;
  const onMap = (row: Anomaly) =>
    `/map?center=${encodeURIComponent(row.entity_id)}&layer=${row.kind === "sys" ? "host" : "process"}`;
  return (
    <Section
      title={t("anomalies.title")}
      note={t("anomalies.note")}
      right={
        <span className="grp" role="group" aria-label={t("anomalies.filter")}>
          {(["", "app", "sys"] as const).map((value) => (
            <button key={value} type="button" className="btn" aria-pressed={kind === value} onClick={() => choose(value)}>
              {t(value === "" ? "incidents.all" : value === "app" ? "anomalies.app" : "anomalies.sys")}
            </button>
          ))}
        </span>
      }
    >
      <Answer of={anomalies} lines={4}>
        {() =>
          rows.length === 0 ? (
            <Empty title={t("anomalies.none")}>{t("anomalies.none_help")}</Empty>
          ) : (
            <VirtualTable
              label={t("anomalies.title")}
              rows={rows}
              rowKey={(row) => row.event_id}
              columns={[
                {
                  head: t("anomalies.time"),
                  width: "130px",
                  cell: (row) => <span title={row.event_ids.join("\n")}>{clock(row.time_ms, { now: time.now })}</span>,
                },
                { head: t("anomalies.first"), width: "130px", cell: (row) => clock(row.first_ms, { now: time.now }) },
                { head: t("anomalies.count"), width: "56px", num: true, cell: (row) => row.count },
                {
                  head: t("anomalies.entity"),
                  width: "minmax(180px, 1fr)",
                  cell: (row) => (
                    <>
                      <State state={ofSeverity(row.severity)} />{" "}
                      <To to={onMap(row)} className="ent" title={`${row.entity_id}: ${t("anomalies.to_map")}`}>
                        <span className="en">{row.entity_name}</span> <small>{row.host_name}</small>
                      </To>
                    </>
                  ),
                },
                {
                  head: t("anomalies.metric"),
                  width: "minmax(150px, .8fr)",
                  cell: (row) => (
                    <To className="lnk" to={chart(row)} title={row.metric_id}>
                      {metricName(row.metric_id, row.entity_type)}
                    </To>
                  ),
                },
                {
                  head: t("anomalies.value"),
                  width: "90px",
                  num: true,
                  cell: (row) => withUnit(row.value, unitOf(row.metric_id, row.unit)),
                },
                {
                  head: t("anomalies.desc"),
                  width: "minmax(200px, 1.4fr)",
                  cell: (row) => <span className="cut">{say(row.desc)}</span>,
                },
              ]}
            />
          )
        }
      </Answer>
    </Section>
  );
}
