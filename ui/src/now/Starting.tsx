// The first minutes: what is there, what comes next and when. Until the first map nothing can be said of the host, until the
// sixtieth report of a number nothing of its normal range.
import type { ReactNode } from "react";
import type { Component, Health } from "../api/types";
import { duration, num, stamp } from "../format";
import { type Key, useT } from "../i18n";
import { Rich } from "../parts/rich";
import { type Judged, State } from "../parts/state";

interface Step {
  state: Judged;
  what: Key;
  when: string;
}

/** `started`: when the hub was, by its own word; it does not move with the clock. */
export function Starting({ health, started }: { health: Health; started: number }) {
  const t = useT();
  const { agent, topology, detection } = health.components;
  const done = (part: Component | undefined) => part !== undefined && part.status !== "starting";
  const step = (part: Component | undefined, what: Key, coming: Key): Step => ({
    state: done(part) ? "ok" : "na",
    what,
    when: done(part) ? t("starting.done") : part?.reason ? `${t(coming)}: ${part.reason}` : t(coming),
  });
  const steps: Step[] = [
    ...(agent ? [step(agent, "starting.probes", "starting.probes_when")] : []),
    { ...step(topology, "starting.map", "starting.map_when"), state: "na", when: t("starting.map_when") },
    { state: "na", what: "starting.services", when: t("starting.services_when") },
    { ...step(detection, "starting.ranges", "starting.ranges_when"), state: "na", when: t("starting.ranges_when") },
  ];
  return (
    <>
      <h1>{t("starting.title")}</h1>
      <p className="lead">
        <Rich text={t("starting.lead", { duration: duration(health.uptime_ms), time: stamp(started) })} />
      </p>
      <ol className="steps">
        {steps.map((one) => (
          <li key={one.what}>
            <State state={one.state} label={t(one.state === "ok" ? "starting.there" : "starting.coming")} />
            <span>{t(one.what)}</span>
            <span className="dim">{one.when}</span>
          </li>
        ))}
      </ol>
    </>
  );
}

export function Learning({
  health,
  now,
  started,
  odd,
}: {
  health: Health;
  now: number;
  started: number;
  /** Heading where something is not as usual already. */
  odd: ReactNode;
}) {
  const t = useT();
  const kpis = health.components.detection?.kpis ?? { warm: 0, total: 0, warm_at_ms: null };
  const ready = kpis.warm_at_ms !== null && kpis.warm_at_ms > now ? kpis.warm_at_ms : null;
  return (
    <>
      {odd ?? <h1>{t("learning.title")}</h1>}
      <p className="lead">
        <Rich text={t("learning.lead", { time: stamp(started), duration: duration(now - started) })} />
      </p>
      <div className="learn">
        <span className="mtr" aria-hidden="true">
          <i style={{ width: `${(100 * kpis.warm) / Math.max(1, kpis.total)}%` }} />
        </span>
        <p>
          <Rich text={t("learning.known", { warm: num(kpis.warm, 9), total: num(kpis.total, 9) })} />{" "}
          {ready === null ? t("learning.soon") : <Rich text={t("learning.ready", { time: stamp(ready) })} />}
        </p>
      </div>
    </>
  );
}
