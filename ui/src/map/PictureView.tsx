// A topology picture: trays or bands, relations, the path from cause to symptom, nodes. Drag pans, ctrl and wheel or + and -
// zoom, arrows move between nodes, Enter chooses.
import { useEffect, useId, useMemo, useRef, useState } from "react";
import { useT } from "../i18n";
import { stateShape } from "../parts/state";
import { labels, type PlacedNode } from "./layout";
import type { Picture, PictureEdge, PictureNode } from "./model";

export interface PictureProps {
  picture: Picture;
  label: string;
  bands?: boolean;
  trayTitle?: (group: string) => string;
  selected: string | null;
  showPath: boolean;
  showRates?: boolean;
  onSelect: (node: PictureNode) => void;
  onHover?: (node: PictureNode | null) => void;
  onEdge?: (edge: PictureEdge) => void;
  /** Moves this node into the middle when it changes. */
  center?: string | null;
  minHeight?: number;
}

interface View {
  scale: number;
  x: number;
  y: number;
}
const MIN_SCALE = 0.2;
const MAX_SCALE = 4;
/** A picture is not drawn smaller than this to fit; it is panned instead. */
const LEAST_FIT = 0.62;

export function PictureView(props: PictureProps) {
  const { picture, label, selected, showPath, showRates, onSelect, onHover, onEdge, center, minHeight = 320 } = props;
  const t = useT();
  const id = useId().replace(/[^a-zA-Z0-9]/g, "");
  const svg = useRef<SVGSVGElement>(null);
  const [size, setSize] = useState({ width: 560, height: minHeight });
  const [view, setView] = useState<View | null>(null);
  const [focus, setFocus] = useState<string | null>(null);
  const [hover, setHover] = useState<string | null>(null);
  const drag = useRef<{ x: number; y: number; view: View } | null>(null);
  /** Whether the pointer was dragged since it went down: the click at its end chooses nothing. */
  const moved = useRef(false);
  const { placed } = picture;

  useEffect(() => {
    const box = svg.current?.parentElement;
    if (!box) return;
    const watcher = new ResizeObserver(() =>
      setSize((old) => (box.clientWidth === old.width ? old : { ...old, width: box.clientWidth })),
    );
    watcher.observe(box);
    return () => watcher.disconnect();
  }, []);

  const fit = Math.min(1.15, Math.max(LEAST_FIT, size.width / placed.width));
  const natural: View = { scale: fit, x: Math.max(0, (size.width - placed.width * fit) / 2), y: 0 };
  const height = Math.max(minHeight, Math.min(props.bands ? 1400 : 900, placed.height * fit + 6));
  const now = view ?? natural;

  // biome-ignore lint/correctness/useExhaustiveDependencies: a refresh of the same picture must not move it
  useEffect(() => {
    if (!center) {
      setView(null);
      return;
    }
    const node = placed.nodes.get(center);
    const fits = placed.width * fit <= size.width + 1 && placed.height * fit <= height + 1;
    if (!node || fits) setView(null);
    else
      setView({
        scale: fit,
        x: size.width / 2 - (node.x + node.width / 2) * fit,
        y: Math.min(0, height / 2 - (node.y + node.height / 2) * fit),
      });
  }, [center, size.width, placed.width, placed.height]);

  const zoom = (factor: number, atX = size.width / 2, atY = height / 2) =>
    setView((old) => {
      const from = old ?? natural;
      const scale = Math.min(MAX_SCALE, Math.max(MIN_SCALE, from.scale * factor));
      const k = scale / from.scale;
      return { scale, x: atX - (atX - from.x) * k, y: atY - (atY - from.y) * k };
    });

  useEffect(() => {
    const element = svg.current;
    if (!element) return;
    const onWheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const rect = element.getBoundingClientRect();
      zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - rect.left, event.clientY - rect.top);
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  });

  const order = [...picture.nodes].sort((a, b) => {
    const [one, two] = [placed.nodes.get(a.id)!, placed.nodes.get(b.id)!];
    return one.y - two.y || one.x - two.x;
  });
  const entry =
    focus && placed.nodes.has(focus) ? focus : selected && placed.nodes.has(selected) ? selected : (order[0]?.id ?? null);
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key === "+" || event.key === "=") zoom(1.2);
    else if (event.key === "-") zoom(1 / 1.2);
    else if (event.key === "0") setView(null);
    else if (event.key.startsWith("Arrow") && entry) {
      const next = nearest(entry, event.key, placed.nodes);
      if (next) {
        setFocus(next);
        document.getElementById(`${id}-${order.findIndex((node) => node.id === next)}`)?.focus();
      }
    } else return;
    event.preventDefault();
  };
  const related = hover;
  const byId = useMemo(() => new Map(picture.edges.map((edge) => [edge.id, edge])), [picture]);
  const shownLabels = useMemo(() => {
    const wanted = picture.edges.filter(
      (edge) => edge.label && !edge.gone && (showRates || edge.from === related || edge.to === related),
    );
    return labels(placed, new Map(wanted.map((edge) => [edge.id, edge.label])));
  }, [picture, placed, showRates, related]);

  return (
    <div className="picbox">
      <svg
        ref={svg}
        className={`pic ${drag.current ? "dragging" : ""}`}
        height={height}
        role="group"
        aria-label={label}
        onKeyDown={onKeyDown}
        onPointerDown={(event) => {
          moved.current = false;
          if (event.button === 0) drag.current = { x: event.clientX, y: event.clientY, view: now };
        }}
        onPointerMove={(event) => {
          const start = drag.current;
          if (!start) return;
          const [dx, dy] = [event.clientX - start.x, event.clientY - start.y];
          if (!moved.current && Math.hypot(dx, dy) < 4) return;
          moved.current = true;
          setView({ ...start.view, x: start.view.x + dx, y: start.view.y + dy });
        }}
        onPointerUp={() => {
          drag.current = null;
        }}
        onPointerLeave={() => {
          drag.current = null;
        }}
      >
        <defs>
          <marker
            id={`a${id}`}
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="8"
            markerHeight="8"
            markerUnits="userSpaceOnUse"
            orient="auto-start-reverse"
          >
            <path className="ah" d="M0 .8 7.4 4 0 7.2Z" />
          </marker>
          <marker
            id={`p${id}`}
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="9"
            markerHeight="9"
            markerUnits="userSpaceOnUse"
            orient="auto"
          >
            <path className="ahp" d="M0 .8 7.4 4 0 7.2Z" />
          </marker>
        </defs>
        <g transform={`translate(${now.x},${now.y}) scale(${now.scale})`}>
          {placed.trays.map((tray, index) =>
            props.bands ? (
              <g key={tray.group}>
                {index % 2 === 0 ? <rect className="strip" x="0" y={tray.y} width={tray.width} height={tray.height} /> : null}
                <text x="10" y={tray.y + 22} className="t2">
                  {t(`band.${tray.group as "application" | "process" | "system" | "resource" | "host"}`)}
                </text>
              </g>
            ) : (
              <g key={tray.group}>
                <rect className="strip" x={tray.x} y={tray.y} width={tray.width} height={tray.height} rx="10" />
                {props.trayTitle ? (
                  <text x={tray.x + tray.width - 12} y={tray.y + 18} className="t2" textAnchor="end">
                    {props.trayTitle(tray.group)}
                  </text>
                ) : null}
              </g>
            ),
          )}
          {placed.edges.map((line, index) => {
            const edge = picture.edges[index]!;
            const lit = related !== null && (edge.from === related || edge.to === related);
            return (
              <path
                key={edge.id}
                className={`e ${edge.gone ? "dash" : ""} ${lit ? "lit" : ""}`}
                d={line.d}
                markerEnd={`url(#a${id})`}
                markerStart={edge.directed ? undefined : `url(#a${id})`}
              />
            );
          })}
          {showPath
            ? picture.path.map((line) => <path key={line.id} className="p" d={line.d} markerEnd={`url(#p${id})`} />)
            : null}
          {shownLabels.map((one) => {
            const edge = byId.get(one.id)!;
            return (
              <g key={one.id} className={onEdge ? "elab" : undefined}>
                <rect className="lbg" x={one.x - one.width / 2} y={one.y} width={one.width} height="15" rx="3" />
                {/* biome-ignore lint/a11y/noStaticElementInteractions: the table twin holds the same links for the keyboard */}
                <text
                  x={one.x}
                  y={one.y + 11}
                  className="t2"
                  textAnchor="middle"
                  onClick={onEdge ? () => !moved.current && onEdge(edge) : undefined}
                >
                  {one.text}
                </text>
              </g>
            );
          })}
          {order.map((node, index) => (
            <NodeView
              key={node.id}
              domId={`${id}-${index}`}
              node={node}
              at={placed.nodes.get(node.id)!}
              selected={node.id === selected}
              showPath={showPath}
              tabIndex={node.id === entry ? 0 : -1}
              onClick={() => {
                if (!moved.current) onSelect(node);
                moved.current = false;
              }}
              onSelect={() => onSelect(node)}
              onHover={(on) => {
                setHover(on ? node.id : null);
                onHover?.(on ? node : null);
              }}
              onFocus={() => {
                setFocus(node.id);
                setView((old) => inSight(placed.nodes.get(node.id)!, old ?? natural, size.width, height) ?? old);
                onHover?.(node);
              }}
            />
          ))}
        </g>
      </svg>
      <div className="zoom" role="group" aria-label={t("map.zoom")}>
        <button type="button" className="btn" onClick={() => zoom(1.25)} aria-label={t("map.zoom_in")}>
          +
        </button>
        <button type="button" className="btn" onClick={() => zoom(1 / 1.25)} aria-label={t("map.zoom_out")}>
          −
        </button>
        {view ? (
          <button type="button" className="btn" onClick={() => setView(null)}>
            {t("map.fit")}
          </button>
        ) : null}
      </div>
    </div>
  );
}

interface NodeProps {
  domId: string;
  node: PictureNode;
  at: PlacedNode;
  selected: boolean;
  showPath: boolean;
  tabIndex: number;
  onClick: () => void;
  /** By key. */
  onSelect: () => void;
  onHover: (on: boolean) => void;
  onFocus: () => void;
}

function NodeView({ domId, node, at, selected, showPath, tabIndex, onClick, onSelect, onHover, onFocus }: NodeProps) {
  const t = useT();
  const bad = node.state === "crit" || node.state === "warn";
  const numbered = showPath && node.number !== null;
  const classes = [
    selected ? "sel" : showPath && node.cause ? "cause" : numbered || node.state === "crit" ? "hit" : "",
    node.state === "crit" && !numbered ? "judged-crit" : "",
    node.state === "gone" ? "gone" : "",
    node.fold ? "fold" : "",
    bad ? "once" : "",
  ];
  const words = [
    node.name,
    node.sub,
    node.count > 1 ? t("map.fold", { count: node.count }) : "",
    t(`state.${node.state}`),
    numbered ? t("map.step", { step: node.steps }) : "",
    node.note,
  ];
  const mid = (at.height - (node.note ? 15 : 0)) / 2;
  const count = node.count > 1;
  const badge = 12 + 6 * node.steps.length;
  const markX = at.width - 20 - (count ? 32 : 0);
  return (
    <g
      id={domId}
      className={`node ${classes.filter(Boolean).join(" ")}`}
      transform={`translate(${at.x},${at.y})`}
      role="button"
      tabIndex={tabIndex}
      aria-pressed={selected}
      onClick={onClick}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        onSelect();
      }}
      onPointerEnter={() => onHover(true)}
      onPointerLeave={() => onHover(false)}
      onFocus={onFocus}
    >
      <title>{[words.filter(Boolean).join(", "), node.entity?.id].filter(Boolean).join("\n")}</title>
      <rect className="box" width={at.width} height={at.height} rx="6" />
      <path className="ick" transform={`translate(9,${mid - 7})`} d={node.icon} />
      <text x="30" y={node.sub ? mid - 2 : mid + 4.3} className="t1">
        {node.name}
      </text>
      {node.sub ? (
        <text x="30" y={mid + 13} className="t2">
          {node.sub}
        </text>
      ) : null}
      {node.note ? (
        <text x="30" y={at.height - 9} className="tc">
          {node.note}
        </text>
      ) : null}
      {count ? (
        <>
          <rect x={at.width - 36} y={mid - 8} width="28" height="16" rx="8" className="pill" />
          <text x={at.width - 22} y={mid + 4} className="t2" textAnchor="middle">
            {node.count}
          </text>
        </>
      ) : null}
      {bad ? (
        <g className={`dm ${node.state}`} transform={`translate(${markX},${mid - 5}) scale(.83)`}>
          {stateShape(node.state)}
        </g>
      ) : null}
      {numbered ? (
        <>
          <rect className="bd" x={-badge / 2} y="-9" width={badge} height="18" rx="9" />
          <text y="4" className="bdt">
            {node.steps}
          </text>
        </>
      ) : null}
    </g>
  );
}

/** Beside a node that has the focus. */
const SIGHT = 12;

/** The view moved as little as shows the node; null where it is seen already. */
export function inSight(node: PlacedNode, view: View, width: number, height: number): View | null {
  const by = (from: number, to: number, room: number) => {
    if (from < 0 || to - from > room) return SIGHT - from;
    return to > room ? room - SIGHT - to : 0;
  };
  const [left, top] = [view.x + node.x * view.scale, view.y + node.y * view.scale];
  const dx = by(left, left + node.width * view.scale, width);
  const dy = by(top, top + node.height * view.scale, height);
  return dx === 0 && dy === 0 ? null : { ...view, x: view.x + dx, y: view.y + dy };
}

/** The node nearest in the direction of an arrow key; sideways distance counts double. */
export function nearest(from: string, key: string, nodes: ReadonlyMap<string, PlacedNode>): string | null {
  const a = nodes.get(from)!;
  const [ax, ay] = [a.x + a.width / 2, a.y + a.height / 2];
  let best: string | null = null;
  let cost = Number.POSITIVE_INFINITY;
  for (const [id, b] of nodes) {
    if (id === from) continue;
    const [dx, dy] = [b.x + b.width / 2 - ax, b.y + b.height / 2 - ay];
    const along = key === "ArrowLeft" ? -dx : key === "ArrowRight" ? dx : key === "ArrowUp" ? -dy : dy;
    const across = key === "ArrowLeft" || key === "ArrowRight" ? Math.abs(dy) : Math.abs(dx);
    if (along <= 4) continue;
    if (along + 2 * across < cost) {
      cost = along + 2 * across;
      best = id;
    }
  }
  return best;
}
