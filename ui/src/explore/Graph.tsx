// Many series in one chart, on canvas; the cursor is the one of every chart, drag sets the time, incidents are drawn in.
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Fault } from "../api/types";
import { axisLabels, clock, isDated } from "../format";
import { moveCursor, onCursor } from "../parts/cursor";
import { ofSeverity } from "../parts/state";
import { useTheme } from "../theme";
import { fromDrag } from "../time/time";
import { useTime } from "../time/useTime";

export interface Line {
  name: string;
  /** Null where there is no sample. */
  values: (number | null)[];
}
const HEIGHT = 300;
/** Least width of the labels of values, and what stands beside them. */
const LEAST_AXIS = 24;
const AXIS_SPACE = 12;
/** Between two times on the axis, and between two with their date. */
const TIME_SPACE = 60;
const DATED_SPACE = 100;
const DASHES: number[][] = [[], [5, 2.5], [1.5, 2.5], [8, 3, 2, 3], [3, 1.5], [10, 4]];

export function dashOf(index: number): number[] {
  return DASHES[index % DASHES.length]!;
}

export function Graph({
  times,
  lines,
  hidden,
  from,
  to,
  label,
  unit,
  faults,
}: {
  times: number[];
  lines: Line[];
  hidden: ReadonlySet<string>;
  from: number;
  to: number;
  label: string;
  /** Of the values; empty where it is none or not known. */
  unit: string;
  faults: readonly Fault[];
}) {
  const box = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  const { set } = useTime();
  /** What changes with every answer; the plot stays, and with it the pointer and what is being dragged. */
  const shown = useRef({ times, lines, from, to, faults });
  shown.current = { times, lines, from, to, faults };
  const plotted = useRef<uPlot | null>(null);
  const names = lines.map((line) => line.name).join("\n");
  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn anew when other lines are shown or the theme changes
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const font = `11px ${style.getPropertyValue("--font-sans")}`;
    const axis = { stroke: color("--ink-3"), font, grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
    let told = false;
    const dates = () => ({ now: Date.now(), span: shown.current.to - shown.current.from, brief: true });
    const measured = (u: uPlot, texts: string[]) => {
      u.ctx.save();
      u.ctx.font = font;
      const widest = Math.max(0, ...texts.map((text) => u.ctx.measureText(text).width));
      u.ctx.restore();
      return Math.ceil(widest);
    };
    /** Of the widest label; before there are any, of the least. */
    const widthOf = (u: uPlot, labels: string[] | null) => Math.max(LEAST_AXIS, measured(u, labels ?? [])) + AXIS_SPACE;
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        padding: [unit ? 20 : 8, 4, 0, 0],
        scales: { x: { time: true, range: () => [shown.current.from / 1000, shown.current.to / 1000] } },
        cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false, setScale: false } },
        axes: [
          {
            ...axis,
            size: 26,
            grid: { show: false },
            space: () => (isDated(shown.current.from, shown.current.to, dates()) ? DATED_SPACE : TIME_SPACE),
            values: (u, splits) => {
              const texts = splits.map((at) => clock(at * 1000, { ...dates(), seconds: dates().span < 600_000 }));
              const { from, to } = shown.current;
              const room = (at: number) => ((to / 1000 - at) / ((to - from) / 1000)) * element.clientWidth;
              // One that would be cut off at the right is left out.
              return texts.map((text, index) => (room(splits[index]!) < measured(u, [text]) / 2 ? "" : text));
            },
          },
          { ...axis, size: widthOf, values: (_, splits) => axisLabels(splits) },
        ],
        series: [
          {},
          ...lines.map((line, index) => ({
            label: line.name,
            show: !hidden.has(line.name),
            stroke: lines.length === 1 ? color("--trace") : color(`--series-${(index % 6) + 1}`),
            width: 1.35,
            dash: lines.length === 1 ? [] : dashOf(index),
            spanGaps: false,
            points: { show: false },
          })),
        ],
        hooks: {
          draw: [
            (u) => {
              const { ctx } = u;
              ctx.save();
              ctx.setLineDash([3, 3]);
              const { from, to } = shown.current;
              for (const fault of shown.current.faults) {
                if (fault.onset_ms < from || fault.onset_ms > to) continue;
                ctx.strokeStyle = color(ofSeverity(fault.severity) === "crit" ? "--crit" : "--warn");
                const x = Math.round(u.valToPos(fault.onset_ms / 1000, "x", true));
                ctx.beginPath();
                ctx.moveTo(x, u.bbox.top);
                ctx.lineTo(x, u.bbox.top + u.bbox.height);
                ctx.stroke();
              }
              ctx.restore();
            },
          ],
          setCursor: [
            (u) => {
              if (told) return;
              const { left } = u.cursor;
              moveCursor(left === undefined || left < 0 ? null : u.posToVal(left, "x") * 1000);
            },
          ],
          setSelect: [
            (u) => {
              if (u.select.width < 4) return;
              set(
                fromDrag(
                  u.posToVal(u.select.left, "x") * 1000,
                  u.posToVal(u.select.left + u.select.width, "x") * 1000,
                  Date.now(),
                ),
              );
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
        },
      },
      [times, ...lines.map((line) => line.values)],
      element,
    );
    plotted.current = plot;
    const stop = onCursor((ms) => {
      const { from, to } = shown.current;
      if (element.matches(":hover")) return;
      told = true;
      plot.setCursor(
        ms === null || ms < from || ms > to ? { left: -10, top: -10 } : { left: plot.valToPos(ms / 1000, "x"), top: 10 },
      );
      told = false;
    });
    const watcher = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    watcher.observe(element);
    return () => {
      stop();
      watcher.disconnect();
      plot.destroy();
      plotted.current = null;
    };
  }, [names, hidden, theme, unit, set]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: incidents are drawn with the numbers
  useEffect(() => {
    plotted.current?.setData([times, ...lines.map((line) => line.values)]);
  }, [times, lines, from, to, faults]);
  return (
    <div className="gw">
      {unit ? <span className="tick gu">{unit}</span> : null}
      <div ref={box} className="graph" role="img" aria-label={label} />
    </div>
  );
}
