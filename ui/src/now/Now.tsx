import { useSearchParams } from "react-router";
import { placeName } from "../agent/names";
import { useFaults, useHealth, useHosts, useLedger, useServices } from "../api/queries";
import type { Fault, HostRow, Ledger, Meter, Service, Signal } from "../api/types";
import { num, percent, portion, sentence, stamp, sure } from "../format";
import { type Key, useT, useText } from "../i18n";
import { countOf, faultPath } from "../incident/read";
import { tidyName } from "../map/names";
import { Spark } from "../parts/Chart";
import { EntityName, To } from "../parts/links";
import { Answer, Empty, Page, Section } from "../parts/page";
import { RangeDot } from "../parts/RangeDot";
import { Rich, usePlain } from "../parts/rich";
import { type Judged, ofSeverity, State } from "../parts/state";
import { Time } from "../parts/Time";
import { useTime } from "../time/useTime";
import { OpenIncident } from "./OpenIncident";
import { phaseOf } from "./phase";
import { Starting } from "./Starting";
import { NotKnown, Then, Well } from "./Well";
import "./now.css";

const RANK = { FATAL: 0, ERROR: 1, WARN: 2, INFO: 3 };
/** Incidents shown with picture and path; the rest are one line each. */
const MAX_FULL = 3;

export default function Now() {
  const t = useT();
  const time = useTime();
  const faults = useFaults(
    { limit: 100, ...(time.live ? { state: "open" } : { from: Math.round(time.from), to: Math.round(time.to) }) },
    time,
  );
  const [params] = useSearchParams();
  const host = params.get("host");
  const open = (faults.data?.items ?? [])
    .filter((fault) =>
      time.live ? fault.state === "open" : fault.onset_ms <= time.to && (fault.closed_ms ?? time.to) >= time.from,
    )
    .filter((fault) => !host || !fault.host_name || fault.host_name === host)
    .sort((a, b) => RANK[a.severity] - RANK[b.severity] || b.onset_ms - a.onset_ms);
  const health = useHealth();
  const hosts = useHosts(time);
  const phase = time.live && !health.isError ? phaseOf(health.data, hosts.data?.items.length) : "running";
  if (phase === "starting" && open.length === 0)
    return (
      <Page title={t("starting.title")}>
        <Starting health={health.data!} started={health.dataUpdatedAt - health.data!.uptime_ms} />
      </Page>
    );
  return (
    <Page title={open[0] && time.live ? t("now.title_open", { what: open[0].entity_name }) : t("page.now")}>
      {faults.data ? null : <h1 className="sr">{t("page.now")}</h1>}
      <Answer of={faults} lines={3}>
        {(data) => {
          if (open.length > 0) return <Wrong open={open} count={countOf(data, open.length)} />;
          if (!time.live) return <Then />;
          // That none was open a while ago says nothing of now.
          if (faults.isError) return <NotKnown why={t("now.no_faults")} />;
          return <Well learning={phase === "learning"} host={host} />;
        }}
      </Answer>
      {time.live ? (
        <>
          <Services host={host} />
          <Hosts host={host} />
        </>
      ) : (
        <Section title={t("now.services")}>
          <Empty title={t("now.past")}>{t("now.past_help")}</Empty>
        </Section>
      )}
      {time.live ? <Watched /> : null}
    </Page>
  );
}

function Wrong({ open, count }: { open: Fault[]; count: string }) {
  const t = useT();
  const say = useText();
  const { live } = useTime();
  const worst = open[0]!;
  const cause = worst.cause;
  const named = cause && { cause: tidyName(cause.entity_type, cause.entity_name), probability: sure(cause.probability) };
  const one = live ? "now.slow" : "now.slow_then";
  return (
    <>
      <h1>
        <Rich
          text={
            open.length === 1
              ? t(one, { what: worst.entity_name, time: stamp(worst.onset_ms) })
              : t(live ? "now.several" : "incidents.then", { count })
          }
        />
      </h1>
      <p className="lead">
        <Rich
          text={
            named
              ? t(open.length > 1 ? "now.worst_cause" : live ? "now.one_cause" : "now.its_cause", named)
              : t(live ? "now.no_cause_yet" : "now.no_cause_then")
          }
        />
      </p>
      {open.slice(0, MAX_FULL).map((fault) => (
        <OpenIncident key={fault.id} fault={fault} />
      ))}
      {open.length > MAX_FULL ? (
        <ul className="more">
          {open.slice(MAX_FULL).map((fault) => (
            <li key={fault.id}>
              <State state={ofSeverity(fault.severity)} />
              <To to={faultPath(fault)}>
                <Rich text={sentence(say(fault.summary))} />
              </To>
              <span className="dim">
                <Time ms={fault.onset_ms} />
              </span>
            </li>
          ))}
        </ul>
      ) : null}
    </>
  );
}

const SIGNALS: [keyof Service["signals"], Key, Key][] = [
  ["latency", "signal.latency", "signal.lat"],
  ["errors", "signal.errors", "signal.err"],
  ["traffic", "signal.traffic", "signal.rate"],
  ["saturation", "signal.saturation", "signal.sat"],
  ["resources", "signal.resources", "signal.res"],
];

function Services({ host }: { host: string | null }) {
  const t = useT();
  const time = useTime();
  const services = useServices(time);
  const rows = (services.data?.items ?? []).filter((row) => !host || row.host_names.includes(host));
  return (
    <Section
      title={t("now.services")}
      note={services.data ? t("now.services_note", { count: rows.length }) : null}
      right={t("now.services_right")}
    >
      <Answer of={services} lines={5}>
        {() =>
          rows.length === 0 ? (
            <Empty title={t("now.no_requests")}>{t("now.no_requests_help")}</Empty>
          ) : (
            <div className="scroll svc" tabIndex={0} role="region" aria-label={t("now.services")}>
              <table>
                <thead>
                  <tr>
                    <th>{t("now.service")}</th>
                    <th className="num">{t("now.rate")}</th>
                    <th>{t("now.rate_trend")}</th>
                    <th className="num">{t("now.errors")}</th>
                    <th className="num">p50 ms</th>
                    <th className="num">p99 ms</th>
                    <th>{t("now.range")}</th>
                    <th className="num">{t("now.saturation")}</th>
                    <th className="num">{t("now.yesterday")}</th>
                    {SIGNALS.map(([name, long, short]) => (
                      <th key={name} className="sg" title={t(long)}>
                        {t(short)}
                      </th>
                    ))}
                  </tr>
                </thead>
                <tbody>
                  {rows.map((row) => (
                    <ServiceRow key={row.entity_id} row={row} />
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Answer>
    </Section>
  );
}

function ServiceRow({ row }: { row: Service }) {
  const t = useT();
  const { latency, errors, saturation } = row.signals;
  return (
    <tr>
      <td>
        <EntityName
          id={row.entity_id}
          type={row.entity_type}
          name={row.name}
          host={[row.port && `:${row.port}`, row.pid && `pid ${row.pid}`, row.app, ...row.host_names].filter(Boolean).join(" · ")}
        />
      </td>
      <td className="num">{num(row.rate_per_s)}</td>
      <td className="sp">
        <Spark points={row.rate_points} />
      </td>
      <td className={`num ${tone(errors)}`}>{portion(row.error_ratio)}</td>
      <td className="num">{num(row.p50_ms, 2)}</td>
      <td className={`num ${tone(latency)}`}>
        {tone(latency) ? <b className={tone(latency)}>{num(row.p99_ms)}</b> : num(row.p99_ms)}
      </td>
      <td>
        {row.p99_ms !== null && row.p99_normal_ms ? (
          <RangeDot
            now={row.p99_ms}
            normal={row.p99_normal_ms}
            span={P99_SPAN_MS}
            state={latency.state}
            label={`${num(row.p99_ms)} ms, ${num(row.p99_normal_ms.lo)}–${num(row.p99_normal_ms.hi)} ms`}
          />
        ) : (
          <span className="dim">{t(row.p99_ms === null ? "now.too_few" : "now.not_warm")}</span>
        )}
      </td>
      <td className={`num ${tone(saturation)}`}>
        {row.saturation ? `${row.saturation.what} ${portion(row.saturation.ratio)}` : "–"}
      </td>
      <td className="num dim">{against(row.yesterday_ratio)}</td>
      {SIGNALS.map(([name, long]) => (
        <td key={name} className="sg">
          <SignalState signal={row.signals[name]} name={t(long)} />
        </td>
      ))}
    </tr>
  );
}

/** From 0.01 ms to 10 s: what requests take. */
const P99_SPAN_MS: [number, number] = [0.01, 10_000];

const tone = (signal: Signal) => (signal.state === "crit" || signal.state === "warn" ? signal.state : "");

function against(ratio: number | null): string {
  if (ratio === null || !Number.isFinite(ratio)) return "–";
  if (ratio >= 2) return `× ${num(ratio)}`;
  const change = Math.round((ratio - 1) * 100);
  return `${change < 0 ? "−" : "+"} ${Math.abs(change)} %`;
}

function SignalState({ signal, name }: { signal: Signal; name: string }) {
  const t = useT();
  const plain = usePlain();
  const words: Record<Judged, Key> = {
    crit: "state.crit",
    warn: "state.warn",
    ok: "state.ok",
    na: "state.na",
    gone: "state.gone",
  };
  return (
    <State
      state={signal.state}
      label={signal.reason ? `${name}: ${plain(signal.reason)}` : `${name}: ${t(words[signal.state])}`}
    />
  );
}

const METERS: [keyof Pick<HostRow, "cpu" | "memory" | "disk" | "network">, Key][] = [
  ["cpu", "now.cpu"],
  ["memory", "now.memory"],
  ["disk", "now.disk"],
  ["network", "now.network"],
];

function Hosts({ host }: { host: string | null }) {
  const t = useT();
  const time = useTime();
  const hosts = useHosts(time);
  const rows = (hosts.data?.items ?? []).filter((row) => !host || row.name === host);
  return (
    <Section title={t("now.hosts")} note={t("now.hosts_note")}>
      <Answer of={hosts} lines={2}>
        {() =>
          rows.length === 0 ? (
            <Empty title={t("now.no_hosts")}>{t("now.no_hosts_help")}</Empty>
          ) : (
            <ul className={`hosts ${rows.length === 1 ? "single" : ""}`}>
              {rows.map((row) => (
                <li key={row.entity_id}>
                  <p className="hn">
                    <EntityName id={row.entity_id} type="host" name={row.name} host={row.services.join(", ")} />
                    <State state={row.life === "offline" ? "gone" : row.state} />
                  </p>
                  <dl>
                    {METERS.map(([name, word]) => (
                      <MeterView key={name} word={t(word)} meter={row[name]} />
                    ))}
                  </dl>
                </li>
              ))}
            </ul>
          )
        }
      </Answer>
    </Section>
  );
}

function MeterView({ word, meter }: { word: string; meter: Meter }) {
  const bad = meter.state === "crit" ? "bad" : meter.state === "warn" ? "wrn" : "";
  return (
    <div>
      <dt>{word}</dt>
      <dd className={meter.state === "crit" || meter.state === "warn" ? meter.state : undefined}>
        {percent(meter.ratio)}
        <span className={`mtr ${bad}`} aria-hidden="true">
          <i style={{ width: `${Math.min(1, Math.max(0, meter.ratio ?? 0)) * 100}%` }} />
        </span>
      </dd>
    </div>
  );
}

/** Places of the ledger named in one line at most. */
const MAX_MISSED = 3;

function Watched() {
  const ledger = useLedger();
  if (!ledger.data || ledger.data.watched.processes === 0) return null;
  return <WatchedLine ledger={ledger.data} />;
}

function WatchedLine({ ledger }: { ledger: Ledger }) {
  const t = useT();
  const { watched } = ledger;
  const missed = ledger.items.filter((row) => row.ratio === null || row.ratio < 0.9995).slice(0, MAX_MISSED);
  const places = [...new Set(missed.map((row) => row.place))];
  const reasons = (place: string) => missed.filter((row) => row.place === place && row.reason).map((row) => row.reason);
  return (
    <p className="seen">
      <Rich
        text={t("now.watched", {
          processes: num(watched.processes),
          connections: num(watched.connections),
          devices: num(watched.devices),
          hosts: t(watched.hosts === 1 ? "frame.hosts_1" : "frame.hosts", { count: watched.hosts }),
        })}
      />{" "}
      {ledger.requests_ratio === null ? null : <Rich text={t("now.requests_seen", { ratio: portion(ledger.requests_ratio) })} />}{" "}
      {missed.length > 0 ? (
        <>
          <b>{t("now.not_seen")}</b>{" "}
          {places
            .map((place) =>
              [placeName(place, t), reasons(place).length > 0 ? `(${reasons(place).join("; ")})` : ""].join(" ").trim(),
            )
            .join("; ")}
          .{" "}
        </>
      ) : null}
      <To className="lnk" to="/agent">
        {t("now.ledger")}
      </To>
    </p>
  );
}
