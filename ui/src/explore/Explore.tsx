// Explore: PromQL, as a graph or a table, with time taken and series found. Every query stands in the URL; several make a board.
import { useCallback, useMemo, useState } from "react";
import { useSearchParams } from "react-router";
import { useFaults, useInstantQuery, useMetadata, useRangeQuery } from "../api/queries";
import type { PromResult, PromSeries } from "../api/types";
import { num, scaleFor, stamp } from "../format";
import { useT } from "../i18n";
import { Broken, Empty, Page, Skeleton } from "../parts/page";
import { Rich } from "../parts/rich";
import { switchTwin, useTwin } from "../parts/twin";
import { VirtualTable } from "../parts/VirtualTable";
import { useTime } from "../time/useTime";
import { Editor } from "./Editor";
import { dashOf, Graph, type Line } from "./Graph";
import { seriesName, sharedLabels, toGrid, toggled } from "./series";
import { unitOfQuery } from "./unit";
import "./explore.css";

/** More lines than this say nothing in one picture; the table has them all. */
const MAX_LINES = 60;

export default function Explore() {
  const t = useT();
  const [params, setParams] = useSearchParams();
  const twin = useTwin();
  const queries = params.getAll("q");
  const shown = queries.length === 0 ? [""] : queries;
  const replace = useCallback(
    (change: (old: string[]) => string[]) =>
      setParams((old) => {
        const next = new URLSearchParams(old);
        next.delete("q");
        for (const query of change(old.getAll("q"))) next.append("q", query);
        return next;
      }),
    [setParams],
  );
  const toggle = () => setParams(switchTwin);
  return (
    <Page title={t("page.explore")} className="expp">
      <div className="lh">
        <h1>{t("explore.title")}</h1>
        <div className="tools">
          <span className="grp" role="group" aria-label={t("explore.shown_as")}>
            <button type="button" className="btn" aria-pressed={!twin} onClick={() => twin && toggle()}>
              {t("explore.graph")}
            </button>
            <button type="button" className="btn" aria-pressed={twin} onClick={() => !twin && toggle()}>
              {t("page.table")} <kbd>t</kbd>
            </button>
          </span>
          <button type="button" className="btn" onClick={() => replace((old) => [...(old.length === 0 ? [""] : old), ""])}>
            {t("explore.add")}
          </button>
        </div>
      </div>
      {shown.map((query, index) => (
        <Panel
          key={index}
          query={query}
          only={shown.length === 1}
          twin={twin}
          onRun={(next) => replace((old) => (old.length === 0 ? [next] : old.map((one, at) => (at === index ? next : one))))}
          onClose={() => replace((old) => old.filter((_, at) => at !== index))}
        />
      ))}
    </Page>
  );
}

function Panel({
  query,
  only,
  twin,
  onRun,
  onClose,
}: {
  query: string;
  only: boolean;
  twin: boolean;
  onRun: (query: string) => void;
  onClose: () => void;
}) {
  const t = useT();
  const time = useTime();
  const range = useRangeQuery(query, time, !twin);
  const instant = useInstantQuery(query, time, twin);
  const asked = twin ? instant : range;
  const result = asked.data?.answer.data;
  const count = result ? (Array.isArray(result.result) && typeof result.result[0] !== "number" ? result.result.length : 1) : 0;
  const warnings = asked.data?.answer.warnings ?? [];
  const metadata = useMetadata();
  const unit = useMemo(() => unitOfQuery(query, metadata.data ?? {}) ?? "", [query, metadata.data]);
  return (
    <section className="panel" aria-label={query || t("explore.query")}>
      <div className="ph2">
        <Editor value={query} onRun={onRun} autoFocus={only && query === ""} />
        {only ? null : (
          <button type="button" className="btn" onClick={onClose} aria-label={t("explore.remove")}>
            ×
          </button>
        )}
      </div>
      {query === "" ? (
        <Starters onRun={onRun} />
      ) : asked.isError ? (
        <Broken error={asked.error} retry={asked.refetch} />
      ) : result ? (
        <>
          <p className="lab stat">
            {t("explore.stat", { count: num(count), ms: num(asked.data!.tookMs, 2) })}
            {", "}
            {!twin && range.data ? t("explore.step", { step: range.data.stepS }) : <Rich text={stamp(time.to)} />}
            {warnings.length > 0 ? <span className="warn"> {warnings.join("; ")}</span> : null}
          </p>
          {count === 0 ? (
            <Empty title={t("explore.none")}>{t("explore.none_help")}</Empty>
          ) : twin ? (
            <Values result={result} unit={unit} />
          ) : (
            <Lines
              result={result}
              from={range.data!.from}
              to={range.data!.to}
              stepS={range.data!.stepS}
              query={query}
              unit={unit}
            />
          )}
        </>
      ) : (
        <Skeleton lines={6} />
      )}
    </section>
  );
}

function Lines({
  result,
  from,
  to,
  stepS,
  query,
  unit,
}: {
  result: PromResult;
  from: number;
  to: number;
  stepS: number;
  query: string;
  unit: string;
}) {
  const t = useT();
  const faults = useFaults({ limit: 100 });
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const series = useMemo(() => (Array.isArray(result.result) ? (result.result as PromSeries[]) : []), [result]);
  const grid = useMemo(() => toGrid(series.slice(0, MAX_LINES), from / 1000, to / 1000, stepS), [series, from, to, stepS]);
  const scale = useMemo(() => {
    const most = grid.rows.reduce((all, row) => row.reduce((max: number, value) => Math.max(max, Math.abs(value ?? 0)), all), 0);
    return scaleFor(unit, most);
  }, [grid, unit]);
  const shared = useMemo(() => sharedLabels(series), [series]);
  const lines: (Line & { brief: string })[] = useMemo(
    () =>
      grid.rows.map((values, index) => ({
        name: seriesName(series[index]!.metric),
        brief: seriesName(series[index]!.metric, shared),
        values: values.map((value) => (value === null ? null : value * scale.factor)),
      })),
    [grid, series, scale, shared],
  );
  const marks = useMemo(() => faults.data?.items ?? [], [faults.data]);
  // By name: the next answer may have them in another order, and others.
  const toggle = (name: string, alone: boolean) => setHidden((old) => toggled(old, lines, name, alone));
  return (
    <>
      <Graph
        times={grid.times}
        lines={lines}
        hidden={hidden}
        from={from}
        to={to}
        label={t("explore.graph_label", { query, count: lines.length })}
        unit={scale.unit}
        faults={marks}
      />
      {series.length > MAX_LINES ? (
        <p className="lab">{t("explore.too_many", { shown: MAX_LINES, count: num(series.length) })}</p>
      ) : null}
      {Object.keys(shared).length > 0 ? (
        <p className="lab leg0">
          {t("explore.shared")} <code>{seriesName(shared)}</code>
        </p>
      ) : null}
      <ul className="leg">
        {lines.map((line, index) => {
          const known = line.values.filter((value): value is number => value !== null);
          return (
            <li key={line.name}>
              <button
                type="button"
                aria-pressed={!hidden.has(line.name)}
                title={`${line.name}\n${t("explore.alone")}`}
                onClick={(event) => toggle(line.name, event.shiftKey || event.altKey)}
              >
                <svg width="22" height="8" aria-hidden="true">
                  <path
                    d="M0 4H22"
                    className={lines.length === 1 ? "l" : `l s${(index % 6) + 1}`}
                    strokeDasharray={lines.length === 1 ? undefined : dashOf(index).join(" ")}
                  />
                </svg>
                <code>{line.brief}</code>
                <span className="num">
                  {num(known[known.length - 1])}
                  <span className="u">{scale.unit}</span>
                </span>
                <span className="lab">
                  {t("explore.mean")} {num(known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null)}
                </span>
              </button>
            </li>
          );
        })}
      </ul>
    </>
  );
}

function Values({ result, unit }: { result: PromResult; unit: string }) {
  const t = useT();
  if (result.resultType === "scalar" || result.resultType === "string")
    return <p className="scalar">{String((result.result as [number, string])[1])}</p>;
  const rows = result.result as PromSeries[];
  return (
    <VirtualTable
      label={t("explore.values")}
      rows={rows}
      rowKey={(row) => JSON.stringify(row.metric)}
      columns={[
        {
          head: t("explore.series"),
          width: "minmax(320px, 1fr)",
          narrow: "minmax(0, 1fr)",
          cell: (row) => <code title={seriesName(row.metric)}>{seriesName(row.metric)}</code>,
        },
        {
          head: [t("anomalies.value"), unit].filter(Boolean).join(", "),
          width: "160px",
          narrow: "110px",
          num: true,
          cell: (row) => (row.value ? row.value[1] : (row.values ?? []).map(([, value]) => value).join(" ")),
        },
      ]}
    />
  );
}

const STARTERS = [
  "topk(5, rate(gala_gopher_sli_requests_total[1m]))",
  "gala_gopher_disk_util",
  "topk(10, gala_gopher_proc_cpu_util)",
  'count by (__name__) ({__name__=~"gala_gopher_.+"})',
];

/** An empty page says what can be asked. */
function Starters({ onRun }: { onRun: (query: string) => void }) {
  const t = useT();
  const metadata = useMetadata();
  const count = Object.keys(metadata.data ?? {}).length;
  return (
    <div className="starters">
      <p>
        <b>{t("explore.empty")}</b> {count > 0 ? t("explore.known", { count: num(count) }) : null}
      </p>
      <ul>
        {STARTERS.map((query) => (
          <li key={query}>
            <button type="button" className="lnk mono" onClick={() => onRun(query)}>
              {query}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
