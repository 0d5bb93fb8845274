import { describe, expect, it } from "vitest";
import { apply, complete, type Known, placeAt } from "./complete";
import { seriesName, toGrid } from "./series";

const KNOWN: Known = {
  metrics: [
    { name: "gala_gopher_disk_w_await", help: "Mean wait of writes", unit: "ms", type: "gauge" },
    { name: "gala_gopher_sli_rtt_nsec", help: "Latency", unit: "ns", type: "histogram" },
  ],
  labels: ["disk_name", "machine_id"],
  values: ["sda", 'we"ird'],
};
const at = (text: string) => {
  const caret = text.indexOf("|");
  return { text: text.replace("|", ""), caret, place: placeAt(text.replace("|", ""), caret) };
};

describe("where the caret stands", () => {
  it.each([
    ["disk|", "expression"],
    ["rate(gala_g|", "expression"],
    ["m{di|", "label"],
    ['m{a="b", di|', "label"],
    ["sum by (di|", "label"],
    ['m{disk_name="s|', "value"],
    ['m{a=~"x|', "value"],
    ['m{a="b"} + gal|', "expression"],
    ["m[5|", "none"],
    ['m{a="b"|', "none"],
  ])("%s is a place for %s", (text, kind) => {
    expect(at(text).place.kind).toBe(kind);
  });
  it("knows the metric and the label", () => {
    expect(at('gala_gopher_disk_w_await{disk_name="s|').place).toMatchObject({
      label: "disk_name",
      metric: "gala_gopher_disk_w_await",
      word: "s",
    });
  });
});

describe("completion", () => {
  it("finds a metric by a part of its name", () => {
    const { text, caret, place } = at("rate(disk_w|");
    const [first] = complete(place, KNOWN);
    expect(first!.text).toBe("gala_gopher_disk_w_await");
    expect(apply(text, caret, place, first!)).toEqual({ text: "rate(gala_gopher_disk_w_await", caret: 29 });
  });
  it("quotes values", () => {
    const { place } = at('m{a="we|');
    expect(complete(place, KNOWN)[0]!.insert).toBe('we\\"ird');
  });
  it("offers nothing when the word is complete", () => {
    expect(complete(at("m{disk_name|").place, KNOWN)).toEqual([]);
  });
});

describe("series", () => {
  it("have their labels in the name", () => {
    expect(seriesName({ __name__: "up", job: "a" })).toBe('up{job="a"}');
    expect(seriesName({ __name__: "up" })).toBe("up");
  });
  it("keep gaps as gaps", () => {
    const grid = toGrid(
      [
        {
          metric: {},
          values: [
            [10, "1"],
            [20, "NaN"],
            [30, "3"],
          ],
        },
        { metric: {}, values: [[20, "5"]] },
      ],
      0,
      40,
      10,
    );
    expect(grid.times).toEqual([0, 10, 20, 30, 40]);
    expect(grid.rows).toEqual([
      [null, 1, null, 3, null],
      [null, null, 5, null, null],
    ]);
  });
});
