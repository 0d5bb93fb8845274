import { describe, expect, it } from "vitest";
import type { Health, HostRow } from "../api/types";
import { isBlind, phaseOf, troublesOf } from "./phase";

const health = (uptime_ms: number, warm: number, total: number, status: Health["status"] = "ok"): Health => ({
  status,
  version: "",
  uptime_ms,
  components: { detection: { status: "ok", reason: "", last_ms: 1, kpis: { warm, total, warm_at_ms: null } } },
});

describe("a hub", () => {
  it("starts until it says so, and until the first host", () => {
    expect(phaseOf(health(2000, 0, 0, "starting"), undefined)).toBe("starting");
    expect(phaseOf(health(8000, 0, 30), 0)).toBe("starting");
    expect(phaseOf(health(8000, 0, 30), 1)).toBe("learning");
  });
  it("without a host for long is not starting", () => {
    expect(phaseOf(health(3_600_000, 0, 0), 0)).toBe("running");
  });
  it("learns while few ranges are known in its first minutes", () => {
    expect(phaseOf(health(120_000, 63, 614), 1)).toBe("learning");
    expect(phaseOf(health(27_000, 44, 127), 1)).toBe("learning");
    expect(phaseOf(health(350_000, 120, 127), 1)).toBe("running");
    expect(phaseOf(health(400_000, 400, 614), 1)).toBe("running");
    expect(phaseOf(health(3_600_000, 63, 614), 1)).toBe("running");
  });
  it("that does not answer is said by the error, not by this", () => {
    expect(phaseOf(undefined, 0)).toBe("running");
  });
});

describe("a part", () => {
  it("that is not ok is a trouble, whichever it is", () => {
    const all = health(3_600_000, 12, 12);
    expect(troublesOf(all)).toEqual([]);
    for (const name of ["agent", "store", "topology", "detection", "cause"])
      for (const status of ["degraded", "off", "starting"] as const) {
        const part = { status, reason: "why", last_ms: null };
        expect(troublesOf({ ...all, components: { ...all.components, [name]: part } })).toEqual([[name, part]]);
      }
  });
});

describe("a hub without a host that reports", () => {
  const host = (life: HostRow["life"]) => ({ life }) as HostRow;
  it("watches nothing", () => {
    expect(isBlind([])).toBe(true);
    expect(isBlind([host("offline")])).toBe(true);
    expect(isBlind([host("offline"), host("online")])).toBe(false);
    expect(isBlind([host("suspect")])).toBe(false);
  });
});
