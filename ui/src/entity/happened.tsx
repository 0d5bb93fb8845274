// What happened to an entity: its events, the times a number left its range, the incidents it has part in; newest first.
import type { EntityDetail } from "../api/types";
import { sentenceCase } from "../format";
import { useT, useText } from "../i18n";
import { faultPath } from "../incident/read";
import { useMetricName } from "../metrics";
import { To } from "../parts/links";
import { Rich } from "../parts/rich";
import { type Judged, ofSeverity, State } from "../parts/state";
import { Time } from "../parts/Time";

export interface Happened {
  ts: number;
  state: Judged;
  text: string;
  to: string | null;
}

export function useHappened(detail: EntityDetail): Happened[] {
  const t = useT();
  const say = useText();
  const metricName = useMetricName();
  const { entity } = detail;
  const out: Happened[] = [
    ...detail.events.map((event) => ({ ts: event.ts, state: ofSeverity(event.severity), text: say(event.text), to: null })),
    ...detail.anomalies.map((row) => ({
      ts: row.first_ms,
      state: ofSeverity(row.severity),
      text: t("entity.left_normal", { metric: sentenceCase(metricName(row.metric_id, row.entity_type)) }),
      to: null,
    })),
    ...detail.faults.map((fault) => ({
      ts: fault.opened_ms,
      state: ofSeverity(fault.severity),
      text:
        fault.cause?.entity_id === entity.id
          ? t("entity.named_cause", { what: fault.entity_name })
          : t("entity.incident_of", { what: fault.entity_name }),
      to: faultPath(fault),
    })),
  ];
  return out.sort((a, b) => b.ts - a.ts);
}

export function HappenedList({ rows, most }: { rows: readonly Happened[]; most: number }) {
  return (
    <ul className="ev2">
      {rows.slice(0, most).map((row) => (
        <li key={`${row.ts}${row.text}${row.to}`}>
          <Time ms={row.ts} />
          <State state={row.state} />
          <p>
            {row.to ? (
              <To to={row.to}>
                <Rich text={row.text} />
              </To>
            ) : (
              <Rich text={row.text} />
            )}
          </p>
        </li>
      ))}
    </ul>
  );
}
