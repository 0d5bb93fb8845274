// A value against its normal range: the range as a block, the value as a dot, logarithmic; the line between them is the distance.

import { type Judged, judgedClass } from "./state";

const WIDTH = 168;
const PAD = 4;

export function RangeDot({
  now,
  normal,
  span,
  state,
  label,
}: {
  now: number;
  normal: { lo: number | null; hi: number | null };
  /** What the ends stand for, above zero. */
  span: [number, number];
  /** How it is judged; the distance is drawn where it is bad. */
  state: Judged;
  label: string;
}) {
  const [from, to] = [Math.log10(span[0]), Math.log10(span[1])];
  const x = (value: number) =>
    PAD + Math.min(1, Math.max(0, (Math.log10(Math.max(value, span[0])) - from) / (to - from || 1))) * (WIDTH - 2 * PAD);
  const low = normal.lo === null ? PAD : x(normal.lo);
  const high = Math.max(low + 4, normal.hi === null ? WIDTH - PAD : x(normal.hi));
  const bad = state === "crit" || state === "warn";
  const isAbove = normal.hi !== null && now > normal.hi;
  return (
    <svg
      className={bad ? `rd bad ${judgedClass(state)}` : "rd"}
      width={WIDTH}
      height="16"
      viewBox={`0 0 ${WIDTH} 16`}
      role="img"
      aria-label={label}
    >
      <title>{label}</title>
      <path className="a" d={`M${PAD} 8H${WIDTH - PAD}`} />
      <rect className="b" x={low} y="3.5" width={high - low} height="9" rx="1.5" />
      {bad ? <path className="c" d={`M${isAbove ? high : low} 8H${x(now)}`} /> : null}
      <circle className="d" cx={x(now)} cy="8" r="3" />
    </svg>
  );
}
