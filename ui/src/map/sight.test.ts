import { describe, expect, it } from "vitest";
import type { PlacedNode } from "./layout";
import { inSight } from "./PictureView";

const node = (x: number, y: number) => ({ x, y, width: 100, height: 40 }) as PlacedNode;

describe("a node that gets the focus", () => {
  const view = { scale: 1, x: 0, y: 0 };
  it("leaves the view where it is when it is seen", () => {
    expect(inSight(node(20, 20), view, 500, 300)).toBeNull();
  });
  it("is moved into sight, as little as needed, in a view that is zoomed or panned", () => {
    expect(inSight(node(900, 20), { ...view, scale: 2 }, 500, 300)).toEqual({ scale: 2, x: 500 - 12 - 2000, y: 0 });
    expect(inSight(node(20, 20), { ...view, x: -400, y: -80 }, 500, 300)).toEqual({ scale: 1, x: -8, y: -8 });
  });
});
