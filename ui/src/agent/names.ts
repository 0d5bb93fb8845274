// Names the agent gives, as people read them. Pure.
import type { Translate } from "../i18n";

/** A place of the ledger: `probe.io` is the probe io. */
export function placeName(place: string, t: Translate): string {
  const probe = /^probe\.(.+)$/.exec(place)?.[1];
  return probe ? t("ledger.probe", { name: probe }) : place;
}
