import { describe, expect, it } from "vitest";
import type { Change } from "../api/types";
import { groupChanges } from "./changes";

const change = (ts: number, kind: Change["kind"], pid: number, program: string): Change => ({
  ts,
  kind,
  what: "entity",
  id: `m_proc_${pid}`,
  type: "proc",
  name: `${pid}, ${program}, host-a`,
});

describe("changes before an incident", () => {
  const rows = groupChanges(
    [
      change(5, "appeared", 1, "curl"),
      change(6, "disappeared", 1, "curl"),
      change(9, "appeared", 2, "curl"),
      change(9, "disappeared", 2, "curl"),
      change(3, "appeared", 3, "backup"),
      change(1, "appeared", 4, "stress"),
      change(2, "appeared", 5, "stress"),
    ],
    new Set(["m_proc_4"]),
  );
  it("are told by program: those of the answer, then those that stayed, then the rest", () => {
    expect(rows.map((row) => row.program)).toEqual(["stress", "backup", "curl"]);
  });
  it("are counted, and lead to the process of the answer", () => {
    expect(rows[0]).toMatchObject({ started: 2, ended: 0, id: "m_proc_4", last_ms: 2 });
    expect(rows[2]).toMatchObject({ started: 2, ended: 2, id: "m_proc_2", last_ms: 9 });
  });
});
