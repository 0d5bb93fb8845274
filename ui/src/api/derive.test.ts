import { describe, expect, it } from "vitest";
import { derive, parts, shows } from "./derive";
import type { EntityMetric, Point } from "./types";

const row = (metric: string, unit: string, series: Record<string, Point[]>, more: Partial<EntityMetric> = {}): EntityMetric => ({
  metric,
  table: "sli",
  help: "",
  unit,
  query: `rate(${metric}[1m])`,
  bad: "up",
  series: Object.entries(series).map(([label, points]) => ({ label, points })),
  normal: null,
  onset_ms: null,
  state: "na",
  ...more,
});

describe("a sum and a count", () => {
  const sum = row(
    "x_nsec_sum",
    "ns/s",
    {
      "": [
        [0, 10],
        [5, 30],
        [10, null],
        [15, 8],
      ],
    },
    { state: "warn", normal: { lo: 1, hi: 2 } },
  );
  const count = row("x_nsec_count", "requests/s", {
    "": [
      [0, 2],
      [5, 3],
      [10, 1],
      [15, 0],
    ],
  });
  const [mean, ...rest] = derive([count, sum]);
  it("become their mean, without the parts", () => {
    expect(rest).toEqual([]);
    expect(mean).toMatchObject({
      metric: "x_nsec",
      unit: "ns",
      state: "warn",
      query: "rate(x_nsec_sum[1m])\n/\nrate(x_nsec_count[1m])",
    });
  });
  it("have no mean where nothing happened or nothing was seen", () => {
    expect(mean!.series[0]!.points).toEqual([
      [0, 5],
      [5, 10],
      [10, null],
      [15, null],
    ]);
  });
  it("lose the range of the sum, which is not the mean's", () => {
    expect(mean!.normal).toBeNull();
  });
  it("are found under the names of their parts", () => {
    expect(parts("x_nsec").every((name) => shows(mean!, name))).toBe(true);
    expect(shows(mean!, "y_nsec_sum")).toBe(false);
  });
});

describe("other numbers", () => {
  it("stay, also a sum whose count is missing", () => {
    const rows = [row("a_total", "1/s", { "": [] }), row("b_sum", "ns/s", { "": [] })];
    expect(derive(rows)).toEqual(rows);
  });
  it("of quantiles are times, not rates", () => {
    expect(derive([row("latency_nsec", "ns/s", { p50: [], p99: [] })])[0]!.unit).toBe("ns");
    expect(derive([row("bytes_total", "bytes/s", { p1: [], sda: [] })])[0]!.unit).toBe("bytes/s");
  });
});
