// The unit a metric's name implies where an answer leaves it out. Pure.

const UNIT_BY_NAME: [RegExp, string][] = [
  [/(_ns|_nsec|^.*_ns_[a-z_]+)$/, "ns"],
  [/(_usec|_us|srtt|rcv_rtt)$/, "us"],
  [/(_msec|_ms|_await)$/, "ms"],
  [/(_kB|_KB)$/, "kb"],
  [/_bytes(_total)?$/, "bytes"],
  [/_ratio$/, "ratio"],
  [/(_util|_per|UsePer|util_per)$/, "%"],
];

export function unitOf(metric: string, given?: string | null): string {
  if (given) return given;
  return UNIT_BY_NAME.find(([pattern]) => pattern.test(metric))?.[1] ?? "";
}
