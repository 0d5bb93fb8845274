import { describe, expect, it } from "vitest";
import { unitOfQuery } from "./unit";

const METADATA = {
  disk_w_await: [{ type: "gauge", unit: "ms" }],
  sli_latency_nsec: [{ type: "histogram", unit: "ns" }],
  tx_bytes: [{ type: "counter", unit: "bytes" }],
  load1: [{ type: "gauge", unit: "" }],
};
const unit = (query: string) => unitOfQuery(query, METADATA);

describe("the unit of a query", () => {
  it("is that of its only metric", () => {
    expect(unit("disk_w_await")).toBe("ms");
    expect(unit('disk_w_await{disk_name="sd-a"}')).toBe("ms");
    expect(unit("topk(5, max by (disk_name) (disk_w_await))")).toBe("ms");
    expect(unit("max_over_time(disk_w_await[5m] offset 1h)")).toBe("ms");
    expect(unit("load1")).toBe("");
  });
  it("is per second of a rate", () => {
    expect(unit("sum by (tgid) (rate(tx_bytes[1m]))")).toBe("bytes/s");
    expect(unit("rate(sli_latency_nsec_sum[1m])")).toBe("ns/s");
    expect(unit("rate(sli_latency_nsec_count[1m])")).toBe("/s");
  });
  it("is that of the bounds for a quantile of a histogram, and a count for its buckets", () => {
    expect(unit("histogram_quantile(0.99, sum by (le) (rate(sli_latency_nsec_bucket[1m])))")).toBe("ns");
    expect(unit("rate(sli_latency_nsec_bucket[1m])")).toBe("/s");
  });
  it("is not known of several metrics, arithmetic, counts, and what nobody describes", () => {
    for (const query of [
      "disk_w_await / 2",
      "rate(sli_latency_nsec_sum[1m]) / rate(sli_latency_nsec_count[1m])",
      "disk_w_await or load1",
      "count(disk_w_await)",
      "disk_w_await > 5",
      "unknown_metric",
      '{__name__=~"disk_.+"}',
      "",
    ])
      expect(unit(query), query).toBeNull();
  });
});
