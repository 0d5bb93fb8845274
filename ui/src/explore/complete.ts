// Completion of PromQL where the caret stands. Pure; what is known comes from the caller.

export interface Known {
  metrics: readonly { name: string; help: string; unit: string; type: string }[];
  labels: readonly string[];
  values: readonly string[];
}
export interface Option {
  text: string;
  note: string;
  kind: "metric" | "label" | "value" | "function" | "keyword";
  /** Put in place of the word; the caret goes to its end. */
  insert: string;
}
export type Place =
  | { kind: "expression"; word: string; from: number }
  | { kind: "label"; word: string; from: number; metric: string | null }
  | { kind: "value"; word: string; from: number; label: string; metric: string | null }
  | { kind: "none" };

export const FUNCTIONS = (
  "abs absent absent_over_time avg_over_time ceil changes clamp clamp_max clamp_min count_over_time day_of_month day_of_week days_in_month delta deriv double_exponential_smoothing exp floor " +
  "histogram_quantile hour idelta increase irate label_join label_replace last_over_time ln log10 log2 max_over_time min_over_time minute month predict_linear present_over_time quantile_over_time " +
  "rate resets round scalar sgn sort sort_desc sqrt stddev_over_time stdvar_over_time sum_over_time time timestamp vector year"
).split(" ");
export const AGGREGATIONS = "sum avg min max count stddev stdvar topk bottomk quantile count_values group".split(" ");
const KEYWORDS = "by without on ignoring group_left group_right offset bool and or unless".split(" ");
const MOST = 12;

/** What is being written at the caret. */
export function placeAt(text: string, caret: number): Place {
  const before = text.slice(0, caret);
  let quote: string | null = null;
  let brace = -1;
  let quoteAt = -1;
  let grouping = -1;
  for (let index = 0; index < before.length; index++) {
    const char = before[index]!;
    if (quote !== null) {
      if (char === "\\") index++;
      else if (char === quote) quote = null;
      continue;
    }
    if (char === '"' || char === "'" || char === "`") {
      quote = char;
      quoteAt = index;
    } else if (char === "{") brace = index;
    else if (char === "}") brace = -1;
    else if (char === "(" && /\b(by|without|on|ignoring|group_left|group_right)\s*$/.test(before.slice(0, index)))
      grouping = index;
    else if (char === ")") grouping = -1;
  }
  const metric = brace >= 0 ? (/([a-zA-Z_:][\w:]*)\s*$/.exec(before.slice(0, brace))?.[1] ?? null) : null;
  if (quote !== null) {
    if (brace < 0) return { kind: "none" };
    const label = /([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*$/.exec(before.slice(brace + 1, quoteAt))?.[1];
    return label ? { kind: "value", word: before.slice(quoteAt + 1), from: quoteAt + 1, label, metric } : { kind: "none" };
  }
  const word = /[a-zA-Z_:][\w:]*$/.exec(before)?.[0] ?? "";
  const from = caret - word.length;
  if (brace >= 0) {
    const lead = before.slice(brace + 1, from).trimEnd();
    return lead === "" || lead.endsWith(",") ? { kind: "label", word, from, metric } : { kind: "none" };
  }
  if (grouping >= 0) return { kind: "label", word, from, metric: null };
  if (/\[[^\]]*$/.test(before) || /\d[a-z]*$/.test(before)) return { kind: "none" };
  return { kind: "expression", word, from };
}

/** Better first: starts with it, a part starts with it, holds it. */
function rank(name: string, word: string): number {
  const low = name.toLowerCase();
  const sought = word.toLowerCase();
  if (low === sought) return 0;
  if (low.startsWith(sought)) return 1;
  if (low.replace(/^gala_gopher_/, "").startsWith(sought)) return 2;
  if (low.includes(`_${sought}`)) return 3;
  return low.includes(sought) ? 4 : -1;
}

export function complete(place: Place, known: Known): Option[] {
  if (place.kind === "none") return [];
  const out: (Option & { rank: number })[] = [];
  const add = (text: string, note: string, kind: Option["kind"], insert = text, weight = 0) => {
    const r = rank(text, place.word);
    if (r >= 0) out.push({ text, note, kind, insert, rank: r + weight });
  };
  if (place.kind === "expression") {
    if (place.word === "") return [];
    for (const metric of known.metrics)
      add(metric.name, [metric.help, metric.unit && `(${metric.unit})`].filter(Boolean).join(" "), "metric");
    for (const name of FUNCTIONS) add(name, "", "function", `${name}(`, 0.5);
    for (const name of AGGREGATIONS) add(name, "", "function", `${name}(`, 0.5);
    for (const name of KEYWORDS) add(name, "", "keyword", `${name} `, 1);
  } else if (place.kind === "label") for (const name of known.labels) add(name, "", "label");
  else for (const value of known.values) add(value, "", "value", value.replace(/\\/g, "\\\\").replace(/"/g, '\\"'));
  return out
    .sort((a, b) => a.rank - b.rank || a.text.length - b.text.length || (a.text < b.text ? -1 : 1))
    .slice(0, MOST)
    .filter((one, _, all) => !(all.length === 1 && one.insert === place.word));
}

export function apply(text: string, caret: number, place: Place, option: Option): { text: string; caret: number } {
  if (place.kind === "none") return { text, caret };
  const next = text.slice(0, place.from) + option.insert + text.slice(caret);
  return { text: next, caret: place.from + option.insert.length };
}
