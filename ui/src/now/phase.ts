// How far a hub is after its start. Pure.
import type { Component, Health, HostRow } from "../api/types";

/** Without a host after this long, it is not that the hub just started. */
const YOUNG_MS = 60_000;
/** While fewer than this share of the numbers is known, "nothing is wrong" would claim too much. */
const ENOUGH = 0.25;
/** Sixty reports and some: until then what is known are counters of failures, which need no range. */
const FIRST_RANGES_MS = 6 * 60_000;
const MOST = 0.9;
/** Learning takes some minutes; later a small share is that of short-lived processes. */
const LEARNING_MS = 15 * 60_000;

/** Whether ranges are still missing because there was no time to learn them. */
export const isYoung = (health: Health) => health.uptime_ms < LEARNING_MS;

export type Phase = "starting" | "learning" | "running";

export function phaseOf(health: Health | undefined, hosts: number | undefined): Phase {
  if (!health) return "running";
  if (health.status === "starting") return "starting";
  if (health.uptime_ms < YOUNG_MS && hosts === 0) return "starting";
  const kpis = health.components.detection?.kpis;
  const enough = health.uptime_ms < FIRST_RANGES_MS ? MOST : ENOUGH;
  if (kpis && isYoung(health) && kpis.warm < kpis.total * enough) return "learning";
  if (kpis && health.uptime_ms < YOUNG_MS && kpis.total === 0) return "learning";
  return "running";
}

/** Parts that do not work as they should: while there are any, "nothing is wrong" is more than is known. */
export function troublesOf(health: Health): [name: string, part: Component][] {
  return Object.entries(health.components).filter(([, part]) => part.status !== "ok");
}

/** Whether nothing is watched at all. */
export const isBlind = (hosts: readonly HostRow[]) => hosts.every((host) => host.life === "offline");
