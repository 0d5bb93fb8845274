// A table of thousands: only the rows in sight are in the page. A grid, so that columns keep their width while rows come and go.
// Arrows up and down move between rows; an open side panel follows.
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type CSSProperties, type ReactNode, useEffect, useRef, useState } from "react";
import { usePanel } from "./panel";

export interface Column<T> {
  head: ReactNode;
  /** A grid track, e.g. `120px`, `minmax(160px, 1fr)`. */
  width: string;
  /** Its track on a narrow screen, if another; null leaves the column out. */
  narrow?: string | null;
  num?: boolean;
  /** Set where the rows stand in the order of this column. */
  sorted?: boolean;
  cell: (row: T) => ReactNode;
}

const ROW_PX = 32;
/** What the frame's bars cover of the window. */
const BARS_PX = 64;

const stopsOf = (row: HTMLElement) => [...row.querySelectorAll<HTMLElement>("a, button")];

export function VirtualTable<T>({
  rows,
  columns,
  rowKey,
  label,
}: {
  rows: readonly T[];
  columns: Column<T>[];
  rowKey: (row: T) => string;
  label: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [offset, setOffset] = useState(0);
  useEffect(() => {
    const measure = () => setOffset((box.current?.getBoundingClientRect().top ?? 0) + window.scrollY);
    measure();
    const watcher = new ResizeObserver(measure);
    watcher.observe(document.body);
    return () => watcher.disconnect();
  }, []);
  const virtual = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => ROW_PX,
    overscan: 12,
    scrollMargin: offset,
    scrollPaddingStart: BARS_PX,
    scrollPaddingEnd: BARS_PX,
  });
  const panel = usePanel();
  /** Row and place in it that get the focus as soon as the row is in the page. */
  const wanted = useRef<{ row: number; place: number } | null>(null);
  useEffect(() => {
    const target = wanted.current;
    const row = target && box.current?.querySelector<HTMLElement>(`[data-row="${target.row}"]`);
    if (!target || !row) return;
    wanted.current = null;
    const stops = stopsOf(row);
    const stop = stops[Math.min(target.place, stops.length - 1)];
    stop?.focus({ preventScroll: true });
    if (panel.id !== null && stop?.dataset.entity) panel.open(stop.dataset.entity, true);
  });
  const [, setMoves] = useState(0);
  const onKeyDown = (event: React.KeyboardEvent) => {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (by === 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const element = event.target as HTMLElement;
    const row = element.closest<HTMLElement>("[data-row]");
    if (!row && element !== event.currentTarget) return;
    const next = row ? Number(row.dataset.row) + by : 0;
    if (next < 0 || next >= rows.length) return;
    event.preventDefault();
    wanted.current = { row: next, place: row ? Math.max(0, stopsOf(row).indexOf(element)) : 0 };
    virtual.scrollToIndex(next, { align: "auto" });
    setMoves((old) => old + 1);
  };
  const tracks = {
    "--tracks": columns.map((column) => column.width).join(" "),
    "--narrow": columns.flatMap(({ narrow, width }) => (narrow === null ? [] : [narrow ?? width])).join(" "),
  } as CSSProperties;
  const classOf = ({ num, narrow }: Column<T>) =>
    [num ? "num" : "", narrow === null ? "wide" : ""].filter(Boolean).join(" ") || undefined;
  return (
    <div className="scroll vt" tabIndex={0} role="region" aria-label={label} onKeyDown={onKeyDown}>
      <div role="table" aria-label={label} aria-rowcount={rows.length + 1} style={tracks}>
        <div role="rowgroup">
          <div role="row" aria-rowindex={1} className="vth">
            {columns.map((column, index) => (
              <span
                key={index}
                role="columnheader"
                aria-sort={column.sorted ? "ascending" : undefined}
                className={classOf(column)}
              >
                {column.head}
              </span>
            ))}
          </div>
        </div>
        <div role="rowgroup" ref={box} style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index]!;
            return (
              <div
                key={rowKey(row)}
                role="row"
                data-row={item.index}
                aria-rowindex={item.index + 2}
                className="vtr"
                style={{ height: ROW_PX, transform: `translateY(${item.start - offset}px)` }}
              >
                {columns.map((column, index) => (
                  <span key={index} role="cell" className={classOf(column)}>
                    {column.cell(row)}
                  </span>
                ))}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
