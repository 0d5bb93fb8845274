import { describe, expect, it } from "vitest";
import type { EntityMetric, SignalState } from "../api/types";
import { isFlat, worstFirst } from "./order";

const row = (metric: string, state: SignalState, ...values: (number | null)[]): EntityMetric =>
  ({ metric, state, series: [{ label: "", points: values.map((value, index) => [index, value]) }] }) as unknown as EntityMetric;

describe("the numbers of an entity", () => {
  it("begin with what is wrong, then what people look at, then what moves", () => {
    const rows = [
      row("gala_gopher_proc_nice", "ok", 0, 0),
      row("gala_gopher_proc_syscr_count", "ok", 1, 2),
      row("gala_gopher_proc_pm_size", "na", 5, 5),
      row("gala_gopher_proc_cpu_util", "ok", 1, 2),
      row("gala_gopher_proc_fsync_count", "crit", 1, 1),
    ];
    expect(worstFirst(rows, "proc").map((one) => one.metric.slice(17))).toEqual([
      "fsync_count",
      "cpu_util",
      "pm_size",
      "syscr_count",
      "nice",
    ]);
  });
  it("are flat when all samples are alike, gaps aside", () => {
    expect(isFlat(row("a", "ok", 3, null, 3))).toBe(true);
    expect(isFlat(row("a", "ok", 3, 4))).toBe(false);
    expect(isFlat(row("a", "warn", 3, 3))).toBe(false);
  });
});
