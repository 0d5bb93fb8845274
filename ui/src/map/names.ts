// Short names of entities, from the names the hub gives, and where an entity stands on the map. Pure.
import type { Entity, Layer } from "../api/types";

/** `1014, gaussdb, Node A` is gaussdb with pid 1014. */
export function namesOf(entity: Entity): { name: string; sub: string } {
  if (entity.type === "proc") {
    const parts = entity.name.split(", ");
    const comm = entity.labels.comm ?? parts[1] ?? entity.name;
    return { name: comm, sub: entity.labels.tgid ?? (/^\d+$/.test(parts[0] ?? "") ? parts[0]! : "") };
  }
  // Links and endpoints name their process first, which stands beside them anyway.
  if (entity.type === "tcp_link" || entity.type.startsWith("endpoint"))
    return { name: entity.name.replace(/^\d+, /, ""), sub: "" };
  if (entity.type === "fs")
    return { name: entity.name.length > 1 ? entity.name.replace(/.*\/(?=[^/]+$)/, "") : entity.name, sub: "" };
  return { name: entity.name, sub: "" };
}

/**
 * A name without what stands beside it anyway, as explanations write it: process `1014, gaussdb, Node A` is `gaussdb (1014)`,
 * thread `1014, gaussdb` too, a link or endpoint stands without the process it belongs to.
 */
export function tidyName(type: string, name: string): string {
  if (type === "tcp_link" || type.startsWith("endpoint")) return name.replace(/^\d+, /, "");
  // One that stands for three more ends in ` +3`.
  const [, one = name, others = ""] = /^(.*?)( \+\d+)?$/.exec(name) ?? [];
  const parts = (type === "proc" ? /^(\d+), (.+), [^,]+$/ : type === "thread" ? /^(\d+), ([^,]+)/ : null)?.exec(one);
  return parts ? `${parts[2]} (${parts[1]})${others}` : name;
}

/** Layer of the horizontal map an entity is looked at on. */
export function mapLayer(entity: Entity): Layer {
  if (entity.type === "appinstance") return "application";
  return entity.type === "host" || entity.level === "HOST" ? "host" : "process";
}
