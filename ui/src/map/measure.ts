// Width of text as the picture draws it: system fonts differ by 15 %, so nodes are sized by what stands there.
let context: CanvasRenderingContext2D | null = null;
const known = new Map<string, number>();
const MAX_KNOWN = 20_000;

export function measure(text: string, strong: boolean): number {
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

document.fonts?.addEventListener("loadingdone", () => known.clear());
