// The unit of a query's values, where it is of one metric and nothing in it changes what is measured. Pure.

type Metadata = Readonly<Record<string, readonly { type: string; unit: string }[]>>;

/** What gives values of the unit it is given. */
const KEEP = new Set(
  (
    "sum avg min max topk bottomk quantile stddev group_left group_right by without on ignoring offset abs ceil floor round clamp " +
    "clamp_max clamp_min avg_over_time min_over_time max_over_time sum_over_time last_over_time quantile_over_time stddev_over_time " +
    "increase delta idelta sort sort_desc label_replace label_join predict_linear histogram_quantile and or unless bool inf nan"
  ).split(" "),
);
const PER_SECOND = new Set(["rate", "irate", "deriv"]);

/** Null where it is not known. */
export function unitOfQuery(query: string, metadata: Metadata): string | null {
  // Strings, label matchers, ranges and grouping labels hold no metric; a colon in them is no operator.
  const bare = query
    .replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`/g, '""')
    .replace(/\{[^}]*\}/g, "")
    .replace(/\[[^\]]*\]/g, "")
    .replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, "")
    .replace(/\boffset\s+-?\w+/g, "");
  // Arithmetic and comparisons: what is measured afterwards is another thing, or only a truth.
  if (/[-+*/%^=<>]/.test(bare.replace(/\be[-+]\d/gi, ""))) return null;
  const words: string[] = bare.match(/[a-zA-Z_:][\w:]*/g) ?? [];
  let metric: string | null = null;
  let perSecond = false;
  for (const word of words) {
    if (KEEP.has(word.toLowerCase())) continue;
    if (PER_SECOND.has(word)) {
      perSecond = true;
      continue;
    }
    if (metric !== null && metric !== word) return null;
    metric = word;
  }
  if (metric === null) return null;
  const isBucket = metric.endsWith("_bucket");
  const isQuantile = words.includes("histogram_quantile");
  // A bucket counts what fell into it; only its bounds have the unit.
  if (isBucket && !isQuantile) return perSecond ? "/s" : "";
  const unit = unitOfMetric(metric, metadata);
  if (unit === null) return null;
  return perSecond && !isQuantile ? `${unit}/s` : unit;
}

function unitOfMetric(metric: string, metadata: Metadata): string | null {
  const own = metadata[metric]?.[0];
  if (own) return own.unit;
  const [, base, part] = /^(.+)_(bucket|sum|count|max)$/.exec(metric) ?? [];
  if (!base) return null;
  const family = metadata[base]?.[0];
  if (!family) return null;
  return part === "count" ? "" : family.unit;
}
