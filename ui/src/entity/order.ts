// Which numbers of an entity are shown first: what is wrong, then what people look at, then what moves. Pure.
import type { EntityMetric } from "../api/types";

const WEIGHT = { crit: 0, warn: 1, ok: 2, na: 2 };

/** By type of entity, names without `gala_gopher_` and the type. */
const FIRST: Record<string, string> = {
  sli: "latency_nsec requests_total errors_total proc_nsec sched_nsec send_nsec",
  proc: "cpu_util pm_size run_delay_per wait_io_ns read_bytes write_bytes fd_count num_threads",
  thread: "cpu_util run_delay_ns wait_io_ns",
  host: "psi_cpu_some psi_io_some psi_memory_some load1 threads_running processes",
  cpu: "total_used_per util_per iowait_msec steal_msec softirq_msec",
  mem: "util available_kB swap_util cache_kB dirty_kb",
  disk: "util w_await r_await wspeed rspeed aqu",
  block: "latency_req_histo latency_sync latency_device_histo requests queue_depth err_count",
  fs: "UsePer IUsePer Used",
  nic: "rx_bytes tx_bytes rx_dropped tx_dropped rx_errs tx_errs",
  net: "tcp_retrans_segs tcp_curr_estab tcp_timeouts tcp_listen_overflows udp_rcvbuf_errors",
  tcp_link: "srtt retran_packets tx_bytes rx_bytes snd_cwnd",
  endpoint_tcp: "accept_queue accept_overflow passive_open active_open listendrop",
};

/** Whether a chart of it would be a level line. */
export function isFlat(row: EntityMetric): boolean {
  if (row.state === "crit" || row.state === "warn" || row.series.length > 1) return false;
  const values = (row.series[0]?.points ?? []).map(([, value]) => value).filter((value) => value !== null);
  return values.every((value) => value === values[0]);
}

export function worstFirst(metrics: readonly EntityMetric[], type: string): EntityMetric[] {
  const first = (FIRST[type] ?? "").split(" ");
  const place = (row: EntityMetric) => {
    const index = first.indexOf(row.metric.replace(/^gala_gopher_/, "").replace(`${type}_`, ""));
    return index >= 0 ? index : first.length + (isFlat(row) ? 1 : 0);
  };
  return [...metrics].sort((a, b) => WEIGHT[a.state] - WEIGHT[b.state] || place(a) - place(b));
}
