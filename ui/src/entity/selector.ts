// The query for all that is known of an entity. Pure.
import type { Entity } from "../api/types";

const KEYS = ["machine_id", "tgid", "disk_name", "dev_name", "MountOn", "cpu"];

export function selector(entity: Pick<Entity, "type" | "machine_id" | "labels">): string {
  // Two hosts have a process or a disk of the same name.
  const labels: Record<string, string> = { machine_id: entity.machine_id, ...entity.labels };
  const matchers = KEYS.filter((name) => labels[name]).map((name) => `${name}="${labels[name]!.replace(/[\\"]/g, "\\$&")}"`);
  return `{${[`__name__=~"gala_gopher_${entity.type}_.+"`, ...matchers].join(",")}}`;
}
