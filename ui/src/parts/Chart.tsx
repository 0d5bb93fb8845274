// The small chart of every page: ink until judged, normal band, onset, annotations, one cursor for all, drag sets the time.
import { useEffect, useMemo, useRef } from "react";
import type { Point } from "../api/types";
import { clock, plain, withUnit } from "../format";
import { useT } from "../i18n";
import { fromDrag } from "../time/time";
import { useTime } from "../time/useTime";
import { moveCursor, onCursor } from "./cursor";
import { Time } from "./Time";
import { domainOf, gapOf, lines, splitAt, valueAt, xOf, yOf } from "./trace";
import { useTwin } from "./twin";

export interface Mark {
  ms: number;
  text: string;
}

export interface ChartProps {
  series: readonly { label: string; points: readonly Point[] }[];
  from: number;
  to: number;
  height: number;
  /** What it shows, for those who do not see it. */
  label: string;
  /** Of the points, as the metric has it; where they are shown each has its own scale. */
  unit?: string;
  band?: { lo: number; hi: number } | null;
  onset?: number | null;
  /** The step's own onset where another one is drawn as the line. */
  tick?: number | null;
  state?: "crit" | "warn" | "ok" | "na";
  marks?: readonly Mark[];
  limit?: number;
  log?: boolean;
  stepMs?: number;
}

const DASHES = ["", "s2", "s3", "s4", "s5", "s6"];
/** A label each fits under the others from here on. */
const MAX_LABELS = 4;

export function Chart(props: ChartProps) {
  const { series, from, to, height, label, band, onset, tick, state = "ok", marks = [], limit, unit = "", stepMs } = props;
  const t = useT();
  const time = useTime();
  const twin = useTwin();
  const box = useRef<HTMLDivElement>(null);
  const line = useRef<HTMLSpanElement>(null);
  const tip = useRef<HTMLSpanElement>(null);
  const drag = useRef<number | null>(null);
  const judged = state === "crit" || state === "warn" ? `judged-${state}` : "";
  const span = to - from;
  const shade = useRef<HTMLSpanElement>(null);

  const domain = useMemo(
    () =>
      domainOf(
        series.map((one) => [...one.points]),
        { band: band ?? null, log: props.log, ...(limit === undefined ? {} : { limit }) },
      ),
    [series, band, limit, props.log],
  );
  const drawn = useMemo(() => {
    const judged = onset !== null && onset !== undefined && (state === "crit" || state === "warn") && series.length === 1;
    return series.slice(0, 6).flatMap((one, index) => {
      const gap = stepMs ? gapOf(one.points, stepMs) : Number.POSITIVE_INFINITY;
      const name = series.length > 1 ? `l s${index + 1} ${DASHES[index]}` : "l";
      if (!judged) return lines(one.points, from, to, domain, height, gap).map((points) => ({ name, points }));
      const [before, after] = splitAt(one.points, onset);
      return [
        ...lines(before, from, to, domain, height, gap).map((points) => ({ name: "l", points })),
        ...lines(after, from, to, domain, height, gap).map((points) => ({ name: state === "warn" ? "l wrn" : "l bad", points })),
      ];
    });
  }, [series, from, to, domain, height, onset, state, stepMs]);

  useEffect(
    () =>
      onCursor((ms) => {
        const cursor = line.current;
        const text = tip.current;
        if (!cursor || !text) return;
        if (ms === null || ms < from || ms > to) {
          cursor.style.opacity = "0";
          text.style.opacity = "0";
          return;
        }
        const share = (ms - from) / (to - from);
        cursor.style.left = `${share * 100}%`;
        cursor.style.opacity = "1";
        const values = series.slice(0, MAX_LABELS).map((one) => {
          const value = valueAt(one.points, ms, stepMs ? gapOf(one.points, stepMs) : 60_000);
          const shown = withUnit(value, unit);
          return series.length > 1 ? `${one.label} ${shown}` : shown;
        });
        text.textContent = `${clock(ms, { now: Date.now(), span })}  ${values.join(" · ")}`;
        text.style.opacity = "1";
        text.style.left = share > 0.6 ? "auto" : `calc(${share * 100}% + 6px)`;
        text.style.right = share > 0.6 ? `calc(${(1 - share) * 100}% + 6px)` : "auto";
      }),
    [series, from, to, span, unit, stepMs],
  );

  const timeAt = (clientX: number) => {
    const rect = box.current!.getBoundingClientRect();
    return from + Math.min(1, Math.max(0, (clientX - rect.left) / rect.width)) * (to - from);
  };
  const move = (event: React.PointerEvent) => {
    const ms = timeAt(event.clientX);
    moveCursor(ms);
    if (drag.current !== null && shade.current) {
      const [a, b] = [drag.current, ms].sort((x, y) => x - y) as [number, number];
      shade.current.style.left = `${xOf(a, from, to) / 10}%`;
      shade.current.style.width = `${(xOf(b, from, to) - xOf(a, from, to)) / 10}%`;
    }
  };
  const release = (event: React.PointerEvent) => {
    const start = drag.current;
    drag.current = null;
    if (shade.current) shade.current.style.width = "0";
    if (start === null) return;
    const end = timeAt(event.clientX);
    const minimum = (to - from) / 100;
    if (Math.abs(end - start) > minimum) time.set(fromDrag(start, end, Date.now()));
  };

  if (twin) return <ChartTable {...props} />;
  return (
    <div
      ref={box}
      className={`ch ${judged}`}
      style={{ height }}
      onPointerMove={move}
      onPointerLeave={() => moveCursor(null)}
      onPointerDown={(event) => {
        if (event.button !== 0 || event.pointerType === "touch") return;
        drag.current = timeAt(event.clientX);
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerUp={release}
    >
      <svg viewBox={`0 0 1000 ${height}`} preserveAspectRatio="none" role="img" aria-label={label}>
        {band ? (
          <rect
            className="nb"
            x="0"
            y={yOf(band.hi, domain, height)}
            width="1000"
            height={Math.max(2, yOf(band.lo, domain, height) - yOf(band.hi, domain, height))}
          />
        ) : null}
        <path className="ax" d={`M0 ${height}H1000`} />
        {limit === undefined ? null : <path className="lim" d={`M0 ${yOf(limit, domain, height)}H1000`} />}
        {marks
          .filter((mark) => mark.ms >= from && mark.ms <= to)
          .map((mark) => (
            <path key={`${mark.ms}${mark.text}`} className="an" d={`M${xOf(mark.ms, from, to)} 0V${height}`}>
              <title>{`${clock(mark.ms, { now: time.now, span })} ${plain(mark.text, time.now)}`}</title>
            </path>
          ))}
        {onset && onset >= from && onset <= to ? <path className="on" d={`M${xOf(onset, from, to)} -4V${height}`} /> : null}
        {tick && tick >= from && tick <= to ? (
          <path className="otk" d={`M${xOf(tick, from, to)} ${height - 6}V${height + 4}`} />
        ) : null}
        {drawn.map((one, index) => (
          <polyline key={index} className={one.name} points={one.points} />
        ))}
      </svg>
      {drawn.length === 0 ? <span className="nodata">{t("chart.none")}</span> : null}
      <span ref={shade} className="dragged" />
      <span ref={line} className="cur" />
      <span ref={tip} className="curtip" aria-hidden="true" />
    </div>
  );
}

/** Rows of the table that stands for a chart. */
const MAX_ROWS = 9;

/** The same as a table: moments of the window, the newest last, as many as can be read. */
function ChartTable({ series, label, unit = "", from, to }: ChartProps) {
  const t = useT();
  const shown = series.slice(0, MAX_LABELS);
  const inside = (shown[0]?.points ?? []).filter(([ms, value]) => ms >= from && ms <= to && value !== null);
  const every = Math.max(1, (inside.length - 1) / (MAX_ROWS - 1));
  const count = Math.min(MAX_ROWS, inside.length);
  const times = Array.from({ length: count }, (_, index) => inside[Math.round(index * every)]?.[0]).filter(
    (ms) => ms !== undefined,
  );
  if (times.length === 0) return <p className="dim">{t("chart.none")}</p>;
  return (
    <table className="tt" aria-label={label}>
      <thead>
        <tr>
          <th scope="col">{t("chart.time")}</th>
          {shown.map((one) => (
            <th key={one.label} scope="col" className="num">
              {shown.length > 1 && one.label ? one.label : t("chart.value")}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {times.map((ms) => (
          <tr key={ms}>
            <td>
              <Time ms={ms} span={to - from} brief />
            </td>
            {shown.map((one) => (
              <td key={one.label} className="num">
                {withUnit(valueAt(one.points, ms, 0), unit)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A line without axes beside a number. */
export function Spark({ points, width = 72, height = 18 }: { points: readonly Point[]; width?: number; height?: number }) {
  if (points.length < 2) return <svg width={width} height={height} aria-hidden="true" />;
  const from = points[0]![0];
  const to = points[points.length - 1]![0];
  const domain = domainOf([[...points]], { zero: "always" });
  return (
    <svg width={width} height={height} viewBox={`0 0 1000 ${height}`} preserveAspectRatio="none" aria-hidden="true">
      {lines(points, from, to, domain, height - 2).map((line, index) => (
        <polyline key={index} className="l" points={line} transform="translate(0,1)" />
      ))}
    </svg>
  );
}
