import { describe, expect, it } from "vitest";
import { selector } from "./selector";

describe("the query of an entity", () => {
  it("names its host and its keys", () => {
    expect(selector({ type: "disk", machine_id: "m-1", labels: { disk_name: "sdb", model: "x" } })).toBe(
      '{__name__=~"gala_gopher_disk_.+",machine_id="m-1",disk_name="sdb"}',
    );
  });
  it("survives quotes in a name", () => {
    expect(selector({ type: "fs", machine_id: "m", labels: { MountOn: '/a "b"' } })).toContain('MountOn="/a \\"b\\""');
  });
});
