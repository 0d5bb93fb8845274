// Changes before an incident, by program. Pure.
import type { Change } from "../api/types";

export interface Changed {
  program: string;
  /** Entity of the last change. */
  id: string;
  type: string;
  last_ms: number;
  started: number;
  ended: number;
  inAnswer: boolean;
}

/** Groups changes of processes by program. `answer` holds ids of the explanation. Pure. */
export function groupChanges(changes: readonly Change[], answer: ReadonlySet<string>): Changed[] {
  const groups = new Map<string, Changed>();
  for (const change of [...changes].sort((a, b) => a.ts - b.ts)) {
    const program = /^\d+, (.+), [^,]+$/.exec(change.name)?.[1] ?? change.name;
    const known = groups.get(program) ?? {
      program,
      id: change.id,
      type: change.type,
      last_ms: change.ts,
      started: 0,
      ended: 0,
      inAnswer: false,
    };
    known.last_ms = change.ts;
    if (change.kind === "appeared") known.started++;
    else known.ended++;
    if (answer.has(change.id)) known.inAnswer = true;
    if (!known.inAnswer || answer.has(change.id)) known.id = change.id;
    groups.set(program, known);
  }
  const weight = (one: Changed) => (one.inAnswer ? 2 : one.started !== one.ended ? 1 : 0);
  return [...groups.values()].sort((a, b) => weight(b) - weight(a) || b.last_ms - a.last_ms);
}
