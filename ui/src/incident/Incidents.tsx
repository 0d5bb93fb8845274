// Incidents: every fault, newest first, and the single anomalies of the window.
import { useSearchParams } from "react-router";
import { useFaults } from "../api/queries";
import type { Fault } from "../api/types";
import { duration, num, sentence, sure } from "../format";
import { useT, useText } from "../i18n";
import { EntityName, To } from "../parts/links";
import { Answer, Empty, Page } from "../parts/page";
import { Rich } from "../parts/rich";
import { ofSeverity, State } from "../parts/state";
import { Time } from "../parts/Time";
import { useTime } from "../time/useTime";
import { Anomalies } from "./Anomalies";
import { categoryKey, countOf, faultPath } from "./read";

/** Rows shown at most; an earlier window shows earlier ones. */
const LIMIT = 1000;

export default function Incidents() {
  const t = useT();
  const time = useTime();
  const [params, setParams] = useSearchParams();
  const state = params.get("state") ?? "";
  const then = time.live ? {} : { from: Math.round(time.from), to: Math.round(time.to) };
  const faults = useFaults({ limit: LIMIT, ...(state ? { state } : {}), ...then }, time);
  // How many are open does not hang on what is shown.
  const open = useFaults({ state: "open", limit: 100 });
  const host = params.get("host");
  const isHere = (fault: Fault) => !host || !fault.host_name || fault.host_name === host;
  const rows = (faults.data?.items ?? []).filter(
    (fault) => isHere(fault) && (time.live || (fault.onset_ms <= time.to && (fault.closed_ms ?? time.to) >= time.from)),
  );
  const heading = () => {
    if (!time.live)
      return faults.data
        ? t(rows.length === 0 ? "incidents.none_then" : rows.length === 1 ? "incidents.then_1" : "incidents.then", {
            count: countOf(faults.data, rows.length),
          })
        : t("page.incidents");
    if (!open.data) return t("page.incidents");
    const count = open.data.items.filter(isHere).length;
    return t(count === 0 ? "incidents.none_open" : count === 1 ? "incidents.open_1" : "incidents.open", {
      count: countOf(open.data, count),
    });
  };
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
        <h1>{heading()}</h1>
        <span className="grp" role="group" aria-label={t("incidents.filter")}>
          {(["", "open", "closed"] as const).map((value) => (
            <button key={value} type="button" className="btn" aria-pressed={state === value} onClick={() => choose(value)}>
              {t(value === "" ? "incidents.all" : value === "open" ? "incidents.state_open" : "incidents.state_closed")}
            </button>
          ))}
        </span>
      </div>
      <Answer of={faults} lines={6}>
        {(data) =>
          rows.length === 0 ? (
            <Empty title={t(time.live && !state ? "incidents.none" : "incidents.none_here")}>{t("incidents.none_help")}</Empty>
          ) : (
            <>
              <Faults rows={rows} now={time.now} />
              {data.next_cursor === null ? null : <p className="dim pad">{t("incidents.more", { count: num(LIMIT) })}</p>}
            </>
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
              <td className="nw">
                <Time ms={fault.onset_ms} />
              </td>
              <td>
                <State
                  state={fault.state === "open" ? ofSeverity(fault.severity) : fault.asked ? "na" : "ok"}
                  label={t(
                    fault.state === "open" ? "incidents.state_open" : fault.asked ? "incidents.asked" : "incidents.state_closed",
                  )}
                />{" "}
                <To to={faultPath(fault)}>
                  <Rich text={sentence(say(fault.summary))} />
                </To>
                {fault.asked ? <span className="dim nw"> {t("incidents.asked")}</span> : null}
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
              <td className="num">{fault.cause ? sure(fault.cause.probability) : "–"}</td>
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

/** Longer names first where one holds another. */
const TYPES = [
  "appinstance",
  "proc",
  "sli",
  "l7_api",
  "l7",
  "tcp_link",
  "endpoint_tcp",
  "endpoint_udp",
  "thread",
  "container",
].concat(["fs", "disk", "block", "nic", "net", "mem", "cpu", "sched", "host"]);
function typeOf(id: string): string {
  return TYPES.find((type) => id.includes(`_${type}_`) || id.endsWith(`_${type}`)) ?? "proc";
}
