// Metrics in words: names people use for the ones they meet most, and the unit a name implies where an answer leaves it out.
import { metricWords, sentenceCase } from "./format";
import { type Lang, useLang } from "./i18n";
import { METRIC_WORDS, TABLE_WORDS } from "./metricwords";

export function metricName(metric: string, type: string | undefined, lang: Lang): string {
  const pair = METRIC_WORDS[metric.replace(/^gala_gopher_/, "").toLowerCase()];
  if (pair) return pair[lang === "zh" ? 1 : 0];
  const part = /^(.+)_(sum|max)$/.exec(metric);
  if (part) {
    const base = metricName(part[1]!, type, lang);
    const isSum = part[2] === "sum";
    if (lang === "zh") return isSum ? `${base}合计` : `最大${base}`;
    return isSum ? `${base}, summed` : `highest ${base}`;
  }
  return lang === "zh"
    ? metricWords(metric, type)
    : metricWords(metric, type).replace(/^[A-Z](?=[a-z])/, (first) => first.toLowerCase());
}

export function tableName(table: string, lang: Lang): string {
  return TABLE_WORDS[table]?.[lang === "zh" ? 1 : 0] ?? sentenceCase(table.replace(/_/g, " "));
}

export function useMetricName(): (metric: string, type?: string) => string {
  const lang = useLang();
  return (metric, type) => metricName(metric, type, lang);
}
