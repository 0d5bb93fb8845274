// Names the agent gives, as people read them. Pure.
import type { Translate } from "../i18n";

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
