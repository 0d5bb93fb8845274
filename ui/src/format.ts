// Numbers, units and times as people read them. Pure; the language only changes words, never digits.

const DASH = "–";

/** Three significant digits, thousands separated, no exponent below 10^12. */
export function num(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e12 || size < 1e-6) return value.toExponential(1).replace("e+", "e");
  if (size >= 10 ** (digits - 1)) return Math.round(value).toLocaleString("en-US");
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return String(Number(value.toFixed(Math.min(places, 8))));
}

export interface Scale {
  factor: number;
  unit: string;
}

const TIME: [number, string][] = [
  [60e9, "min"],
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
  [1, "ns"],
];
const BYTES: [number, string][] = [
  [2 ** 40, "TiB"],
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
  [1, "B"],
];

const TIME_UNITS: Record<string, number> = {
  ns: 1,
  nsec: 1,
  us: 1e3,
  µs: 1e3,
  usec: 1e3,
  ms: 1e6,
  msec: 1e6,
  s: 1e9,
  sec: 1e9,
  seconds: 1e9,
};
const BYTE_UNITS: Record<string, number> = {
  bytes: 1,
  byte: 1,
  b: 1,
  kb: 1024,
  kib: 1024,
  mb: 2 ** 20,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

/** How values of a unit are best shown when the largest is `max`. A rate keeps its "/s". */
export function scaleFor(unit: string, max: number): Scale {
  const rate = /\/(s|sec|second)$/.test(unit) ? "/s" : "";
  const base = unit.replace(/\/(s|sec|second)$/, "").trim();
  const size = Math.abs(max);
  const key = base.toLowerCase();
  if (key in TIME_UNITS) {
    const from = TIME_UNITS[key]!;
    const [step, name] = TIME.find(([step]) => size * from >= step) ?? TIME[TIME.length - 1]!;
    if (rate) return step >= 1e9 ? { factor: from / 1e9, unit: "s/s" } : { factor: from / step, unit: `${name}/s` };
    return { factor: from / step, unit: name };
  }
  if (key in BYTE_UNITS) {
    const from = BYTE_UNITS[key]!;
    const [step, name] = BYTES.find(([step]) => size * from >= step) ?? BYTES[BYTES.length - 1]!;
    return { factor: from / step, unit: name + rate };
  }
  if (key === "ratio") return { factor: 100, unit: `%${rate}` };
  if (key === "percent" || key === "%") return { factor: 1, unit: `%${rate}` };
  if (key === "count" || key === "" || key === "bool" || key === "number" || key === "1") return { factor: 1, unit: rate };
  return { factor: 1, unit: base + rate };
}

/** A single value with its unit. */
export function quantity(value: number | null | undefined, unit: string): { text: string; unit: string } {
  if (value === null || value === undefined || !Number.isFinite(value)) return { text: DASH, unit: "" };
  const scale = scaleFor(unit, value);
  return { text: scaled(value, scale), unit: scale.unit };
}

/** A value on a scale, without its unit. */
export function scaled(value: number | null | undefined, scale: Scale): string {
  if (value === null || value === undefined) return DASH;
  const shown = value * scale.factor;
  const least = LEAST[scale.unit];
  return least !== undefined && shown !== 0 && Math.abs(shown) < least ? `< ${least}` : num(shown);
}
/** Less than this of a unit that has no smaller one is what a subtraction leaves, not what somebody measured. */
const LEAST: Readonly<Record<string, number>> = { "%": 0.01, ns: 0.01, B: 0.01 };

export function withUnit(value: number | null | undefined, unit: string): string {
  const { text, unit: shown } = quantity(value, unit);
  return shown ? `${text}${shown.startsWith("/") ? "" : " "}${shown}` : text;
}

const SI: [number, string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** Labels of an axis: one scale for all, as many places as tell two of them apart. */
export function axisLabels(values: readonly number[]): string[] {
  const most = Math.max(0, ...values.map(Math.abs));
  const [size, name] = SI.find(([step]) => most >= step * 10) ?? [1, ""];
  const steps = values.slice(1).map((value, index) => Math.abs(value - values[index]!) / size);
  const step = Math.min(...steps.filter((one) => one > 0));
  const places = Number.isFinite(step) ? placesOf(step) : 2;
  return values.map((value) => {
    if (value === 0) return "0";
    const text = places > MOST_PLACES ? (value / size).toExponential(1) : String(Number((value / size).toFixed(places)));
    return text + name;
  });
}
/** More places than this are written as powers of ten. */
const MOST_PLACES = 6;

/** Places after the point that a round step needs: 0.25 needs two. */
function placesOf(step: number): number {
  for (let places = 0; places <= MOST_PLACES; places++) {
    const scaled = step * 10 ** places;
    if (scaled > 0.5 && Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled) return places;
  }
  return MOST_PLACES + 1;
}

/** A normal range in words. Below zero nothing is normal for what is never negative, so only the upper end counts there;
 * next to zero neither is. */
export function rangeText(range: { lo: number | null; hi: number | null }, scale: Scale, isSigned = false): string {
  const shown = (value: number | null) => scaled(value, scale);
  const isTiny = (value: number | null) => shown(value).startsWith("<");
  const isNoEnd = range.lo !== null && !isSigned && (range.lo <= 0 || (isTiny(range.lo) && range.hi !== null));
  const lo = isNoEnd ? null : range.lo;
  if (lo === null && range.hi === null) return "–";
  if (lo === null) return isTiny(range.hi) ? shown(range.hi) : `≤ ${shown(range.hi)}`;
  if (range.hi === null) return `≥ ${shown(lo)}`;
  return `${shown(lo)}–${shown(range.hi)}`;
}

/** Two values as they are best compared: on one scale, or each on its own when they are far apart. */
export function beforeAfter(before: number | null, after: number | null, unit: string): [string, string] {
  const [small, large] = [Math.abs(before ?? 0), Math.abs(after ?? 0)].sort((a, b) => a - b) as [number, number];
  const isFar = small > 0 && large / small > FAR;
  if (isFar || before === null || after === null) return [withUnit(before, unit), withUnit(after, unit)];
  const scale = scaleFor(unit, large);
  return [scaled(before, scale), `${scaled(after, scale)} ${scale.unit}`.trimEnd()];
}
/** Values this many times apart read badly in one unit. */
const FAR = 100;

export function percent(ratio: number | null | undefined, digits = 2): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return DASH;
  const value = ratio * 100;
  if (value > 0 && value < LEAST["%"]!) return `< ${LEAST["%"]} %`;
  if (value > 99 && value < 100) return `${(Math.floor(value * 10) / 10).toFixed(1)} %`;
  return `${num(value, digits)} %`;
}

/** A probability: never certain, never impossible, whatever it is rounded to. */
export function sure(probability: number | null | undefined): string {
  if (probability === null || probability === undefined || !Number.isFinite(probability)) return DASH;
  if (probability > 0.99) return "> 99 %";
  if (probability < 0.01) return "< 1 %";
  return `${num(probability * 100, probability < 0.095 ? 1 : 2)} %`;
}

/** A part of a whole: counters read at two moments may give a little more than all of it. */
export function portion(ratio: number | null | undefined): string {
  return percent(ratio === null || ratio === undefined ? ratio : Math.min(1, Math.max(0, ratio)));
}

/** What the agent costs, briefly: to a tenth of a percent, and never rounded by more than a twentieth. */
export function cost(ratio: number): string {
  return percent(ratio, ratio < 0.01 ? 1 : 2);
}

export function bytes(value: number | null | undefined): string {
  return withUnit(value, "bytes");
}

const pad = (value: number, width = 2) => String(value).padStart(width, "0");

const DAY_MS = 86_400_000;

export interface ClockOptions {
  seconds?: boolean;
  /** Given: the date leads when the moment is on another day than this. */
  now?: number;
  /** Length of the window the moment stands in: from a day on a time alone could be of any day. */
  span?: number;
  /** Month and day without the year, for ticks. */
  brief?: boolean;
}

/** Local clock; the date leads when it is not today, or when the window is longer than a day. */
export function clock(ms: number, options: ClockOptions = {}): string {
  const date = new Date(ms);
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}${options.seconds === false ? "" : `:${pad(date.getSeconds())}`}`;
  if (!isDated(ms, ms, options)) return time;
  const day = `${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${options.brief ? day : `${date.getFullYear()}-${day}`} ${time}`;
}

/** Whether times from here to there need their date. */
export function isDated(from: number, to: number, options: { now?: number; span?: number }): boolean {
  if (options.span !== undefined && options.span >= DAY_MS) return true;
  return options.now !== undefined && !(isSameDay(from, options.now) && isSameDay(to, options.now));
}

const isSameDay = (a: number, b: number) => new Date(a).toDateString() === new Date(b).toDateString();

/** The zone of the clock: times are shown in it, and whoever is told one may live in another. */
export function zone(ms: number): string {
  const minutes = -new Date(ms).getTimezoneOffset();
  const size = Math.abs(minutes);
  const sign = minutes < 0 ? "−" : "+";
  return minutes === 0 ? "UTC" : `UTC${sign}${pad(Math.floor(size / 60))}:${pad(size % 60)}`;
}

/** From one moment to another: the date once where both are of the same day, not at all where that is today. */
export function clockRange(from: number, to: number, now: number): string {
  if (isSameDay(from, to)) return `${clock(from, { now })} – ${clock(to)}`;
  return `${clock(from, { span: DAY_MS })} – ${clock(to, { span: DAY_MS })}`;
}

/** Times in a sentence of the hub: RFC 3339. */
const TIMES = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))/;

/** A sentence cut at its times: text and moments in turn. */
export function cutAtTimes(text: string): (string | number)[] {
  return text
    .split(TIMES)
    .map((part, index) => {
      const ms = index % 2 === 1 ? Date.parse(part) : Number.NaN;
      return Number.isNaN(ms) ? part : ms;
    })
    .filter((part) => part !== "");
}

/** A moment as sentences carry it; shown as the local clock wherever the sentence is. */
export function stamp(ms: number): string {
  return new Date(ms).toISOString();
}

/** A sentence without markup and with local times, where only plain text can stand. */
export function plain(text: string, now: number): string {
  return cutAtTimes(text.replace(/\*\*|!!|`/g, ""))
    .map((part) => (typeof part === "number" ? clock(part, { now }) : part))
    .join("");
}

export function utc(ms: number): string {
  return `${new Date(ms).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

export interface DurationWords {
  d: string;
  h: string;
  min: string;
  s: string;
  ms: string;
}
const WORDS: DurationWords = { d: "d", h: "h", min: "min", s: "s", ms: "ms" };

/** Two largest parts: `8 min 48 s`, `2 h 5 min`. */
export function duration(ms: number, words: DurationWords = WORDS): string {
  if (!Number.isFinite(ms)) return DASH;
  const size = Math.abs(ms);
  if (size < 1000) return `${Math.round(size)} ${words.ms}`;
  const seconds = Math.floor(size / 1000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86400), words.d],
    [Math.floor(seconds / 3600) % 24, words.h],
    [Math.floor(seconds / 60) % 60, words.min],
    [seconds % 60, words.s],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  return parts
    .slice(first, first + 2)
    .filter(([count], index) => index === 0 || count > 0)
    .map(([count, word]) => `${count} ${word}`)
    .join(" ");
}

/** Middle of a long id left out, so that both ends can be compared. */
export function shortId(id: string, keep = 26): string {
  if (id.length <= keep) return id;
  const head = Math.ceil(keep * 0.35);
  return `${id.slice(0, head)}…${id.slice(id.length - (keep - head - 1))}`;
}

const ACRONYMS = new Set([
  "cpu",
  "io",
  "tcp",
  "udp",
  "rtt",
  "srtt",
  "fd",
  "rss",
  "tx",
  "rx",
  "vm",
  "pm",
  "gc",
  "dns",
  "psi",
  "mc",
  "tc",
  "sli",
  "rcu",
  "irq",
]);

/** Stands beside the value anyway. */
const UNIT_AT_END = /_(ns|nsec|usec|us|msec|ms|kb|total)$/i;

/** A metric's name for people where the dictionary has none: `gala_gopher_disk_w_await` of a disk becomes `w await`. */
export function metricWords(metric: string, type?: string): string {
  let rest = metric.replace(/^gala_gopher_/, "");
  if (type && rest.startsWith(`${type}_`)) rest = rest.slice(type.length + 1);
  rest = rest.replace(UNIT_AT_END, "") || rest;
  const words = rest.split("_").filter(Boolean);
  const text = words.map((word) => (ACRONYMS.has(word.toLowerCase()) ? word.toUpperCase() : word)).join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export const sentenceCase = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** A sentence as people write one: a capital at its start, a stop at its end. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  const isChinese = /[\u4e00-\u9fff]/.test(trimmed);
  return sentenceCase(/[.!?。!?:]$/.test(trimmed) ? trimmed : `${trimmed}${isChinese ? "。" : "."}`);
}
