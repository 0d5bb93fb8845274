// The agent's part of the story: probes, cost, ledger, health.
import { noise } from "./noise.mjs";

/** The story's hub runs for nine days. */
const STARTED_MS = Date.now() - 9 * 86_400_000;

export function agentStory(now, onset) {
  const hook = (probe, name, rung, ladder, missing, state = "full", reason = "") => ({
    probe,
    hook: name,
    state,
    rung,
    ladder,
    missing,
    reason,
    ns_per_event: 240,
    events_per_s: 900,
  });
  const BTF = ["tp_btf", "tracepoint", "kprobe", "procfs"];
  const probe = (name, what, state, reason, hooks, ns, events, cpu, maps, drops = 0) => ({
    name,
    what,
    state,
    reason,
    hooks,
    ns_per_event: ns,
    events_per_s: events,
    cpu_ratio: cpu,
    map_bytes: maps,
    drops,
    drops_reason: drops ? "buffer full at 14:04" : null,
    sub_probes: [],
  });
  const probes = [
    probe(
      "sli",
      "requests",
      "full",
      "",
      [
        hook("sli", "tcp_sendmsg", "fexit", ["fexit", "kprobe"], ["kprobe"]),
        hook("sli", "tcp_recvmsg", "fexit", ["fexit", "kprobe"], ["kprobe"]),
      ],
      240,
      3940,
      0.00142,
      6 << 20,
    ),
    probe(
      "proc",
      "run, wait, block",
      "full",
      "",
      [hook("proc", "sched_switch", "tp_btf", BTF, ["kprobe"])],
      94,
      8210,
      0.00077,
      2 << 20,
    ),
    probe(
      "tcp",
      "connections",
      "degraded",
      "no receive-queue depth: needs fexit",
      [
        hook("tcp", "inet_sock_set_state", "tracepoint", BTF, ["tp_btf", "kprobe"], "degraded", "no BTF for the argument"),
        hook("tcp", "tcp_retransmit_skb", "tracepoint", BTF, ["kprobe"]),
      ],
      310,
      1620,
      0.0005,
      4 << 20,
      1243,
    ),
    probe(
      "io",
      "block latency",
      "full",
      "",
      [hook("io", "block_rq_complete", "tp_btf", BTF, ["kprobe"])],
      420,
      690,
      0.00029,
      1 << 20,
    ),
    probe(
      "baseinfo",
      "cpu, memory, disks",
      "full",
      "",
      [hook("baseinfo", "/proc", "procfs", ["procfs"], [])],
      null,
      null,
      0.00018,
      null,
    ),
    probe("jvm", "Java", "off", "no Java process runs", [], null, null, null, null),
  ];
  const budget = {
    cpu: { used_ratio: 0.0037, user_ratio: 0.0009, bpf_ratio: 0.0028, limit_ratio: 0.1 },
    memory: {
      used_bytes: 48 * 2 ** 20,
      agent_bytes: 29 * 2 ** 20,
      rss_bytes: 96 * 2 ** 20,
      map_bytes: 19 * 2 ** 20,
      limit_bytes: 80 * 2 ** 20,
    },
    shed: [{ what: "stacks of Python frames", reason: "a burst of retries took the agent to 1.9 %", at_ms: onset + 50_000 }],
    history: Array.from({ length: 180 }, (_, index) => [
      now - (180 - index) * 5000,
      0.0037 * (1 + 0.1 * noise(3, index)) * (index > 80 && index < 86 ? 4 : 1),
      48 * 2 ** 20 * (1 + 0.004 * noise(4, index)),
    ]),
    probes: probes.filter((one) => one.cpu_ratio).map((one) => ({ name: one.name, cpu_ratio: one.cpu_ratio })),
  };
  const place = (name, seen, total, reason, what = "") => ({
    place: name,
    what,
    count: total === null ? 2341 : total - seen,
    since_ms: now - 3_600_000,
    seen,
    total,
    ratio: total === null ? null : seen / total,
    reason,
    last_ms: now - 40_000,
  });
  const ledger = {
    items: [
      place("Requests, mailer", 11, 180, "TLS without symbols, plain port only"),
      place("Connections", 210, 212, "2 opened before the agent and never used"),
      place("Socket events", 997_000, 1_000_000, "buffer full for 1.2 s"),
      place("Requests, nginx", 370_058, 370_800, "742 without an answer seen"),
      place("Block requests", 41_020, 41_020, ""),
      place("probe.io", null, null, "too many submissions at once", "times before the request was made"),
    ],
    next_cursor: null,
    watched: { hosts: 4, processes: 41, connections: 212, devices: 6 },
    requests_ratio: 0.997,
  };
  const health = {
    status: "ok",
    version: "0.1.0",
    uptime_ms: now - STARTED_MS,
    components: {
      agent: { status: "ok", reason: "", last_ms: now - 2000 },
      store: { status: "ok", reason: "1.1 of 2 GiB, 7 days kept", last_ms: now - 1000 },
      topology: { status: "ok", reason: "", last_ms: now - 4000 },
      detection: { status: "ok", reason: "", last_ms: now - 3000, kpis: { warm: 12, total: 12, warm_at_ms: null } },
      cause: { status: "ok", reason: "", last_ms: now - 60_000 },
    },
  };
  return { probes, budget, ledger, health };
}
