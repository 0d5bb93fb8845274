// Width of text as the picture draws it: system fonts differ by 15 %, so nodes are sized by what stands there. Fonts may come
// after the first picture; then it is measured again.
import { useMemo, useSyncExternalStore } from "react";
import type { Measure } from "./model";

let context: CanvasRenderingContext2D | null = null;
const known = new Map<string, number>();
const MAX_KNOWN = 20_000;
/** Counts fonts that came. */
let epoch = 0;
const listeners = new Set<() => void>();

function measure(text: string, strong: boolean): number {
  const key = `${strong ? 1 : 0}${text}`;
  const hit = known.get(key);
  if (hit !== undefined) return hit;
  context ??= document.createElement("canvas").getContext("2d");
  const family = getComputedStyle(document.documentElement).getPropertyValue("--font-sans") || "sans-serif";
  let width = text.length * 7;
  if (context) {
    context.font = `${strong ? 550 : 400} ${strong ? 12 : 11}px ${family}`;
    width = context.measureText(text).width;
  }
  if (known.size > MAX_KNOWN) known.clear();
  known.set(key, width);
  return width;
}

document.fonts?.addEventListener("loadingdone", () => {
  known.clear();
  epoch++;
  for (const listener of listeners) listener();
});

/** Another function after fonts came, so that what was laid out with it is laid out again. */
export function useMeasure(): Measure {
  const now = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => epoch,
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new function is the point
  return useMemo(() => (text, strong) => measure(text, strong), [now]);
}
