import { describe, expect, it } from "vitest";
import type { Point } from "../api/types";
import { domainOf, gapOf, lines, mainSeries, splitAt, valueAt, yOf } from "./trace";

const DOMAIN = { low: 0, high: 10, log: false };

describe("a line", () => {
  it("ends at a gap and begins after it", () => {
    const points: Point[] = [
      [0, 1],
      [1, 2],
      [2, null],
      [3, 4],
      [4, 5],
    ];
    expect(lines(points, 0, 4, DOMAIN, 100)).toEqual(["0,90 250,80", "750,60 1000,50"]);
  });
  it("ends where samples are missing", () => {
    expect(
      lines(
        [
          [0, 1],
          [1, 1],
          [9, 1],
          [10, 1],
        ],
        0,
        10,
        DOMAIN,
        100,
        3,
      ),
    ).toHaveLength(2);
  });
  it("of a series that reports seldom has no gaps between its samples", () => {
    const points: Point[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((ms) => [ms, ms % 3 === 0 ? 1 : null]);
    expect(gapOf(points, 1)).toBeCloseTo(5.1);
    expect(lines(points, 0, 9, DOMAIN, 100, gapOf(points, 1))).toHaveLength(1);
    const missing: Point[] = points.map(([ms, value]) => [ms, ms === 3 ? null : value]);
    expect(lines(missing, 0, 9, DOMAIN, 100, gapOf(missing, 1))).toHaveLength(2);
  });
  it("of one sample is still seen", () => {
    expect(lines([[5, 5]], 0, 10, DOMAIN, 100)[0]!.split(" ")).toHaveLength(2);
  });
  it("is ink before the onset and judged after, joined", () => {
    const [before, after] = splitAt(
      [
        [0, 1],
        [5, 1],
        [10, 9],
      ],
      7,
    );
    expect(before).toEqual([
      [0, 1],
      [5, 1],
    ]);
    expect(after).toEqual([
      [5, 1],
      [10, 9],
    ]);
  });
});

describe("the range", () => {
  it("holds the normal band", () => {
    const domain = domainOf(
      [
        [
          [0, 5],
          [1, 6],
        ],
      ],
      { band: { lo: 1, hi: 9 } },
    );
    expect(domain.low).toBeLessThanOrEqual(1);
    expect(domain.high).toBeGreaterThanOrEqual(9);
  });
  it("is not stretched by a band far above what happened", () => {
    const points: Point[][] = [
      [
        [0, 2],
        [1, 6],
      ],
    ];
    expect(domainOf(points, { band: { lo: 0, hi: 9000 } }).high).toBeLessThan(30);
    expect(domainOf(points, { band: { lo: 0, hi: 9 }, limit: 100 }).high).toBeGreaterThanOrEqual(100);
  });
  it("is logarithmic only when values span much and are above zero", () => {
    expect(
      domainOf(
        [
          [
            [0, 1],
            [1, 100],
          ],
        ],
        { log: true },
      ).log,
    ).toBe(true);
    expect(
      domainOf(
        [
          [
            [0, 0],
            [1, 100],
          ],
        ],
        { log: true },
      ).log,
    ).toBe(false);
    expect(
      domainOf(
        [
          [
            [0, 80],
            [1, 100],
          ],
        ],
        { log: true },
      ).log,
    ).toBe(false);
  });
  it("of a constant has a height", () => {
    const domain = domainOf(
      [
        [
          [0, 7],
          [1, 7],
        ],
      ],
      {},
    );
    expect(yOf(7, domain, 100)).toBeGreaterThan(0);
    expect(yOf(7, domain, 100)).toBeLessThan(100);
  });
});

describe("the series that stands for a metric", () => {
  it("is the highest quantile, else the first", () => {
    expect(mainSeries([{ label: "p50" }, { label: "p99" }])?.label).toBe("p99");
    expect(mainSeries([{ label: "sda" }, { label: "sdb" }])?.label).toBe("sda");
    expect(mainSeries([])).toBeUndefined();
  });
});

describe("the value under the cursor", () => {
  it("is the one before it, if not too old", () => {
    const points: Point[] = [
      [0, 1],
      [10, 2],
      [20, null],
    ];
    expect(valueAt(points, 15, 10)).toBe(2);
    expect(valueAt(points, 25, 10)).toBeNull();
    expect(valueAt(points, -1, 10)).toBeNull();
  });
});
