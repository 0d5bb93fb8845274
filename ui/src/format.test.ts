import { describe, expect, it } from "vitest";
import {
  axisLabels,
  beforeAfter,
  clock,
  clockRange,
  cost,
  cutAtTimes,
  duration,
  metricWords,
  num,
  percent,
  plain,
  portion,
  quantity,
  rangeText,
  scaleFor,
  sentence,
  shortId,
  stamp,
  sure,
  withUnit,
  zone,
} from "./format";

describe("numbers", () => {
  it("keep three significant digits and no more", () => {
    expect([0, 0.21, 1.234, 12.34, 655.4, 1284, 1_160_000].map((value) => num(value))).toEqual([
      "0",
      "0.21",
      "1.23",
      "12.3",
      "655",
      "1,284",
      "1,160,000",
    ]);
  });
  it("that are missing are a dash, not a zero", () => {
    expect([null, undefined, Number.NaN, Number.POSITIVE_INFINITY].map((value) => num(value))).toEqual(["–", "–", "–", "–"]);
    expect(withUnit(null, "ns")).toBe("–");
  });
  it("next to nothing is a small number, not a power of ten", () => {
    expect([percent(2.9e-16), percent(0.00005), percent(0.0002)]).toEqual(["< 0.01 %", "< 0.01 %", "0.02 %"]);
    expect([withUnit(2.9e-16, "ratio"), withUnit(1e-9, "%"), withUnit(1e-4, "ns")]).toEqual([
      "< 0.01 %",
      "< 0.01 %",
      "< 0.01 ns",
    ]);
    expect([withUnit(0, "ratio"), withUnit(-1e-12, "bytes")]).toEqual(["0 %", "< 0.01 B"]);
  });
  it("a cost is brief, and not rounded away", () => {
    expect([cost(0.0037), cost(0.016), cost(0.0996)]).toEqual(["0.4 %", "1.6 %", "10 %"]);
  });
  it("a probability is never told as certain", () => {
    expect([0.9997, 1, 0.991, 0.96, 0.042, 0.004, 0].map(sure)).toEqual([
      "> 99 %",
      "> 99 %",
      "> 99 %",
      "96 %",
      "4 %",
      "< 1 %",
      "< 1 %",
    ]);
    expect([sure(null), sure(Number.NaN)]).toEqual(["–", "–"]);
  });
  it("a part is never more than the whole", () => {
    expect([1.02, 1, 0.018, 0, null].map(portion)).toEqual(["100 %", "100 %", "1.8 %", "0 %", "–"]);
  });
  it("almost all is never shown as all", () => {
    expect(percent(0.9999)).toBe("99.9 %");
    expect(percent(1)).toBe("100 %");
    expect(percent(0.0037)).toBe("0.37 %");
  });
});

describe("units", () => {
  it("pick the scale of the value", () => {
    expect(withUnit(655e6, "ns")).toBe("655 ms");
    expect(withUnit(0.9, "ms")).toBe("900 µs");
    expect(withUnit(48 * 2 ** 20, "bytes")).toBe("48 MiB");
    expect(withUnit(0.71, "ratio")).toBe("71 %");
    expect(withUnit(410, "count/s")).toBe("410/s");
    expect(withUnit(6100, "kb/s")).toBe("5.96 MiB/s");
  });
  it("of zero are the smallest", () => {
    expect(scaleFor("ns", 0)).toEqual({ factor: 1, unit: "ns" });
  });
  it("that are unknown stay as they are", () => {
    expect(quantity(3, "jiffies")).toEqual({ text: "3", unit: "jiffies" });
  });
});

describe("times", () => {
  it("show the date only on another day", () => {
    const noon = new Date(2026, 10, 25, 12, 3, 20).getTime();
    expect(clock(noon, { now: noon + 1000 })).toBe("12:03:20");
    expect(clock(noon, { now: noon + 2 * 86_400_000 })).toBe("2026-11-25 12:03:20");
    expect(clock(noon, { seconds: false })).toBe("12:03");
  });
  it("show the date in a window of a day and longer, and briefly on ticks", () => {
    const noon = new Date(2026, 10, 25, 12, 3, 20).getTime();
    expect(clock(noon, { now: noon, span: 86_400_000 })).toBe("2026-11-25 12:03:20");
    expect(clock(noon, { now: noon, span: 3_600_000 })).toBe("12:03:20");
    expect(clock(noon, { span: 7 * 86_400_000, brief: true, seconds: false })).toBe("11-25 12:03");
  });
  it("from here to there say the day once, or not at all when it is today", () => {
    const noon = new Date(2026, 10, 25, 12, 0, 0).getTime();
    expect(clockRange(noon, noon + 60_000, noon)).toBe("12:00:00 – 12:01:00");
    expect(clockRange(noon, noon + 60_000, noon + 3 * 86_400_000)).toBe("2026-11-25 12:00:00 – 12:01:00");
    expect(clockRange(noon, noon + 86_400_000, noon)).toBe("2026-11-25 12:00:00 – 2026-11-26 12:00:00");
  });
  it("durations have at most two parts", () => {
    expect([400, 56_000, 528_000, 3_600_000, 7_500_000, 90_061_000].map((ms) => duration(ms))).toEqual([
      "400 ms",
      "56 s",
      "8 min 48 s",
      "1 h",
      "2 h 5 min",
      "1 d 1 h",
    ]);
  });
});

describe("the zone of the clock", () => {
  it("is said as it is written elsewhere", () => {
    const at = Date.UTC(2026, 10, 26);
    const minutes = -new Date(at).getTimezoneOffset();
    expect(zone(at)).toMatch(minutes === 0 ? /^UTC$/ : /^UTC[+−]\d\d:\d\d$/);
  });
});

describe("times in a sentence", () => {
  const at = new Date(2026, 10, 26, 14, 3, 20).getTime();
  it("are moments, whatever their zone and however near the text", () => {
    expect(cutAtTimes(`rose to 27 ms at ${stamp(at)}.`)).toEqual(["rose to 27 ms at ", at, "."]);
    expect(cutAtTimes("自2026-11-26T14:03:20+08:00起")).toEqual(["自", Date.parse("2026-11-26T06:03:20Z"), "起"]);
    expect(cutAtTimes("2026-11-26 is a day, 14:03:20 a time")).toEqual(["2026-11-26 is a day, 14:03:20 a time"]);
    expect(cutAtTimes("no month 2026-99-26T14:03:20Z")).toEqual(["no month ", "2026-99-26T14:03:20Z"]);
  });
  it("are the local clock where only plain text stands, without markup", () => {
    expect(plain(`**redis** rose at ${stamp(at)}`, at + 5000)).toBe("redis rose at 14:03:20");
    expect(plain(`rose at ${stamp(at)}`, at + 2 * 86_400_000)).toBe("rose at 2026-11-26 14:03:20");
  });
});

describe("labels of an axis", () => {
  it("are short, on one scale", () => {
    expect(axisLabels([0, 2_000_000, 4_000_000])).toEqual(["0", "2000k", "4000k"]);
    expect(axisLabels([0, 10_000_000, 20_000_000])).toEqual(["0", "10M", "20M"]);
    expect(axisLabels([0, 500, 1000])).toEqual(["0", "500", "1000"]);
  });
  it("have as many places as tell two of them apart", () => {
    expect(axisLabels([0, 0.25, 0.5])).toEqual(["0", "0.25", "0.5"]);
    expect(axisLabels([0.1 + 0.2, 0.4])).toEqual(["0.3", "0.4"]);
    expect(axisLabels([1_000_100, 1_000_200])).toEqual(["1000.1k", "1000.2k"]);
    expect(axisLabels([0, 1e-9, 2e-9])).toEqual(["0", "1.0e-9", "2.0e-9"]);
    expect(axisLabels([-5, 0, 5])).toEqual(["-5", "0", "5"]);
  });
});

describe("names", () => {
  it("of metrics lose their prefix and type", () => {
    expect(metricWords("gala_gopher_disk_w_await", "disk")).toBe("W await");
    expect(metricWords("gala_gopher_tcp_link_srtt", "tcp_link")).toBe("SRTT");
  });
  it("of long ids keep both ends", () => {
    const id = "17637338-aaaa-bbbb-cccc-192.0.2.1_sli_914_PG_COMMIT";
    expect(shortId(id, 26)).toHaveLength(26);
    expect(shortId(id, 26).startsWith("17637338")).toBe(true);
    expect(shortId(id, 26).endsWith("COMMIT")).toBe(true);
  });
});

describe("a normal range", () => {
  it("has two ends, or one where the other says nothing", () => {
    expect(rangeText({ lo: 0.5, hi: 1.6 }, { factor: 1, unit: "" })).toBe("0.5–1.6");
    expect(rangeText({ lo: -5.21, hi: 5.21 }, { factor: 10, unit: "" })).toBe("≤ 52.1");
    expect(rangeText({ lo: -5, hi: 5 }, { factor: 1, unit: "" }, true)).toBe("-5–5");
    expect(rangeText({ lo: 3, hi: null }, { factor: 1, unit: "" })).toBe("≥ 3");
    expect(rangeText({ lo: null, hi: null }, { factor: 1, unit: "" })).toBe("–");
    expect(rangeText({ lo: 0, hi: 0.001 }, { factor: 1, unit: "%" })).toBe("< 0.01");
    expect(rangeText({ lo: 0.001, hi: 5 }, { factor: 1, unit: "%" })).toBe("≤ 5");
  });
});

describe("before and after", () => {
  it("stand in one unit, or each in its own when far apart", () => {
    expect(beforeAfter(0.9, 46, "ms")).toEqual(["0.9", "46 ms"]);
    expect(beforeAfter(28_300_000, 4_320_000_000, "ns")).toEqual(["28.3 ms", "4.32 s"]);
    expect(beforeAfter(0, 91.8 * 2 ** 20, "bytes")).toEqual(["0", "91.8 MiB"]);
    expect(beforeAfter(null, 3, "ms")).toEqual(["–", "3 ms"]);
  });
});

describe("a sentence", () => {
  it("has a capital at its start and a stop at its end, of its language", () => {
    expect(sentence("time to sync rose")).toBe("Time to sync rose.");
    expect(sentence("Why?")).toBe("Why?");
    expect(sentence("时延上升")).toBe("时延上升。");
    expect(sentence("  ")).toBe("");
  });
});
