// A small stand-in for the hub, for developing the interface and for states a live hub shows only in bad moments. Serves dist
// with the hub's security headers and the story's answers. Switches:
// `/__mode?set=empty|error|slow|quiet|uneasy|starting|learning|blind|warned|normal`, `/__fail?path=REGEX` breaks some answers, `/__drop`
// ends streams, with `refuse=1` none can be opened, with `silent=1` they say nothing; `/__streams` tells how many are open.
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { story } from "./story.mjs";

const DIST = process.env.GALA_DIST ?? fileURLToPath(new URL("../dist", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".json": "application/json",
};
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SNAP = (now) => ({ snapshot: { ts: now, state: "complete" }, partial: false });
const page = (items) => ({ items, next_cursor: null });
const EMPTY = page([]);
/** How long the story's hosts are watched. */
const SINCE_MS = 13 * 86_400_000;

export function start(port = 0) {
  let mode = "normal";
  const streams = new Set();
  let refuse = false;
  let silent = false;
  let fails = null;

  const isBare = () => mode === "empty" || mode === "starting";
  const isQuiet = () => mode !== "normal" && mode !== "warned";

  /** A service that nothing is wrong with. */
  function calm(service) {
    const ok = ([name, signal]) => [name, signal.state === "na" ? signal : { state: "ok", reason: null }];
    return { ...service, signals: Object.fromEntries(Object.entries(service.signals).map(ok)) };
  }

  /** A hub some seconds after its start, or in its first minutes. */
  function young(s) {
    const isStarting = mode === "starting";
    const waits = { status: "starting", reason: "the first pass is not done yet", last_ms: null };
    const kpis = isStarting ? { warm: 0, total: 0, warm_at_ms: null } : { warm: 63, total: 614, warm_at_ms: s.now + 200_000 };
    return {
      ...s.health,
      ...(isStarting ? { __status: 503, status: "starting" } : {}),
      uptime_ms: isStarting ? 3200 : 70_000,
      components: {
        ...s.health.components,
        ...(isStarting ? { topology: waits, cause: waits } : {}),
        detection: { ...(isStarting ? waits : s.health.components.detection), kpis },
      },
    };
  }

  /** A hub of which two parts do not work. */
  function blind(s) {
    const fails = (name, reason) => ({
      [name]: { ...s.health.components[name], status: "degraded", reason, last_ms: s.now - 720_000 },
    });
    return {
      ...s.health,
      status: "degraded",
      components: {
        ...s.health.components,
        ...fails("store", "no space left on the disk: samples are not kept"),
        ...fails("detection", "the last pass did not end"),
      },
    };
  }

  function api(path, query) {
    const s = story(Date.now());
    const quiet = isQuiet();
    if (mode === "warned") Object.assign(s, s.warned);
    if (path === "/health" && (mode === "starting" || mode === "learning")) return young(s);
    if (path === "/health" && mode === "blind") return blind(s);
    if (path === "/health")
      return quiet
        ? {
            ...s.health,
            components: {
              ...s.health.components,
              detection: { ...s.health.components.detection, kpis: { warm: 3, total: 12, warm_at_ms: s.now + 240_000 } },
            },
          }
        : s.health;
    const isCalm = quiet && mode !== "uneasy";
    if (path === "/services") return isBare() ? EMPTY : page(isCalm ? s.services.map(calm) : s.services);
    if (path === "/hosts")
      return isBare() ? EMPTY : page(isCalm ? s.hostRows.map((one) => ({ ...one, state: "ok" })) : s.hostRows);
    if (path === "/faults") {
      if (quiet) return EMPTY;
      const state = query.get("state");
      const entity = query.get("entity");
      return page(
        [s.open, s.closed].filter(
          (one) => (!state || one.state === state) && (!entity || one.entity_id === entity || one.cause.entity_id === entity),
        ),
      );
    }
    if (path === "/anomalies")
      return quiet ? EMPTY : page(s.anomalies.filter((one) => !query.get("entity") || one.entity_id === query.get("entity")));
    if (path === "/topology/snapshots") {
      const at = Number(query.get("nearest"));
      const cycle = { ts: at - 5000, state: "complete", entities: s.all.length, edges: s.calls.length };
      return { ...page(at < s.now - SINCE_MS ? [] : [cycle]), ...SNAP(s.now) };
    }
    if (path === "/topology/changes" && query.get("type") === "proc") return { ...page(s.processChanges), ...SNAP(s.now) };
    if (path === "/topology/changes")
      return { ...EMPTY, ...SNAP(s.now), density: s.density(Number(query.get("from")), Number(query.get("to")), 120) };
    if (path === "/topology/horizontal") {
      const layer = query.get("layer") ?? "process";
      if (isBare()) return { ...SNAP(s.now), layer, center: null, nodes: [], edges: [] };
      const [nodes, edges] = { application: [s.apps, s.appCalls], process: [s.processes, s.calls], host: [s.hosts, s.hostCalls] }[
        layer
      ];
      return { ...SNAP(s.now), layer, center: query.get("center"), nodes, edges };
    }
    if (path === "/topology/vertical") return vertical(s, query);
    if (path === "/entities") {
      if (isBare()) return { ...EMPTY, ...SNAP(s.now) };
      const q = (query.get("q") ?? "").toLowerCase();
      const rows = s.all.filter(
        (one) =>
          (!query.get("type") || one.type === query.get("type")) &&
          (!query.get("state") || one.state === query.get("state")) &&
          `${one.name} ${one.host_name} ${one.id}`.toLowerCase().includes(q),
      );
      return { ...page(rows.slice(0, Number(query.get("limit") ?? 100))), ...SNAP(s.now) };
    }
    if (path === "/agent/probes")
      return mode === "empty" ? EMPTY : { ...page(s.probes), kernel: { release: "6.1.0", btf: true } };
    if (path.startsWith("/agent/probes/"))
      return { blacklist: {}, cmd: { probe: [] }, params: { report_period: 5 }, state: "running" };
    if (path === "/agent/ledger")
      return isBare()
        ? { ...EMPTY, watched: { hosts: 0, processes: 0, connections: 0, devices: 0 }, requests_ratio: null }
        : s.ledger;
    if (path === "/agent/budget") return s.budget;
    if (path === "/metadata")
      return {
        status: "success",
        data: {
          gala_gopher_disk_w_await: [{ type: "gauge", help: "Mean wait of writes", unit: "ms" }],
          gala_gopher_sli_rtt_nsec: [{ type: "histogram", help: "Latency of requests", unit: "ns" }],
          gala_gopher_proc_cpu_util: [{ type: "gauge", help: "CPU use of the process", unit: "%" }],
        },
      };
    if (path === "/labels") return { status: "success", data: ["__name__", "machine_id", "comm", "tgid", "disk_name"] };
    if (path.startsWith("/label/")) return { status: "success", data: ["sda", "sdb"] };
    if (path === "/query" || path === "/query_range") return promql(s, path, query);
    const fault = /^\/faults\/([^/]+)$/.exec(path);
    if (fault) {
      if (quiet) return null;
      if (fault[1] === "f-0") return s.closedDetail;
      if (fault[1] !== "f-1") return null;
      return query.get("version") ? s.earlier(Number(query.get("version"))) : s.detail;
    }
    const entity = /^\/entities\/([^/]+)(\/edges|\/metrics)?$/.exec(path);
    if (entity) return entityAnswer(s, decodeURIComponent(entity[1]), entity[2], query);
    return null;
  }

  function entityAnswer(s, id, part, query) {
    const one = s.byId.get(id);
    if (!one || (query.has("at") && Number(query.get("at")) < s.now - SINCE_MS)) return null;
    if (part === "/metrics")
      return s.entityMetrics(
        id,
        Number(query.get("from")),
        Number(query.get("to")),
        Number(query.get("step")),
        query.getAll("metric"),
      );
    if (part === "/edges") {
      const edges = [...s.calls, ...s.stack].filter((edge) => edge.from === id || edge.to === id);
      const ends = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
      return { ...page(edges), ...SNAP(s.now), nodes: s.all.filter((other) => ends.has(other.id)) };
    }
    const bad = one.badges.anomalies > 0;
    return {
      ...SNAP(s.now),
      entity: one,
      parents: one.type === "host" ? [] : [s.hosts.find((host) => host.host_name === one.host_name)],
      first_seen_ms: s.now - SINCE_MS,
      last_seen_ms: s.now,
      metrics: [],
      anomalies: s.anomalies.filter((row) => row.entity_id === id),
      faults: bad ? [s.open] : [],
      checks: bad
        ? [
            {
              state: "crit",
              metric: "gala_gopher_disk_w_await",
              text: { en: "**A write takes 46 ms.**", zh: "**一次写入耗时 46 ms。**" },
              normal: { en: "Normally 0.5 to 1.6 ms.", zh: "正常为 0.5 至 1.6 ms。" },
              since_ms: s.onset,
            },
            {
              state: "ok",
              metric: "gala_gopher_disk_r_await",
              text: { en: "Reads take 0.6 ms.", zh: "读取耗时 0.6 ms。" },
              normal: { en: "Normally 0.3 to 1.1 ms.", zh: "正常为 0.3 至 1.1 ms。" },
              since_ms: null,
            },
          ]
        : [],
      events: [
        {
          ts: s.onset,
          severity: "WARN",
          text: { en: "Kernel: `[sdb] Sense Key: Hardware Error`, 3 times", zh: "内核:`[sdb] Sense Key: Hardware Error`,3 次" },
        },
      ],
    };
  }

  function vertical(s, query) {
    const root = s.byId.get(query.get("entity"));
    if (!root) return null;
    const perspective =
      query.get("perspective") ??
      (root.type === "appinstance" ? "application" : root.type === "host" ? "host" : root.level === "HOST" ? "host" : "process");
    const onHost = s.all.filter((one) => one.host_name === root.host_name);
    const isChild = (one) => ["sli", "tcp_link", "endpoint_tcp", "thread"].includes(one.type);
    const wanted = onHost.filter((one) =>
      perspective === "process"
        ? one.type !== "proc" || one.id === root.id || (root.type !== "proc" && one.id === s.postgres.id)
        : !isChild(one),
    );
    const ids = new Set(wanted.map((one) => one.id));
    const bands = ["application", "process", "system", "resource", "host"].map((band) => ({
      band,
      nodes: wanted.filter((one) => one.band === band),
    }));
    return {
      ...SNAP(s.now),
      root: root.id,
      perspective,
      bands,
      edges: s.stack.filter((edge) => ids.has(edge.from) && ids.has(edge.to)),
      highlight: [],
    };
  }

  function promql(s, path, query) {
    const text = query.get("query") ?? "";
    if (text.includes("(("))
      return {
        __status: 400,
        status: "error",
        errorType: "bad_data",
        error: `invalid parameter "query": 1:${text.length}: parse error: unclosed left parenthesis`,
      };
    if (path === "/query")
      return {
        status: "success",
        data: {
          resultType: "vector",
          result: ["sda", "sdb"].map((disk, index) => ({
            metric: { __name__: "gala_gopher_disk_w_await", disk_name: disk, machine_id: "d1" },
            value: [s.now / 1000, String(0.8 + 45 * index)],
          })),
        },
      };
    const [start, end, step] = ["start", "end", "step"].map((name) => Number(query.get(name)));
    const result = ["sda", "sdb"].map((disk, index) => {
      const values = [];
      for (let at = start; at <= end; at += step)
        values.push([
          at,
          String((0.9 + (index === 1 && at * 1000 > s.onset ? 45 : 0)) * (1 + 0.1 * s.noise(index, Math.floor(at)))),
        ]);
      return { metric: { __name__: "gala_gopher_disk_w_await", disk_name: disk, machine_id: "d1" }, values };
    });
    return { status: "success", data: { resultType: "matrix", result } };
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    const id = Math.random().toString(16).slice(2, 10);
    const send = (status, body) => {
      response.writeHead(status, { "Content-Type": "application/json", "X-Request-Id": id, "Content-Security-Policy": CSP });
      response.end(body === undefined ? "" : JSON.stringify(body));
    };
    if (url.pathname === "/__mode") {
      mode = url.searchParams.get("set") ?? "normal";
      return send(200, { mode });
    }
    if (url.pathname === "/__drop") {
      refuse = url.searchParams.get("refuse") === "1";
      silent = url.searchParams.get("silent") === "1";
      if (!silent) for (const stream of streams) stream.end();
      return send(200, {});
    }
    if (url.pathname === "/__streams") return send(200, { open: streams.size });
    if (url.pathname === "/__fail") {
      fails = url.searchParams.has("path") ? new RegExp(url.searchParams.get("path")) : null;
      return send(200, {});
    }
    if (url.pathname === "/api/v1/stream") {
      if (refuse) return send(503, { error: { code: "starting", message: "the hub is starting", field: null } });
      // Who is dead without a word opens no stream either.
      if (silent) {
        streams.add(response);
        request.on("close", () => streams.delete(response));
        return;
      }
      response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      response.write(": hello\n\n");
      streams.add(response);
      const timer = setInterval(
        () =>
          silent ||
          response.write(`event: agent\ndata: ${JSON.stringify({ cpu_ratio: 0.0037, memory_bytes: 48 * 2 ** 20 })}\n\n`),
        5000,
      );
      request.on("close", () => {
        clearInterval(timer);
        streams.delete(response);
      });
      return;
    }
    if (url.pathname.startsWith("/api/v1")) {
      if (mode === "error" || fails?.test(url.pathname.slice(7)))
        return send(500, {
          error: {
            code: "internal",
            message: "the store cannot be read: segment 00017 is damaged; it was set aside",
            field: null,
          },
        });
      if (mode === "slow") return;
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        const path = url.pathname.slice(7);
        if (request.method === "POST" && path.endsWith("/feedback")) return send(204);
        const query = request.headers["content-type"]?.startsWith("application/x-www-form")
          ? new URLSearchParams(body)
          : url.searchParams;
        const answer = api(path, query);
        if (answer === null) send(404, { error: { code: "not_found", message: `nothing is known under ${path}`, field: null } });
        else {
          const { __status = 200, ...body } = answer;
          send(__status, body);
        }
      });
      return;
    }
    let file = join(DIST, normalize(url.pathname));
    if (!file.startsWith(DIST) || url.pathname === "/" || !existsSync(file)) file = join(DIST, "index.html");
    response.writeHead(200, {
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      "Content-Security-Policy": CSP,
      "X-Content-Type-Options": "nosniff",
    });
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve) =>
    server.listen(port, "127.0.0.1", () =>
      resolve({
        url: `http://127.0.0.1:${server.address().port}`,
        close: () => {
          for (const stream of streams) stream.end();
          server.close();
          server.closeAllConnections();
        },
      }),
    ),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await start(Number(process.env.PORT ?? 7171));
  process.stdout.write(`fixture at ${url}\n`);
}
