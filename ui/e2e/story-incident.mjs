// The incidents of the story: the open one with its explanation in three versions, a closed one, and what changed before.

const MINUTE = 60_000;

export function incidentStory(now, onset, HOSTS, entities) {
  const { sdb, pgWal, postgres, commit, checkout1, nginx, redis, cpus, walwriter, sda, nic, mem, db } = entities;
  const opened = onset + 18_000;
  // Sentences carry times as machines write them.
  const iso = new Date(onset).toISOString();
  const step = (one, metric, before, after, unit, offset, score, rule) => ({
    entity_id: one.id,
    entity_type: one.type,
    entity_name: one.type === "proc" ? one.labels.comm : one.name.split("/").pop() || "/",
    host_name: one.host_name,
    machine_id: one.machine_id,
    metric_id: metric,
    query: `${metric}{machine_id="${one.machine_id}"}`,
    onset: onset + offset,
    value_before: before,
    value_after: after,
    unit,
    hidden: false,
    rule,
    score,
  });
  const path = [
    step(sdb, "gala_gopher_disk_w_await", 0.9, 46, "ms", 0, 0.91),
    step(pgWal, "gala_gopher_proc_ns_fsync", 1.2, 48, "ms", 400, 0.88, "disk-fs"),
    step(postgres, "gala_gopher_proc_iowait_ns", 0.03, 0.71, "ratio", 1000, 0.83, "fs-proc"),
    step(commit, "gala_gopher_sli_rtt_nsec", 3.8e6, 212e6, "ns", 3000, 0.95, "proc-sli"),
    step(checkout1, "gala_gopher_l7_latency_p99_ns", 41e6, 640e6, "ns", 6000, 0.97, "sli-proc"),
    step(nginx, "gala_gopher_l7_latency_p99_ns", 44e6, 655e6, "ns", 8000, 1, "proc-proc"),
  ];
  const summary = {
    en: `Requests of nginx take 655 ms at p99 since ${iso}, normally 44 ms.`,
    zh: `nginx 的请求 p99 自 ${iso} 起为 655 ms,正常为 44 ms。`,
  };
  const open = {
    id: "f-1",
    state: "open",
    opened_ms: opened,
    onset_ms: onset,
    updated_ms: opened + 162_000,
    closed_ms: null,
    severity: "ERROR",
    scope: "cross_node",
    entity_id: nginx.id,
    entity_name: "nginx",
    metric_id: "gala_gopher_l7_latency_p99_ns",
    summary,
    stage: "final",
    host_name: "edge-1",
    cause: { entity_id: sdb.id, entity_name: "sdb", entity_type: "disk", category: "H1", probability: 0.78 },
  };
  const closed = {
    id: "f-0",
    state: "closed",
    opened_ms: now - 190 * MINUTE,
    onset_ms: now - 191 * MINUTE,
    updated_ms: now - 180 * MINUTE,
    closed_ms: now - 179 * MINUTE,
    severity: "WARN",
    scope: "single_node",
    entity_id: redis.id,
    entity_name: "redis",
    metric_id: "gala_gopher_sli_rtt_nsec",
    host_name: "db-1",
    summary: { en: "Requests of redis take 4.1 ms, normally 0.2 ms.", zh: "redis 的请求耗时 4.1 ms,正常为 0.2 ms。" },
    stage: "final",
    cause: { entity_id: cpus[2].id, entity_name: "cpu 2", entity_type: "cpu", category: "S1", probability: 0.86 },
  };
  const cause = (rank, probability, one, category, en, zh) => ({
    rank,
    probability,
    impact: rank === 1 ? 0.71 : null,
    score: probability,
    keyword: "disk",
    fault_category: category,
    metric_id: "gala_gopher_disk_w_await",
    entity_id: one.id,
    entity_type: one.type,
    entity_name: one.name,
    machine_id: one.machine_id,
    host_name: one.host_name,
    text: { en, zh },
    evidence:
      rank === 1
        ? [
            {
              kind: "metric",
              text: { en: "write wait on sdb rose from 0.9 ms to 46 ms", zh: "sdb 写等待由 0.9 ms 升至 46 ms" },
              value_before: 0.9,
              value_after: 46,
              unit: "ms",
              surprise: 12.1,
              event_id: null,
            },
            { kind: "hardware", text: { en: "3 device errors on sdb", zh: "sdb 报告 3 次设备错误" }, event_id: "e-1" },
          ]
        : [],
    path: rank === 1 ? path : [],
  });
  const considered = (one, metric, probability, en, zh) => ({
    entity_id: one.id,
    entity_type: one.type,
    entity_name: one.name,
    fault_category: "S3",
    metric_id: metric,
    probability,
    impact: 0,
    reason: { en, zh },
  });
  const symptom = (one, metric, source, before, peak, [low, high], unit, score, severity = "ERROR") => ({
    kpi: `${metric}{${one.id}}${source.percent ?? ""}`,
    class: "app",
    entity_id: one.id,
    entity_type: one.type,
    entity_name: one.name,
    process_id: one.type === "proc" ? one.id : null,
    metric,
    unit,
    help: "",
    source,
    falls: false,
    onset_ms: onset + 8000,
    closed_ms: source.kind === "share" ? now - 120_000 : null,
    low,
    high,
    before,
    peak,
    now: peak * 0.96,
    score,
    severity,
  });
  const changed = (offset, kind, pid, program, host) => ({
    ts: onset + offset,
    kind,
    what: "entity",
    id: `${HOSTS[host]}_proc_${pid}`,
    type: "proc",
    name: `${pid}, ${program}, ${host}`,
  });
  const processChanges = [
    changed(-5 * MINUTE, "disappeared", 2198, "checkout", "app-1"),
    changed(-5 * MINUTE, "appeared", 2214, "checkout", "app-1"),
    ...[1, 2, 3].flatMap((index) => [
      changed(-index * MINUTE, "appeared", 7000 + index, "logrotate", "db-1"),
      changed(-index * MINUTE + 5000, "disappeared", 7000 + index, "logrotate", "db-1"),
    ]),
  ];
  const detail = {
    id: "f-1",
    asked: false,
    summary,
    state: "open",
    opened_ms: opened,
    closed_ms: null,
    Timestamp: opened,
    event_id: `${opened}_${nginx.id}`,
    Attributes: {},
    Resource: {
      result_version: 3,
      stage: "final",
      scope: "cross_node",
      onset,
      abnormal_kpi: {
        metric_id: "gala_gopher_l7_latency_p99_ns",
        entity_id: nginx.id,
        entity_type: "proc",
        entity_name: "nginx",
        host_name: "edge-1",
        timestamp: opened,
        metric_labels: {},
        desc: summary.en,
        value_before: 44e6,
        value_after: 655e6,
        unit: "ns",
      },
      fault_domain: { level: "machine", entity_id: db.id, entity_name: "db-1", probability: 0.91, runner_up: "process" },
      fault_category: { code: "H1", name: "disk hardware", probability: 0.83 },
      cause_metrics: [
        cause(
          1,
          0.78,
          sdb,
          "H1",
          "Disk sdb on db-1 stalls; every commit waits for it.",
          "db-1 上的磁盘 sdb 停滞,每次提交都在等待它。",
        ),
        cause(
          2,
          0.09,
          postgres,
          "S3",
          "WAL bytes of `postgres (914)` rose from 1 MiB to 9 MiB",
          "`postgres (914)` 的 WAL 写入由 1 MiB 升至 9 MiB",
        ),
        {
          ...cause(
            3,
            0.04,
            walwriter,
            "S1",
            "CPU use of `stress (4711)` rose from 0 % to 99 %",
            "`stress (4711)` 的 CPU 使用率由 0 % 升至 99 %",
          ),
          entity_name: "stress (4711) +3",
        },
      ],
      also_considered: [
        considered(
          sda,
          "gala_gopher_disk_w_await",
          0.02,
          "`sda`, which holds the data, stayed at 0.8 ms",
          "存放数据的 `sda` 保持 0.8 ms",
        ),
        considered(
          nic,
          "gala_gopher_nic_tx_dropped",
          0,
          "packets dropped by `ens5` stayed in their usual range (0 before, 0 now)",
          "`ens5` 的丢包仍在正常范围内(之前 0,现在 0)",
        ),
        considered(
          mem,
          "gala_gopher_mem_util",
          0,
          "memory use stayed in its usual range (63 % before, 63 % now)",
          "内存使用率仍在正常范围内(之前 63 %,现在 63 %)",
        ),
      ],
      symptoms: [
        symptom(nginx, "gala_gopher_l7_latency_p99_ns", { kind: "quantile", percent: 99 }, 44e6, 655e6, [30e6, 61e6], "ns", 1),
        symptom(nginx, "gala_gopher_l7_latency_avg", { kind: "mean" }, 9e6, 181e6, [6e6, 14e6], "ns", 0.9),
        symptom(nginx, "gala_gopher_l7_err_ratio", { kind: "share" }, 0.0001, 0.018, [0, 0.004], "ratio", 0.6, "WARN"),
        symptom(
          checkout1,
          "gala_gopher_l7_latency_p99_ns",
          { kind: "quantile", percent: 99 },
          41e6,
          640e6,
          [28e6, 58e6],
          "ns",
          0.97,
        ),
        symptom(commit, "gala_gopher_sli_rtt_nsec", { kind: "mean" }, 3.8e6, 212e6, [2e6, 5e6], "ns", 0.95),
      ],
      unknown_probability: 0.07,
      limits: ["SMART data of sdb: the controller hides it", "0.3 % of socket events: buffer full"],
      graph: {
        nodes: path.map((one) => ({
          entity_id: one.entity_id,
          entity_type: one.entity_type,
          metric_id: one.metric_id,
          score: one.score,
          onset: one.onset,
          state: "abnormal",
        })),
        edges: path
          .slice(1)
          .map((one, index) => ({ from: index, to: index + 1, rule: one.rule, kind: "causal", weight: one.score })),
      },
      timing: { domain: 32_000, cause: 56_000, final: 162_000 },
      desc_en: `Write wait on sdb rose from 0.9 ms to 46 ms at ${iso} while its load fell from 410 to 61 writes/s; 94 % of the time is spent in the device. PostgreSQL's log is on it, so COMMIT takes 212 ms and checkout waits with it.`,
      desc: `sdb 写等待于 ${iso} 由 0.9 ms 升至 46 ms,同时负载由 410 降至 61 次/秒;94 % 的时间在设备内。PostgreSQL 的日志位于其上,因此 COMMIT 需 212 ms,checkout 随之等待。`,
    },
    keywords: ["disk"],
    SeverityText: "ERROR",
    SeverityNumber: 17,
    Body: "A cause inferring event for an abnormal event",
  };
  const [first] = detail.Resource.cause_metrics;
  const happened = { ...first, path: [{ ...path[0], metric_id: "virtual_metric", query: null }, ...path.slice(1)] };
  /** The same incident, judged a warning, with a cause that happened and is measured by nothing. */
  const warned = {
    open: { ...open, severity: "WARN" },
    detail: { ...detail, SeverityText: "WARN", SeverityNumber: 13, Resource: { ...detail.Resource, cause_metrics: [happened] } },
  };
  const earlier = (version) =>
    version >= 1 && version < 3
      ? {
          ...detail,
          Resource: {
            ...detail.Resource,
            result_version: version,
            stage: version === 1 ? "domain" : "cause",
            unknown_probability: 0.4,
          },
        }
      : null;
  const closedDetail = {
    ...detail,
    id: closed.id,
    state: "closed",
    summary: closed.summary,
    closed_ms: closed.closed_ms,
    SeverityText: closed.severity,
  };
  return { open, closed, detail, closedDetail, warned, earlier, processChanges };
}
