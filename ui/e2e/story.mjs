// One story for development and for states no live hub shows on demand: since some minutes the disk sdb under PostgreSQL's
// log on db-1 stalls; checkout and nginx wait with it. Deterministic: the same moment gives the same numbers.

import { hash, noise } from "./noise.mjs";
import { agentStory } from "./story-agent.mjs";
import { incidentStory } from "./story-incident.mjs";
import { nowStory } from "./story-now.mjs";

const MINUTE = 60_000;
const HOSTS = { "edge-1": "e1", "app-1": "a1", "app-2": "a2", "db-1": "d1" };

export function story(now) {
  const onset = now - 8 * MINUTE - 48_000;
  const opened = onset + 18_000;

  const entity = (id, type, name, band, level, host, extra = {}) => ({
    id: `${HOSTS[host]}_${id}`,
    type,
    name,
    band,
    level,
    machine_id: HOSTS[host],
    host_name: host,
    state: "online",
    offline_at: null,
    labels: {},
    badges: { anomalies: 0, severity: null },
    children: {},
    ...extra,
  });
  const bad = (severity = "ERROR") => ({ badges: { anomalies: 1, severity } });
  const proc = (pid, comm, host, extra = {}) =>
    entity(`proc_${pid}`, "proc", `${pid}, ${comm}, ${host}`, "process", "PROCESS", host, {
      labels: { comm, tgid: String(pid), ...(extra.labels ?? {}) },
      ...extra,
    });
  const host = (name, extra) => entity("host", "host", name, "host", "HOST", name, extra);
  const hosts = Object.keys(HOSTS).map((name) => host(name, name === "db-1" ? bad() : {}));
  const nginx = proc(1180, "nginx", "edge-1", bad());
  const checkout1 = proc(2214, "checkout", "app-1", bad());
  const checkout2 = proc(2307, "checkout", "app-2", bad());
  const catalog1 = proc(2230, "catalog", "app-1");
  const catalog2 = proc(2322, "catalog", "app-2");
  const mailer = proc(2351, "mailer", "app-2");
  const gone = proc(2198, "checkout", "app-1", { state: "offline", offline_at: now - 14 * MINUTE });
  const postgres = proc(914, "postgres", "db-1", bad());
  const redis = proc(1042, "redis-server", "db-1");
  const workers = Array.from({ length: 6 }, (_, index) => proc(950 + index, "postgres", "db-1"));
  const others = [..."abcdefgh"].map((letter, index) => proc(3000 + index, `daemon-${letter}`, index % 2 ? "app-1" : "app-2"));
  const processes = [nginx, checkout1, checkout2, catalog1, catalog2, mailer, gone, postgres, redis, ...workers, ...others];

  const app = (name, hostName, extra) =>
    entity(`appinstance_${name}`, "appinstance", name, "application", "PROCESS", hostName, extra);
  const apps = [
    app("nginx", "edge-1", bad()),
    app("checkout", "app-1", bad()),
    app("catalog", "app-1"),
    app("mailer", "app-2"),
    app("postgresql", "db-1", bad()),
    app("redis", "db-1"),
  ];
  const commit = entity("sli_914_14566_POSTGRE_COMMIT", "sli", "COMMIT", "process", "PROCESS", "db-1", {
    ...bad(),
    labels: { app: "POSTGRE", method: "COMMIT", tgid: "914" },
  });
  const links = Array.from({ length: 12 }, (_, index) =>
    entity(
      `tcp_link_914_postgres_server_10.0.2.${index}_5432`,
      "tcp_link",
      `914, 10.0.2.${index}:${40000 + index} → 10.0.3.1:5432`,
      "process",
      "RPC",
      "db-1",
      { labels: { tgid: "914" } },
    ),
  );
  const endpoint = entity("endpoint_tcp_914_5432", "endpoint_tcp", ":5432", "process", "PROCESS", "db-1", {
    labels: { tgid: "914" },
  });
  const walwriter = entity("thread_931", "thread", "walwriter 931", "process", "PROCESS", "db-1", bad("WARN"));
  const pgWal = entity(
    "fs_:var:lib:postgresql:16:main:pg_wal",
    "fs",
    "/var/lib/postgresql/16/main/pg_wal",
    "system",
    "HOST",
    "db-1",
    bad(),
  );
  const fsRoot = entity("fs_:", "fs", "/", "system", "HOST", "db-1");
  const net = entity("net_tcp", "net", "tcp", "system", "HOST", "db-1");
  const sched = entity("sched", "sched", "sched", "system", "HOST", "db-1");
  const sda = entity("disk_sda", "disk", "sda", "resource", "HOST", "db-1");
  const sdb = entity("disk_sdb", "disk", "sdb", "resource", "HOST", "db-1", {
    ...bad(),
    labels: { disk_name: "sdb", model: "virtio-scsi" },
  });
  const sda1 = entity("block_8_1", "block", "sda1", "resource", "HOST", "db-1");
  const sdb1 = entity("block_8_17", "block", "sdb1", "resource", "HOST", "db-1", bad("WARN"));
  const nic = entity("nic_ens5", "nic", "ens5", "resource", "HOST", "db-1");
  const qdisc = entity("qdisc_ens5", "qdisc", "fq_codel", "resource", "HOST", "db-1");
  const mem = entity("mem_mem", "mem", "mem", "resource", "HOST", "db-1");
  const cpus = Array.from({ length: 8 }, (_, index) => entity(`cpu_${index}`, "cpu", `cpu ${index}`, "resource", "HOST", "db-1"));
  const db = hosts[3];
  const all = [
    ...hosts,
    ...apps,
    ...processes,
    commit,
    ...links,
    endpoint,
    walwriter,
    pgWal,
    fsRoot,
    net,
    sched,
    sda,
    sdb,
    sda1,
    sdb1,
    nic,
    qdisc,
    mem,
    ...cpus,
  ];
  const byId = new Map(all.map((one) => [one.id, one]));

  const edge = (from, to, relation = "connect", attributes = {}, extra = {}) => ({
    id: `${relation}:${from.id}:${to.id}`,
    relation,
    layer: relation === "connect" ? "indirect" : "direct",
    from: from.id,
    to: to.id,
    state: "online",
    directed: true,
    attributes,
    via: null,
    ambiguous: false,
    ...extra,
  });
  const call = (from, to, rate, latency, extra) =>
    edge(
      from,
      to,
      "connect",
      { connections: 4, rate_per_s: rate, latency_p99_ms: latency, bytes_tx: rate * 420, error_ratio: 0 },
      extra,
    );
  const calls = [
    call(nginx, checkout1, 48, 640),
    call(nginx, checkout2, 48, 631),
    call(nginx, catalog1, 158, 18),
    call(nginx, catalog2, 158, 17),
    call(checkout1, postgres, 321, 212),
    call(checkout2, postgres, 321, 208),
    call(catalog1, postgres, 310, 4),
    call(catalog2, postgres, 312, 4),
    call(checkout1, redis, 640, 0.2),
    call(catalog1, redis, 811, 0.2),
    call(checkout2, redis, 620, 0.2),
    call(catalog2, redis, 839, 0.2),
    call(mailer, postgres, 0.2, 9),
    call(gone, postgres, 0, null, { state: "offline" }),
    ...workers.map((one) => call(one, postgres, 1, null)),
  ];
  const hostCalls = [
    ["edge-1", "app-1"],
    ["edge-1", "app-2"],
    ["app-1", "db-1"],
    ["app-2", "db-1"],
  ].map(([from, to]) =>
    edge(
      hosts.find((one) => one.name === from),
      hosts.find((one) => one.name === to),
      "connect",
      { connections: 9 },
      { directed: from === "edge-1" },
    ),
  );
  const appCalls = [
    [0, 1],
    [0, 2],
    [1, 4],
    [1, 5],
    [2, 4],
    [2, 5],
    [3, 4],
  ].map(([from, to]) => call(apps[from], apps[to], 96, 40));
  const belongs = (child, parent) => edge(child, parent, "belongs_to");
  const stack = [
    ...[commit, endpoint, walwriter, ...links].map((one) => belongs(one, postgres)),
    edge(postgres, db, "runs_on"),
    ...workers.map((one) => edge(one, db, "runs_on")),
    edge(redis, db, "runs_on"),
    ...[pgWal, fsRoot, net, sched, sda, sdb, nic, mem, ...cpus].map((one) => belongs(one, db)),
    belongs(sda1, sda),
    belongs(sdb1, sdb),
    belongs(qdisc, nic),
    edge(postgres, apps[4], "belongs_to"),
    edge(redis, apps[5], "belongs_to"),
  ];

  // --- metrics: [before, after, unit, normal]
  const METRICS = {
    disk: [
      ["gala_gopher_disk_w_await", "system_iostat", 0.9, 46, "ms", "up"],
      ["gala_gopher_disk_r_await", "system_iostat", 0.6, 0.6, "ms", "up"],
      ["gala_gopher_disk_wspeed", "system_iostat", 410, 61, "count/s", "down"],
      ["gala_gopher_disk_wspeed_kB", "system_iostat", 6100, 900, "kb/s", "down"],
      ["gala_gopher_disk_util", "system_iostat", 31, 100, "%", "up"],
      ["gala_gopher_disk_aqu", "system_iostat", 0.4, 3.1, "count", "up"],
    ],
    sli: [
      ["gala_gopher_sli_rtt_nsec", "pg_sli", 3.8e6, 212e6, "ns", "up"],
      ["gala_gopher_sli_requests_total", "pg_sli", 640, 610, "count/s", "never"],
    ],
    fs: [
      ["gala_gopher_fs_UsePer", "system_df", 38, 38, "%", "up"],
      ["gala_gopher_fs_IUsePer", "system_df", 2, 2, "%", "up"],
    ],
    proc: [
      ["gala_gopher_proc_iowait_ns", "proc_cpu", 3e7, 7.1e8, "ns/s", "up"],
      ["gala_gopher_proc_offcpu_ns", "proc_cpu", 5e8, 8e8, "ns/s", "up"],
      ["gala_gopher_proc_cpu_util", "system_proc", 21, 9, "%", "up"],
      ["gala_gopher_proc_fd_count", "system_proc", 221, 230, "count", "up"],
      ["gala_gopher_proc_ns_fsync", "proc_syscall_io", 1.2e6, 48e6, "ns", "up"],
      ["gala_gopher_l7_latency_p99_ns", "l7_rpc", 44e6, 655e6, "ns", "up"],
    ],
    host: [
      ["gala_gopher_cpu_total_used_per", "system_cpu_util", 21, 21, "%", "up"],
      ["gala_gopher_mem_util", "system_meminfo", 63, 63, "%", "up"],
    ],
    tcp_link: [
      ["gala_gopher_tcp_link_srtt", "tcp_metric", 180, 190, "us", "up"],
      ["gala_gopher_tcp_link_tx_bytes", "tcp_metric", 4200, 4100, "bytes/s", "never"],
    ],
  };
  const suffers = new Set([nginx, checkout1, checkout2, postgres, sdb, pgWal, commit].map((one) => one.id));
  const entityMetrics = (id, from, to, stepMs, wanted) => {
    const one = byId.get(id);
    if (!one) return null;
    const rows = (METRICS[one.type] ?? METRICS.host).filter(([name]) => wanted.length === 0 || wanted.includes(name));
    return {
      snapshot: { ts: now, state: "complete" },
      partial: false,
      from,
      to,
      step_ms: stepMs,
      items: rows.map(([metric, table, before, after, unit, bad]) => {
        const broken = suffers.has(id) && before !== after && bad !== "never";
        const seed = hash(id + metric);
        const points = [];
        for (let ms = Math.ceil(from / stepMs) * stepMs; ms <= to; ms += stepMs) {
          const base = broken && ms >= onset ? after : before;
          points.push([
            ms,
            ms > onset - 5 * MINUTE && ms < onset - 5 * MINUTE + 20_000 && metric.endsWith("fd_count")
              ? null
              : base * (1 + 0.09 * noise(seed, Math.floor(ms / stepMs))),
          ]);
        }
        return {
          metric,
          table,
          help: "",
          unit,
          query: `${metric}{entity="${id}"}`,
          bad,
          series: [{ label: one.name, points }],
          normal: bad === "never" ? null : { lo: before * 0.7, hi: before * 1.4 },
          onset_ms: broken ? onset : null,
          state: broken ? "crit" : bad === "never" ? "na" : "ok",
        };
      }),
    };
  };

  const faults = incidentStory(now, onset, HOSTS, {
    sdb,
    pgWal,
    postgres,
    commit,
    checkout1,
    nginx,
    redis,
    cpus,
    walwriter,
    sda,
    nic,
    mem,
    db,
  });
  const anomaly = (one, metric, value, unit, lo, hi, severity = "ERROR") => ({
    event_id: `${opened}_${one.id}`,
    event_ids: [`${opened}_${one.id}`],
    time_ms: now - 20_000,
    first_ms: onset + 20_000,
    count: 21,
    kind: one.level === "HOST" ? "sys" : "app",
    entity_id: one.id,
    entity_name: one.name,
    entity_type: one.type,
    host_name: one.host_name,
    metric_id: metric,
    severity,
    state: "open",
    desc: { en: `${one.name}: out of its normal range`, zh: `${one.name}:超出正常范围` },
    score: 0.97,
    value,
    normal: { lo, hi },
    unit,
    incident_id: "f-1",
  });
  const anomalies = [
    anomaly(nginx, "gala_gopher_l7_latency_p99_ns", 655e6, "ns", 30e6, 61e6),
    anomaly(commit, "gala_gopher_sli_rtt_nsec", 212e6, "ns", 2e6, 5e6),
    // One event of one moment, two metrics.
    anomaly(sdb, "gala_gopher_disk_w_await", 46, "ms", 0.5, 1.6),
    anomaly(sdb, "gala_gopher_disk_util", 100, "%", 20, 45),
    anomaly(pgWal, "gala_gopher_proc_ns_fsync", 48e6, "ns", 0.8e6, 1.6e6, "WARN"),
  ];

  const density = (from, to, count) =>
    Array.from({ length: count }, (_, index) => {
      const ts = from + ((to - from) * index) / count;
      return {
        ts,
        changes: ts > onset ? 3 + Math.round(3 * Math.abs(noise(9, index))) : Math.max(0, Math.round(3 * noise(9, index))),
      };
    });
  return {
    now,
    onset,
    all,
    byId,
    processes,
    hosts,
    apps,
    calls,
    hostCalls,
    appCalls,
    stack,
    db,
    postgres,
    ...faults,
    anomalies,
    ...nowStory(now, { nginx, checkout1, postgres, catalog1, redis, mailer }, HOSTS),
    ...agentStory(now, onset),
    entityMetrics,
    density,
    sdb,
    noise,
    hash,
  };
}
