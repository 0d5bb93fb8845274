import { describe, expect, it } from "vitest";
import type { FaultDetail, PathStep } from "../api/types";
import { domainName, faultPath, hurtBy, rangeOf, share, stepName, symptomsOf, takenQuery } from "./read";

const step = (metric_id: string, tgid: string, entity_type = "proc") =>
  ({ metric_id, entity_type, machine_id: "m", metric_labels: { tgid } }) as unknown as PathStep;

describe("CPU time taken from another process", () => {
  const PREEMPTED = "gala_gopher_proc_preempted_ns";
  it("is read where it was missed, by who ran instead", () => {
    expect(takenQuery([step(PREEMPTED, "9"), step("gala_gopher_proc_run_delay_ns", "7")], 0)).toBe(
      'sum(last_over_time(gala_gopher_proc_preempted_ns{machine_id="m",tgid="7",by_tgid="9"}[15s]))',
    );
  });
  it("is nothing a process does to itself, and no other metric", () => {
    expect(takenQuery([step(PREEMPTED, "7"), step("x", "7")], 0)).toBeNull();
    expect(takenQuery([step("x", "9"), step("x", "7")], 0)).toBeNull();
    expect(takenQuery([step(PREEMPTED, "9")], 0)).toBeNull();
  });
});

describe("the address of an incident", () => {
  it("takes the time of one that is over along", () => {
    const fault = { id: "f 1", state: "closed" as const, onset_ms: 0, closed_ms: 3_600_000 };
    expect(faultPath(fault)).toBe("/incidents/f%201?at=3660000&range=66m");
    expect(faultPath({ ...fault, state: "open", closed_ms: null })).toBe("/incidents/f%201");
  });
});

describe("names", () => {
  it("of a step come from its id where none is given", () => {
    expect(stepName({ entity_id: "m_disk_sdb", entity_type: "disk" })).toBe("sdb");
    expect(stepName({ entity_id: "", entity_type: "proc" })).toBe("proc");
  });
  it("of a fault domain come from the path or the host that suffers", () => {
    const detail = (entity_id: string) =>
      ({
        Resource: {
          fault_domain: { level: "machine", entity_id, probability: 1, runner_up: "" },
          abnormal_kpi: { entity_id: "m_sli_7", host_name: "db-1" },
          cause_metrics: [{ entity_id: "m_proc_7", entity_name: "redis (7)", machine_id: "m", host_name: "db-1", path: [] }],
        },
      }) as unknown as FaultDetail;
    expect(domainName(detail("m_host"))).toBe("db-1");
    expect(domainName(detail("m_proc_7"))).toBe("redis (7)");
    expect(domainName(detail("elsewhere"))).toBe("");
  });
});

describe("symptoms", () => {
  const one = (entity_id: string, kind: "app" | "sys", score: number, process_id: string | null) =>
    ({ entity_id, class: kind, score, process_id }) as never;
  const all = [
    one("net", "sys", 1, null),
    one("sli_a", "app", 0.4, "p1"),
    one("sli_b", "app", 0.6, "p1"),
    one("sli_c", "app", 0.5, "p2"),
  ];
  it("begin with what people feel", () => {
    const detail = { Resource: { symptoms: all } } as unknown as FaultDetail;
    expect(symptomsOf(detail).map((row) => row.entity_id)).toEqual(["sli_b", "sli_c", "sli_a", "net"]);
  });
  it("are of services, or of entities where no service is hurt", () => {
    expect(hurtBy(all)).toBe(2);
    expect(hurtBy(all.slice(0, 1))).toBe(1);
  });
  it("give the range of the number that is drawn", () => {
    const symptom = (kind: string, high: number | null, percent?: number) =>
      ({ entity_id: "a", metric: "latency", source: { kind, percent }, low: null, high }) as never;
    const rows = [symptom("mean", 5), symptom("quantile", 9, 90), symptom("quantile", 20, 99)];
    expect(rangeOf(rows, "a", "latency", { label: "p99" })).toEqual({ lo: 0, hi: 20 });
    expect(rangeOf(rows, "a", "latency", { label: "" })).toEqual({ lo: 0, hi: 5 });
    expect(rangeOf(rows, "a", "latency", { label: "p50" })).toBeNull();
    expect(rangeOf([symptom("mean", null)], "a", "latency", undefined)).toBeNull();
  });
});

describe("a probability", () => {
  it("that is almost all is not all, and next to nothing is not nothing", () => {
    expect([0.99966, 0.00034, 1, 0, 0.78, 0.042].map(share)).toEqual([">99", "<1", ">99", "<1", "78", "4"]);
  });
});
