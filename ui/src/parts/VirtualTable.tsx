// A table of thousands: only the rows in sight are in the page. A grid, so that columns keep their width while rows come and go.
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useRef, useState } from "react";

export interface Column<T> {
  head: ReactNode;
  /** A grid track, e.g. `120px`, `minmax(160px, 1fr)`. */
  width: string;
  num?: boolean;
  cell: (row: T) => ReactNode;
}

const ROW_PX = 32;

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
  const virtual = useWindowVirtualizer({ count: rows.length, estimateSize: () => ROW_PX, overscan: 12, scrollMargin: offset });
  const template = columns.map((column) => column.width).join(" ");
  return (
    <div className="scroll vt" tabIndex={0} role="region" aria-label={label}>
      <div role="table" aria-label={label} aria-rowcount={rows.length + 1}>
        <div role="rowgroup">
          <div role="row" aria-rowindex={1} className="vth" style={{ gridTemplateColumns: template }}>
            {columns.map((column, index) => (
              <span key={index} role="columnheader" className={column.num ? "num" : undefined}>
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
                aria-rowindex={item.index + 2}
                className="vtr"
                style={{ gridTemplateColumns: template, height: ROW_PX, transform: `translateY(${item.start - offset}px)` }}
              >
                {columns.map((column, index) => (
                  <span key={index} role="cell" className={column.num ? "num" : undefined}>
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
