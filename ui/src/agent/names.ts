// Names the agent gives, as people read them. Pure.
import { duration } from "../format";
import type { Translate } from "../i18n";

/** Shorter ago than the clock of the page ticks. */
const JUST_MS = 5000;

export function ago(ms: number, t: Translate): string {
  return ms < JUST_MS ? t("agent.just") : t("agent.last", { duration: duration(ms) });
}

const PARTS = {
  agent: "part.agent",
  store: "part.store",
  topology: "part.topology",
  detection: "part.detection",
  cause: "part.cause",
} as const;

/** A part of the hub's health. */
export function partName(name: string, t: Translate): string {
  return name in PARTS ? t(PARTS[name as keyof typeof PARTS]) : name;
}

/** A place of the ledger: `probe.io` is the probe io. */
export function placeName(place: string, t: Translate): string {
  const probe = /^probe\.(.+)$/.exec(place)?.[1];
  return probe ? t("ledger.probe", { name: probe }) : place;
}
