// What Now lists: services and hosts.
import { hash, noise } from "./noise.mjs";

export function nowStory(now, { nginx, checkout1, postgres, catalog1, redis, mailer }, machines) {
  const ok = { state: "ok", reason: null };
  const crit = (en, zh) => ({ state: "crit", reason: { en, zh } });
  const warn = (en, zh) => ({ state: "warn", reason: { en, zh } });
  const service = (one, name, hostNames, appName, rate, error, p50, p99, normal, saturation, yesterday, signals = {}) => ({
    entity_id: one.id,
    entity_type: one.type,
    name,
    host_names: hostNames,
    pid: Number(one.labels.tgid ?? 0) || null,
    port: Number(one.labels.server_port ?? 0) || null,
    app: appName,
    rate_per_s: rate,
    error_ratio: error,
    p50_ms: p50,
    p99_ms: p99,
    p99_normal_ms: normal,
    saturation,
    yesterday_ratio: yesterday,
    rate_points: Array.from({ length: 30 }, (_, index) => [
      now - (30 - index) * 30_000,
      rate * (1 + 0.12 * noise(hash(name), index)),
    ]),
    signals: { latency: ok, errors: ok, traffic: ok, saturation: ok, resources: ok, ...signals },
  });
  const lat = crit("p99 left its normal range", "p99 超出正常范围");
  const services = [
    service(nginx, "nginx", ["edge-1"], "http", 412, 0.018, 9.1, 655, { lo: 30, hi: 61 }, { what: "cpu", ratio: 0.31 }, 14.6, {
      latency: lat,
      errors: warn("1.8 % fail", "1.8 % 失败"),
    }),
    service(
      checkout1,
      "checkout",
      ["app-1", "app-2"],
      "http",
      96,
      0.012,
      88,
      640,
      { lo: 28, hi: 58 },
      { what: "pool", ratio: 1 },
      15.2,
      { latency: lat, errors: warn("1.2 % fail", "1.2 % 失败"), saturation: warn("connection pool is full", "连接池已满") },
    ),
    service(postgres, "postgresql", ["db-1"], "postgres", 1284, 0, 0.4, 212, { lo: 2, hi: 5 }, { what: "disk", ratio: 1 }, 54, {
      latency: lat,
      saturation: crit("disk sdb is 100 % busy", "磁盘 sdb 100 % 繁忙"),
      resources: crit("disk sdb stalls", "磁盘 sdb 停滞"),
    }),
    service(
      catalog1,
      "catalog",
      ["app-1", "app-2"],
      "http",
      316,
      0.0001,
      4.2,
      18,
      { lo: 14, hi: 25 },
      { what: "cpu", ratio: 0.22 },
      0.97,
    ),
    service(redis, "redis", ["db-1"], "redis", 2910, 0, 0.08, 0.21, { lo: 0.15, hi: 0.31 }, { what: "cpu", ratio: 0.06 }, 1.01),
    service(mailer, "mailer", ["app-2"], null, 0.2, null, null, null, null, { what: "cpu", ratio: 0.01 }, null, {
      latency: { state: "na", reason: null },
      errors: { state: "na", reason: null },
    }),
  ];
  const meter = (ratio, state = "ok") => ({ ratio, state });
  const hostRow = (name, list, cpu, memory, disk, network, state = "ok") => ({
    entity_id: `${machines[name]}_host`,
    name,
    services: list,
    state,
    life: "online",
    cpu: meter(cpu),
    memory: meter(memory),
    disk: meter(disk, state),
    network: meter(network),
  });
  const hostRows = [
    hostRow("edge-1", ["nginx"], 0.18, 0.31, 0.04, 0.12),
    hostRow("app-1", ["checkout", "catalog"], 0.34, 0.52, 0.03, 0.09),
    hostRow("app-2", ["checkout", "catalog", "mailer"], 0.36, 0.55, 0.03, 0.09),
    hostRow("db-1", ["postgresql", "redis"], 0.21, 0.63, 1, 0.14, "crit"),
  ];

  return { services, hostRows };
}
