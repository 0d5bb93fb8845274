// Judged states: shape first, colour second.
import type { Severity, SignalState } from "../api/types";
import { type Key, useT } from "../i18n";

export type Judged = SignalState | "gone";

const SHAPES: Record<Judged, React.ReactNode> = {
  crit: <path d="M6 .4 11.6 6 6 11.6.4 6Z" fill="currentColor" />,
  warn: <path d="M6 1.2 11.4 10.6H.6Z" fill="currentColor" />,
  ok: <circle cx="6" cy="6" r="3.4" fill="none" stroke="currentColor" strokeWidth="1.5" />,
  na: <path d="M2.8 6h6.4" stroke="currentColor" strokeWidth="1.6" />,
  gone: <circle cx="6" cy="6" r="3.6" fill="none" stroke="currentColor" strokeWidth="1.4" strokeDasharray="2 1.7" />,
};

export function stateShape(state: Judged): React.ReactNode {
  return SHAPES[state];
}

const WORDS: Record<Judged, Key> = { crit: "state.crit", warn: "state.warn", ok: "state.ok", na: "state.na", gone: "state.gone" };

/** `label` replaces the state's own word; a hover shows it. Empty where the word stands beside it: it is not read twice. */
export function State({ state, label }: { state: Judged; label?: string }) {
  const t = useT();
  const text = label ?? t(WORDS[state]);
  if (text === "")
    return (
      <svg className={`st ${state}`} viewBox="0 0 12 12" aria-hidden="true">
        {SHAPES[state]}
      </svg>
    );
  return (
    <svg className={`st ${state}`} viewBox="0 0 12 12" role="img" aria-label={text}>
      <title>{text}</title>
      {SHAPES[state]}
    </svg>
  );
}

export function ofSeverity(severity: Severity | null | undefined): SignalState {
  if (severity === "ERROR" || severity === "FATAL") return "crit";
  if (severity === "WARN") return "warn";
  return severity === "INFO" ? "na" : "ok";
}

/** The scope in which what belongs to something judged has its colour. */
export const judgedClass = (state: Judged) => (state === "crit" || state === "warn" ? `judged-${state}` : "judged-na");

/**
 * An entity's state. Where its checks are known they tell whether anybody judges it at all: without one it is not normal but
 * not judged.
 */
export function ofEntity(
  entity: { state: string; badges?: { anomalies: number; severity: Severity | null; judged?: boolean } },
  checks?: readonly { state: SignalState }[],
): Judged {
  if (entity.state === "offline") return "gone";
  if (entity.state === "unknown") return "na";
  if (entity.badges && entity.badges.anomalies > 0)
    return entity.badges.severity === "WARN" || entity.badges.severity === "INFO" ? "warn" : "crit";
  if (checks) return checks.some((check) => check.state !== "na") ? "ok" : "na";
  return entity.badges?.judged === false ? "na" : "ok";
}
