// Now while no incident is open: what that is worth hangs on whether everything asked about is watched.
import type { ReactNode } from "react";
import { ago, partName } from "../agent/names";
import { useAbnormal, useFaults, useHealth, useHosts, useServices, useWatchedThen } from "../api/queries";
import type { Health, HostRow, Service, Signal, Text } from "../api/types";
import { duration, num, percent, sentence, stamp } from "../format";
import { type Key, type Translate, useT, useText } from "../i18n";
import { countOf, faultPath } from "../incident/read";
import { EntityName, To } from "../parts/links";
import { Answer, Broken, Skeleton } from "../parts/page";
import { Rich } from "../parts/rich";
import { State } from "../parts/state";
import { useTime } from "../time/useTime";
import { isBlind, isYoung, troublesOf } from "./phase";
import { Learning } from "./Starting";

/** No incident is open: what that is worth hangs on whether everything asked about is watched. */
export function Well({ learning, host }: { learning: boolean; host: string | null }) {
  const t = useT();
  const time = useTime();
  const asked = useHealth();
  const hosts = useHosts(time);
  const closed = useFaults({ state: "closed", limit: 20 });
  const abnormal = useAbnormal(time);
  const services = useServices(time);
  const health = asked.data;
  if (asked.isError)
    return (
      <NotKnown why={t("now.no_health")}>
        <Broken error={asked.error} retry={asked.refetch} {...(health ? { since: asked.dataUpdatedAt } : {})} />
      </NotKnown>
    );
  if (hosts.isError)
    return (
      <NotKnown why={t("now.no_host_list")}>
        <Broken error={hosts.error} retry={hosts.refetch} {...(hosts.data ? { since: hosts.dataUpdatedAt } : {})} />
      </NotKnown>
    );
  if (!health || !hosts.data || services.isPending)
    return (
      <>
        <h1 className="sr">{t("page.now")}</h1>
        <Skeleton lines={2} />
      </>
    );
  const troubles = troublesOf(health);
  if (troubles.length > 0)
    return (
      <NotKnown why={t("now.parts_fail")}>
        <ul className="more">
          {troubles.map(([name, part]) => (
            <li key={name}>
              <State state="warn" label={part.status} />
              <b>{partName(name, t)}</b>
              <span>
                <Rich text={part.reason || part.status} />
              </span>
              {part.last_ms === null ? null : <span className="dim nw">{ago(time.now - part.last_ms, t)}</span>}
            </li>
          ))}
        </ul>
      </NotKnown>
    );
  const meant = hosts.data.items.filter((row) => !host || row.name === host);
  if (isBlind(meant)) return <NotKnown why={host ? t("now.blind_host", { host }) : t("now.blind")} />;
  const started = asked.dataUpdatedAt - health.uptime_ms;
  const odd = unusual(services.data?.items ?? [], meant, host, t);
  const oddHead = odd.length === 0 ? null : <Odd rows={odd} />;
  if (learning) return <Learning health={health} now={time.now} started={started} odd={oddHead} />;
  const isHere = (one: { host_name?: string | null }) => !host || !one.host_name || one.host_name === host;
  const last = closed.data?.items.find((fault) => !fault.asked && isHere(fault));
  const silent = meant.filter((row) => row.life === "offline").map((row) => row.name);
  const since = last?.closed_ms && last.closed_ms > started ? last.closed_ms : started;
  const rows = abnormal.data?.items.filter(isHere) ?? [];
  const count = rows.length;
  // That none of them hurts a service must not stand above a table that shows one hurt.
  const isBad = ({ latency, errors }: Service["signals"]) =>
    [latency, errors].some((signal) => signal.state === "crit" || signal.state === "warn");
  const bad = (services.data?.items ?? []).filter((row) => isBad(row.signals) && (!host || row.host_names.includes(host)));
  const hurt = [...new Set(bad.map((row) => row.name))];
  return (
    <>
      {oddHead ?? <h1>{!services.data ? t("now.not_known") : host ? t("now.well_host", { host }) : t("now.well")}</h1>}
      <p className="lead">
        <Rich text={t("now.well_since", { time: stamp(since), duration: duration(time.now - since) })} />{" "}
        {last ? (
          <To className="lnk" to={faultPath(last)}>
            {t("now.last_incident")}
          </To>
        ) : null}
      </p>
      {silent.length > 0 ? (
        <p className="note">
          <State state="gone" />{" "}
          <span>
            <Rich
              text={t("now.silent", {
                names: silent.slice(0, MAX_SILENT).join(", "),
                more: silent.length > MAX_SILENT ? " …" : "",
              })}
            />
          </span>
        </p>
      ) : null}
      {count > 0 ? (
        <p className="note">
          <State state="na" />{" "}
          <Rich
            text={t(hurt.length > 0 ? "now.abnormal_hurt" : count === 1 ? "now.abnormal_1" : "now.abnormal", {
              count: countOf(abnormal.data!, count),
              names: hurt.join(", "),
            })}
          />{" "}
          <To className="lnk" to="/incidents">
            {t("now.abnormal_list")}
          </To>
        </p>
      ) : null}
      <Known health={health} now={time.now} />
    </>
  );
}

interface Unusual {
  id: string;
  type: string;
  name: string;
  where: string;
  state: "crit" | "warn";
  /** In words, where the hub gives some. */
  reason: Text | string | null;
}

/** What the tables below draw in amber or red: above it the page must not say that nothing is wrong. */
function unusual(services: readonly Service[], hosts: readonly HostRow[], host: string | null, t: Translate): Unusual[] {
  const isBad = (signal: Pick<Signal, "state">) => signal.state === "crit" || signal.state === "warn";
  const ofServices = services
    .filter((row) => !host || row.host_names.includes(host))
    .flatMap((row): Unusual[] => {
      const bad = Object.values(row.signals).filter(isBad);
      const worst = bad.find((signal) => signal.state === "crit") ?? bad[0];
      if (!worst) return [];
      const state = worst.state === "crit" ? "crit" : "warn";
      const where = row.host_names.join(", ");
      return [{ id: row.entity_id, type: row.entity_type, name: row.name, where, state, reason: worst.reason }];
    });
  const pressed = (row: HostRow) =>
    (["cpu", "memory", "disk", "network"] as const)
      .filter((name) => isBad(row[name]))
      .map((name) => `${t(`now.${name}`)} ${percent(row[name].ratio)}`)
      .join(", ");
  const ofHosts = hosts
    .filter((row) => row.life !== "offline")
    .flatMap((row): Unusual[] =>
      row.state === "crit" || row.state === "warn"
        ? [{ id: row.entity_id, type: "host", name: row.name, where: "", state: row.state, reason: pressed(row) }]
        : [],
    );
  return [...ofServices, ...ofHosts].sort((a, b) => Number(a.state === "warn") - Number(b.state === "warn"));
}

/** Of what is not as usual, told in one line each, and named in the heading. */
const MAX_ODD = 5;
const MAX_ODD_NAMES = 3;

function Odd({ rows }: { rows: readonly Unusual[] }) {
  const t = useT();
  const say = useText();
  const names = [...new Set(rows.map((row) => row.name))];
  const head = names.length === 1 ? "now.odd" : names.length > MAX_ODD_NAMES ? "now.odd_many" : "now.odd_some";
  return (
    <>
      <h1>{t(head, { names: names.join(", "), count: names.length })}</h1>
      <ul className="more odd">
        {rows.slice(0, MAX_ODD).map((row) => (
          <li key={row.id}>
            <State state={row.state} />
            <EntityName id={row.id} type={row.type} name={row.name} host={row.where} />
            {row.reason ? (
              <span>
                <Rich text={sentence(say(row.reason))} />
              </span>
            ) : null}
          </li>
        ))}
      </ul>
    </>
  );
}

/** Hosts named in one line at most. */
const MAX_SILENT = 5;

export function NotKnown({ why, children }: { why: string; children?: ReactNode }) {
  const t = useT();
  return (
    <>
      <h1>{t("now.not_known")}</h1>
      <p className="lead">{why}</p>
      {children}
    </>
  );
}

/** A past window without an incident: all was well only as far as somebody watched. */
export function Then() {
  const t = useT();
  const watched = useWatchedThen(useTime());
  const words = (share: number): [Key, Key | null] => {
    if (share === 1) return ["now.well_then", null];
    return share === 0 ? ["now.not_known_then", "now.not_watched_then"] : ["now.well_partly", "now.partly_then"];
  };
  return (
    <>
      {watched.data === undefined ? <h1 className="sr">{t("page.now")}</h1> : null}
      <Answer of={watched} lines={2}>
        {(share) => {
          const [head, lead] = words(share);
          return (
            <>
              <h1>{t(head)}</h1>
              {lead ? <p className="lead">{t(lead)}</p> : null}
            </>
          );
        }}
      </Answer>
    </>
  );
}

/** Of this share of the numbers a normal range is known when the rest are those of short-lived processes. */
const MOST_WARM = 0.9;

/** While ranges are not known the page must not claim that all is well. */
function Known({ health, now }: { health: Health; now: number }) {
  const t = useT();
  const detection = health.components.detection;
  if (!detection) return null;
  const { kpis } = detection;
  if (kpis && kpis.total > 0 && kpis.warm < kpis.total * MOST_WARM) {
    const isComing = kpis.warm_at_ms !== null && kpis.warm_at_ms > now;
    return (
      <p className="note">
        <State state="na" /> <Rich text={t("now.known", { warm: num(kpis.warm, 9), total: num(kpis.total, 9) })} />{" "}
        {isComing ? (
          <Rich text={t("now.learning_until", { time: stamp(kpis.warm_at_ms!) })} />
        ) : (
          t(isYoung(health) ? "learning.soon" : "now.short_lived")
        )}
      </p>
    );
  }
  return null;
}
