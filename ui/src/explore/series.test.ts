import { describe, expect, it } from "vitest";
import { seriesName, sharedLabels, toggled } from "./series";

describe("names of lines", () => {
  const [a, b] = ["GET", "SET"].map((method) => ({ metric: { __name__: "x_total", host: "h", method } }));
  it("are what tells one from another; what all have alike stands once", () => {
    const shared = sharedLabels([a!, b!]);
    expect(shared).toEqual({ host: "h" });
    expect(seriesName(a!.metric, shared)).toBe('x_total{method="GET"}');
  });
  it("are whole where there is one", () => {
    expect(sharedLabels([a!])).toEqual({});
    expect(seriesName(a!.metric)).toBe('x_total{host="h", method="GET"}');
  });
});

describe("lines hidden in a graph", () => {
  const lines = ["a", "b", "c"].map((name) => ({ name }));
  const none = new Set<string>();
  it("are known by name, whatever place they have", () => {
    expect([...toggled(none, lines, "b", false)]).toEqual(["b"]);
    expect([...toggled(new Set(["b"]), [...lines].reverse(), "b", false)]).toEqual([]);
  });
  it("are all but one, and none at the second time", () => {
    const alone = toggled(none, lines, "b", true);
    expect([...alone]).toEqual(["a", "c"]);
    expect([...toggled(alone, lines, "b", true)]).toEqual([]);
    expect([...toggled(alone, lines, "a", true)]).toEqual(["b", "c"]);
  });
});
