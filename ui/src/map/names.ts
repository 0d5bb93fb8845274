// Short names of entities, from the names the hub gives; where an entity stands on the map; its worst numbers. Pure.
import type { Entity, EntityMetric, Layer } from "../api/types";

/** `1014, gaussdb, Node A` is gaussdb with pid 1014. */
export function namesOf(entity: Entity): { name: string; sub: string } {
  if (entity.type === "proc") {
    const parts = entity.name.split(", ");
    const comm = entity.labels.comm ?? parts[1] ?? entity.name;
    return { name: comm, sub: entity.labels.tgid ?? (/^\d+$/.test(parts[0] ?? "") ? parts[0]! : "") };
  }
  if (entity.type === "fs")
    return { name: entity.name.length > 1 ? entity.name.replace(/.*\/(?=[^/]+$)/, "") : entity.name, sub: "" };
  return { name: entity.name, sub: "" };
}

/** A process's name without its host, as explanations write it: `1014, gaussdb, Node A` is `gaussdb (1014)`. */
export function tidyName(type: string, name: string): string {
  const parts = type === "proc" || type === "thread" ? /^(\d+), (.+), [^,]+$/.exec(name) : null;
  return parts ? `${parts[2]} (${parts[1]})` : name;
}

/** Layer of the horizontal map an entity is looked at on. */
export function mapLayer(entity: Entity): Layer {
  if (entity.type === "appinstance") return "application";
  return entity.type === "host" || entity.level === "HOST" ? "host" : "process";
}

const WEIGHT = { crit: 0, warn: 1, ok: 2, na: 3 };

export function worstFirst(metrics: readonly EntityMetric[]): EntityMetric[] {
  return [...metrics].sort((a, b) => WEIGHT[a.state] - WEIGHT[b.state]);
}
