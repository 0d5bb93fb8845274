// How the settings of a probe are read: what starts it, what its range names, and settings as text and back.
import { describe, expect, it } from "vitest";
import { editable, objects, parsed, starting } from "./settings";

describe("settings of a probe", () => {
  it("starts what was set before as it was, and what was never set with all it can do", () => {
    expect(starting({ blacklist: {}, state: "stopped" }, ["a"])).toEqual({ state: "running" });
    expect(starting({}, ["a", "b"])).toEqual({ cmd: { probe: ["a", "b"] }, blacklist: {}, state: "running" });
  });
  it("takes what a refused request leaves for never set", () => {
    const left = { cmd: { bin: "/x", probe: [] }, params: { report_period: 5 }, snoopers: {}, state: "stopped" } as const;
    const config = { ...left, cmd: { bin: "/x", probe: [] } };
    const all = { cmd: { probe: ["a"] }, blacklist: {} };
    expect(starting(config, ["a"])).toEqual({ ...all, state: "running" });
    expect(parsed(editable(config, ["a"]))).toEqual({ config: { ...all, params: { report_period: 5 } } });
    expect(starting({ ...config, snoopers: { proc_id: [7] } }, ["a"])).toEqual({ state: "running" });
  });
  it("names what a range holds", () => {
    expect(objects(undefined)).toEqual([]);
    const range = { proc_id: [7], proc_name: [{ comm: "java", cmdline: "-jar" }], container_name: ["shop"] };
    expect(objects(range)).toEqual(["7", "java (-jar)", "shop"]);
  });
  it("gives what can be sent back", () => {
    const config = { cmd: { bin: "/x", probe: ["a"] }, snoopers: { proc_id: [7] }, state: "running" } as const;
    const text = editable({ ...config, cmd: { bin: "/x", probe: ["a"] }, snoopers: { proc_id: [7] } }, ["b"]);
    expect(parsed(text)).toEqual({ config: { cmd: { probe: ["a"] }, snoopers: { proc_id: [7] } } });
  });
  it("says why a text is none", () => {
    expect(parsed("[]")).toEqual({ error: "" });
    expect(parsed("{")).toHaveProperty("error", expect.stringMatching(/JSON/));
  });
});
