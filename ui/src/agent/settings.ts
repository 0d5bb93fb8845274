// What a probe's settings mean, and what a text typed in means as settings. Pure.
import type { ObservedObjects, ProbeConfig } from "../api/types";

/** What starts a probe: what it was set to before, or all it can do for everything where nobody has set it. */
export function starting(config: ProbeConfig, subProbes: readonly string[]): ProbeConfig {
  if (config.cmd?.probe?.length || config.snoopers || config.blacklist) return { state: "running" };
  return { cmd: { probe: [...subProbes] }, blacklist: {}, state: "running" };
}

/** Objects of a range, each as one word. */
export function objects(range: ObservedObjects | undefined): string[] {
  if (!range) return [];
  const names = (range.proc_name ?? []).map((one) => (one.cmdline ? `${one.comm} (${one.cmdline})` : one.comm));
  const texts = [range.container_name, range.container_id, range.pod_id].flatMap((list) => list ?? []);
  return [...(range.proc_id ?? []).map(String), ...names, ...texts];
}

/** Settings as text to be changed: what the agent alone decides stays out. */
export function editable(config: ProbeConfig): string {
  const { cmd, state: _, ...rest } = config;
  return JSON.stringify({ ...(cmd?.probe ? { cmd: { probe: cmd.probe } } : {}), ...rest }, null, 2);
}

/** The text as settings, or why it is none. */
export function parsed(text: string): { config: ProbeConfig } | { error: string } {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { config: value };
    return { error: "" };
  } catch (error) {
    return { error: error instanceof Error ? error.message : "" };
  }
}
