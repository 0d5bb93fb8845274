// An entity's state with its glyph and since when it is so; the same line on its page and in the side panel.
import type { EntityDetail } from "../api/types";
import { stamp } from "../format";
import { useT } from "../i18n";
import { Rich } from "../parts/rich";
import { type Judged, State } from "../parts/state";

export function StateSince({ detail, state }: { detail: EntityDetail; state: Judged }) {
  const t = useT();
  const { entity, checks } = detail;
  const bad = state === "crit" || state === "warn";
  // Of what is well or not judged no check tells since when.
  const since = bad ? (checks.find((check) => check.state === "crit" || check.state === "warn")?.since_ms ?? null) : null;
  const word = t(`state.${state}`);
  const text =
    state === "gone" && entity.offline_at
      ? t("entity.gone_since", { time: stamp(entity.offline_at) })
      : since === null
        ? word
        : t("entity.since", { state: word, time: stamp(since) });
  return (
    <>
      <State state={state} label="" /> <Rich text={text} />
    </>
  );
}
