import { describe, expect, it } from "vitest";
import {
  DEFAULT_RANGE_MS,
  formatRange,
  fromDrag,
  notAhead,
  parseRange,
  parseTime,
  shift,
  stepFor,
  ticks,
  track,
  windowOf,
  writeTime,
} from "./time";

const NOW = 1_764_079_200_000;
const MIN = 60_000;

describe("the time in the URL", () => {
  it("survives a round trip", () => {
    for (const state of [
      { at: null, rangeMs: DEFAULT_RANGE_MS },
      { at: NOW, rangeMs: 3_600_000 },
      { at: NOW - 1, rangeMs: 137_000 },
      { at: null, rangeMs: 7 * 86_400_000 },
    ])
      expect(parseTime(writeTime(new URLSearchParams("layer=host"), state))).toEqual(state);
  });
  it("that has not come is now", () => {
    expect(notAhead({ at: NOW + 1, rangeMs: MIN }, NOW)).toEqual({ at: null, rangeMs: MIN });
    expect(notAhead({ at: NOW, rangeMs: MIN }, NOW)).toEqual({ at: NOW, rangeMs: MIN });
    expect(notAhead({ at: null, rangeMs: MIN }, NOW)).toEqual({ at: null, rangeMs: MIN });
  });
  it("leaves defaults out and other parameters alone", () => {
    expect(writeTime(new URLSearchParams("layer=host&at=5"), { at: null, rangeMs: DEFAULT_RANGE_MS }).toString()).toBe(
      "layer=host",
    );
  });
  it("that is nonsense is now and the default", () => {
    expect(parseTime(new URLSearchParams("at=-3&range=fast"))).toEqual({ at: null, rangeMs: DEFAULT_RANGE_MS });
    expect(parseRange("0s")).toBe(10_000);
  });
  it("is written in the largest whole unit", () => {
    expect([90_000, 900_000, 7_200_000, 86_400_000].map(formatRange)).toEqual(["90s", "15m", "2h", "1d"]);
  });
});

describe("moving", () => {
  it("back stops following now, forward to now follows it again", () => {
    const live = { at: null, rangeMs: 15 * MIN };
    const back = shift(live, -1, NOW);
    expect(back.at).toBe(NOW - 15 * MIN);
    expect(shift(back, 1, NOW + 3000).at).toBeNull();
  });
  it("a dragged window that ends at now follows it", () => {
    expect(fromDrag(NOW - 5 * MIN, NOW - 500, NOW).at).toBeNull();
    expect(fromDrag(NOW - 5 * MIN, NOW - 3 * MIN, NOW)).toEqual({ at: NOW - 3 * MIN, rangeMs: 2 * MIN });
    expect(fromDrag(NOW - 3 * MIN, NOW - 5 * MIN, NOW)).toEqual({ at: NOW - 3 * MIN, rangeMs: 2 * MIN });
  });
  it("a window never ends after now", () => {
    expect(windowOf({ at: NOW + MIN, rangeMs: MIN }, NOW).to).toBe(NOW);
  });
  it("the bar always holds the window", () => {
    for (const state of [
      { at: null, rangeMs: 15 * MIN },
      { at: NOW - 600 * MIN, rangeMs: 180 * MIN },
    ]) {
      const bar = track(state, NOW);
      const window = windowOf(state, NOW);
      expect(bar.from).toBeLessThanOrEqual(window.from);
      expect(bar.to).toBeGreaterThanOrEqual(window.to);
    }
  });
});

describe("steps and ticks", () => {
  it("a step is never finer than the reports", () => {
    expect(stepFor(5 * MIN)).toBe(5000);
    expect(stepFor(15 * MIN)).toBe(5000);
    expect(stepFor(86_400_000)).toBe(600_000);
  });
  it("ticks lie inside on even times", () => {
    const list = ticks(NOW - 60 * MIN, NOW, 5);
    expect(list.length).toBeGreaterThan(1);
    expect(list.length).toBeLessThanOrEqual(6);
    for (const tick of list) expect(tick % (15 * MIN)).toBe(0);
  });
});
