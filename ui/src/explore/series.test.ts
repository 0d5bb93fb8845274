import { describe, expect, it } from "vitest";
import { toggled } from "./series";

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
