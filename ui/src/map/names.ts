// Short names of entities, from the names the hub gives. Pure.
import type { Entity } from "../api/types";

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
