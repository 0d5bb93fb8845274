import { describe, expect, it } from "vitest";
import { Alive, KEEP_ALIVE_MS } from "./alive";

function start() {
  const world = { now: 1_000_000, answers: true, asked: 0, lost: null as number | null };
  const ask = async () => {
    world.asked++;
    if (!world.answers) throw new Error("no answer");
  };
  const alive = new Alive(
    () => world.now,
    ask,
    (since) => {
      world.lost = since;
    },
  );
  return { world, alive };
}

describe("a hub", () => {
  it("that is heard of is not asked", async () => {
    const { world, alive } = start();
    world.now += 2 * KEEP_ALIVE_MS - 1;
    await alive.check();
    expect(world.asked).toBe(0);
  });
  it("that is silent is asked, and is there when it answers", async () => {
    const { world, alive } = start();
    world.now += 2 * KEEP_ALIVE_MS;
    await alive.check();
    expect([world.asked, world.lost]).toEqual([1, null]);
    await alive.check();
    expect(world.asked).toBe(1);
  });
  it("that does not answer is lost since it was last heard of, until it is heard again", async () => {
    const { world, alive } = start();
    const last = world.now;
    world.answers = false;
    world.now += 60_000;
    await alive.check();
    world.now += 5000;
    await alive.check();
    expect([world.asked, world.lost]).toEqual([2, last]);
    alive.heard();
    expect(world.lost).toBeNull();
  });
  it("whose stream is broken is lost until the stream is open, also when it answers", async () => {
    const { world, alive } = start();
    alive.broken(world.now - 4000);
    alive.heard();
    expect(world.lost).toBe(world.now - 4000);
    alive.opened();
    expect(world.lost).toBeNull();
  });
  it("that was silent before its stream broke is lost since the silence", async () => {
    const { world, alive } = start();
    const last = world.now;
    world.answers = false;
    world.now += 60_000;
    await alive.check();
    alive.broken(world.now);
    expect(world.lost).toBe(last);
  });
});
