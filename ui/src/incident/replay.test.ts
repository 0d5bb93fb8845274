import { describe, expect, it } from "vitest";
import type { EntityMetrics, FaultDetail } from "../api/types";
import { caseFiles, entitiesOf, spanOf, tar } from "./replay";

const ONSET = 1_764_079_203_000;
const detail = {
  id: "f-1",
  closed_ms: ONSET + 60_000,
  Resource: {
    onset: ONSET,
    abnormal_kpi: { entity_id: "m_sli_7", metric_id: "latency" },
    cause_metrics: [
      { entity_id: "m_disk_sdb", path: [{ entity_id: "m_disk_sdb" }, { entity_id: "" }, { entity_id: "m_sli_7" }] },
    ],
    graph: {
      nodes: [{ entity_id: "m_sli_7" }, { entity_id: "m_disk_sdb" }, { entity_id: "m_sli_7" }],
      edges: [
        { from: 1, to: 0 },
        { from: 1, to: 2 },
        { from: 0, to: 2 },
      ],
    },
    also_considered: [{ entity_id: "m_proc_7" }],
    symptoms: [],
  },
} as unknown as FaultDetail;
const span = spanOf(detail, ONSET + 3_600_000);
const answers = new Map([
  [
    "m_sli_7",
    {
      items: [
        {
          metric: "latency",
          series: [
            { label: "p99", points: [[span.from + 200, 3]] },
            { label: 'a,"b"', points: [[span.from + 5000, null]] },
          ],
        },
      ],
    } as unknown as EntityMetrics,
  ],
  ["m_disk_sdb", { items: [] } as unknown as EntityMetrics],
]);

describe("a case", () => {
  it("asks for everything the answer spoke of, each once, what hurts first", () => {
    expect(entitiesOf(detail)).toEqual(["m_sli_7", "m_disk_sdb", "m_proc_7"]);
  });
  it("begins half an hour before the onset and ends after it was over, in whole steps", () => {
    expect(span.from).toBe(1_764_077_400_000);
    expect(span.to).toBe(1_764_079_560_000);
    expect(spanOf({ ...detail, closed_ms: null }, ONSET + 20_000).to).toBe(1_764_079_220_000);
  });
  const files = new Map(caseFiles(detail, span, answers).map((file) => [file.name, file.text]));
  it("says what is normal, what is not, and who may be to blame", () => {
    expect(JSON.parse(files.get("case.json")!)).toEqual({
      case: "f-1",
      interval_s: 5,
      normal: [1_764_077_400, 1_764_079_202],
      anomaly: [1_764_079_203, 1_764_079_560],
      target: { node: "m_sli_7", metric: "latency", statistic: "" },
      candidates: ["m_sli_7", "m_disk_sdb"],
    });
  });
  it("has a column a number and an empty cell where none was seen", () => {
    const [head, first, second] = files.get("metrics.csv")!.split("\n");
    expect(head).toBe('timestamp,m_sli_7|latency|p99,"m_sli_7|latency|a,""b"""');
    expect(first).toBe("1764077400,3,");
    expect(second).toBe("1764077405,,");
  });
  it("has an edge from what depends to what it depends on, each once", () => {
    expect(JSON.parse(files.get("graph.json")!).edges).toEqual([["m_sli_7", "m_disk_sdb"]]);
  });
});

describe("an archive", () => {
  const bytes = tar("incident", [{ name: "a.json", text: "{}\n" }], 1_764_079_203_000);
  const text = (from: number, length: number) => new TextDecoder().decode(bytes.subarray(from, from + length));
  it("holds a header, a block of content and two empty blocks", () => {
    expect(bytes.length).toBe(4 * 512);
    expect(text(0, 15)).toBe("incident/a.json");
    expect(text(124, 11)).toBe("00000000003");
    expect(text(257, 8)).toBe("ustar\x0000");
    expect(text(512, 3)).toBe("{}\n");
  });
  it("has the sum of its header in it", () => {
    const sum = bytes.subarray(0, 512).reduce((all, byte, index) => all + (index >= 148 && index < 156 ? 32 : byte), 0);
    expect(Number.parseInt(text(148, 6), 8)).toBe(sum);
  });
});
