// A moment: the local clock, UTC on hover; the date leads when it is not today.
import { type ClockOptions, clock, utc } from "../format";
import { useNow } from "../time/useTime";

export function Time({ ms, ...options }: { ms: number } & Omit<ClockOptions, "now">) {
  const now = useNow();
  return (
    <time dateTime={new Date(ms).toISOString()} title={utc(ms)}>
      {clock(ms, { now, ...options })}
    </time>
  );
}
