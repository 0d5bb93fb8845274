// What a probe's settings mean, and what a text typed in means as settings. Pure.
import type { ObservedObjects, ProbeConfig } from "../api/types";

/** Whether somebody said what a probe does or observes. After a refused request the agent answers both, but empty. */
function isSet({ cmd, snoopers, blacklist }: ProbeConfig): boolean {
  return Boolean(cmd?.probe?.length || blacklist || (snoopers && Object.keys(snoopers).length > 0));
}

/** What starts a probe: what it was set to before, or all it can do for everything where nobody has set it. */
export function starting(config: ProbeConfig, subProbes: readonly string[]): ProbeConfig {
  if (isSet(config)) return { state: "running" };
  return { cmd: { probe: [...subProbes] }, blacklist: {}, state: "running" };
}

/** Objects of a range, each as one word. */
export function objects(range: ObservedObjects | undefined): string[] {
  if (!range) return [];
  const names = (range.proc_name ?? []).map((one) => (one.cmdline ? `${one.comm} (${one.cmdline})` : one.comm));
  const texts = [range.container_name, range.container_id, range.pod_id].flatMap((list) => list ?? []);
  return [...(range.proc_id ?? []).map(String), ...names, ...texts];
}

/** Settings as text to be changed, of a probe nobody has set those that would start it: what the agent alone decides stays out. */
export function editable(config: ProbeConfig, subProbes: readonly string[]): string {
  const shown = isSet(config) ? config : { ...config, snoopers: undefined, ...starting(config, subProbes) };
  const { cmd, state: _, ...rest } = shown;
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
