// The time bar: how much changed when, incidents under it, the window on it. Click or drag sets the window; arrows move it.
import { useRef, useState } from "react";
import { useChanges, useFaults } from "../api/queries";
import { useStream } from "../api/stream";
import { clock, clockRange, isDated } from "../format";
import { useT } from "../i18n";
import { ofSeverity } from "../parts/state";
import { formatRange, fromDrag, RANGES_MS, ticks, track } from "./time";
import { useTime } from "./useTime";

const HEIGHT = 40;
const BASE = 24.5;

export function TimeBar() {
  const t = useT();
  const time = useTime();
  const { lostSince } = useStream();
  const box = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const { from, to } = track(time, time.now);
  const changes = useChanges(from, to, `${Math.round(to / 30_000)}-${to - from}`);
  const faults = useFaults({ limit: 100 });
  const x = (ms: number) => Math.min(1000, Math.max(0, ((ms - from) / (to - from)) * 1000));
  const density = changes.data?.density ?? [];
  const most = Math.max(4, ...density.map((one) => one.changes));
  const shown = (faults.data?.items ?? []).filter((fault) => (fault.closed_ms ?? to) >= from && fault.onset_ms <= to);
  const window: [number, number] = drag ? [Math.min(...drag), Math.max(...drag)] : [time.from, time.to];

  const timeAt = (clientX: number) => {
    const rect = box.current!.getBoundingClientRect();
    return from + Math.min(1, Math.max(0, (clientX - rect.left) / rect.width)) * (to - from);
  };
  const release = () => {
    if (!drag) return;
    const [start, end] = drag;
    setDrag(null);
    if (Math.abs(end - start) > (to - from) / 200) time.set(fromDrag(start, end, Date.now()));
    else time.set({ rangeMs: time.rangeMs, at: end + time.rangeMs / 2 >= time.now ? null : Math.round(end + time.rangeMs / 2) });
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key === "ArrowLeft") time.step(-1);
    else if (event.key === "ArrowRight") time.step(1);
    else if (event.key === "End") time.set({ ...time, at: null });
    else return;
    event.preventDefault();
  };
  const dates = { now: time.now, span: to - from, brief: true };
  const isLong = isDated(from, to, dates);
  // A time with its date is wider.
  const edge = isLong ? 70 : 25;
  const label = t("time.bar", {
    from: clock(time.from, { now: time.now, span: time.rangeMs }),
    to: clock(time.to, { now: time.now, span: time.rangeMs }),
    incidents: shown.length,
  });

  return (
    <div className="tbar" role="group" aria-label={t("time.group")}>
      <button
        type="button"
        className="pick plain"
        aria-label={t("time.back")}
        title={t("time.back")}
        onClick={() => time.step(-1)}
      >
        ‹
      </button>
      <div
        ref={box}
        className="track"
        role="slider"
        tabIndex={0}
        aria-label={label}
        aria-valuemin={Math.round(from)}
        aria-valuemax={Math.round(to)}
        aria-valuenow={Math.round(time.to)}
        aria-valuetext={clockRange(time.from, time.to, time.now)}
        onKeyDown={onKeyDown}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          const ms = timeAt(event.clientX);
          setDrag([ms, ms]);
          event.currentTarget.setPointerCapture(event.pointerId);
        }}
        onPointerMove={(event) => drag && setDrag([drag[0], timeAt(event.clientX)])}
        onPointerUp={release}
        onPointerCancel={() => setDrag(null)}
      >
        <svg viewBox={`0 0 1000 ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
          <rect x={x(window[0])} y="3" width={Math.max(1, x(window[1]) - x(window[0]))} height="22" className="tb-win" />
          {density.map((one) => {
            const height = (one.changes / most) * 16;
            return <rect key={one.ts} x={x(one.ts)} y={BASE - 0.5 - height} width="5" height={height} className="tb-den" />;
          })}
          <path d={`M0 ${BASE}H1000`} className="tb-base" />
          {shown.map((fault) => (
            <g key={fault.id} className={ofSeverity(fault.severity) === "crit" ? "tb-crit" : "tb-warn"}>
              <path
                d={`M${x(fault.onset_ms)} ${BASE}H${Math.max(x(fault.closed_ms ?? time.now), x(fault.onset_ms) + 3)}`}
                strokeWidth="3"
              />
              <path d={`M${x(fault.onset_ms)} 6V25`} strokeWidth="1.25" strokeDasharray="2 2" />
            </g>
          ))}
          <path d={`M${Math.max(1, x(window[0]))} 3V25M${Math.min(999, x(window[1]))} 3V25`} className="tb-edge" />
        </svg>
        {ticks(from, to, isLong ? 3 : 5).map((tick) =>
          x(tick) > edge && x(tick) < 1000 - edge ? (
            <span key={tick} className="tk" style={{ left: `${x(tick) / 10}%` }}>
              {clock(tick, { ...dates, seconds: false })}
            </span>
          ) : null,
        )}
      </div>
      {time.live ? (
        <span className={`pick plain live ${lostSince === null ? "" : "lost"}`} role="status">
          <i />
          {t("time.now")}
        </span>
      ) : (
        <>
          <button
            type="button"
            className="pick plain"
            aria-label={t("time.forward")}
            title={t("time.forward")}
            onClick={() => time.step(1)}
          >
            ›
          </button>
          <button
            type="button"
            className="pick plain past"
            onClick={() => time.set({ ...time, at: null })}
            title={t("time.to_now")}
          >
            {clock(time.to, { now: time.now })} <b>{t("time.to_now_short")}</b>
          </button>
        </>
      )}
      <label className="pick sel">
        <span className="sr">{t("time.range")}</span>
        <select
          value={time.rangeMs}
          onChange={(event) => time.set({ at: time.at, rangeMs: Number(event.target.value) })}
          aria-label={t("time.range")}
        >
          {(RANGES_MS.includes(time.rangeMs) ? RANGES_MS : [time.rangeMs, ...RANGES_MS]).map((ms) => (
            <option key={ms} value={ms}>
              {formatRange(ms)
                .replace("m", " min")
                .replace("h", " h")
                .replace("d", " d")
                .replace(/(\d)s$/, "$1 s")}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}
