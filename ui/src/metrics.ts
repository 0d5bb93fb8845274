// Metrics in words: names people use for the ones they meet most, and the unit a name implies where an answer leaves it out.
import { metricWords } from "./format";
import { type Lang, useLang } from "./i18n";

const WORDS: Record<string, [string, string]> = {
  sli_rtt_nsec: ["request latency", "请求时延"],
  sli_max_rtt_nsec: ["slowest request", "最慢请求"],
  sli_latency_nsec: ["request latency", "请求时延"],
  sli_requests_total: ["requests", "请求数"],
  sli_errors_total: ["failed requests", "失败请求"],
  sli_sched_nsec: ["wait for a CPU per request", "每请求等待 CPU"],
  sli_proc_nsec: ["processing per request", "每请求处理时间"],
  sli_send_nsec: ["sending per answer", "每应答发送时间"],
  l7_latency_avg: ["request latency", "请求时延"],
  l7_err_ratio: ["failed requests", "失败请求比例"],
  disk_r_await: ["read wait", "读等待"],
  disk_w_await: ["write wait", "写等待"],
  disk_rspeed: ["reads", "读次数"],
  disk_wspeed: ["writes", "写次数"],
  disk_rspeed_kB: ["read throughput", "读吞吐"],
  disk_wspeed_kB: ["write throughput", "写吞吐"],
  disk_aqu: ["queue", "队列长度"],
  disk_util: ["busy", "繁忙度"],
  block_latency_req: ["block request latency", "块请求时延"],
  block_latency_req_max: ["slowest block request", "最慢块请求"],
  block_latency_device: ["time in the device", "设备内耗时"],
  block_latency_device_max: ["longest time in the device", "设备内最长耗时"],
  block_latency_driver_max: ["longest time in the driver", "驱动内最长耗时"],
  proc_offcpu_ns: ["time off the CPU", "离 CPU 时间"],
  proc_iowait_ns: ["time waiting for disk", "等待磁盘时间"],
  proc_run_delay_ns: ["wait for a CPU", "等待 CPU"],
  proc_cpu_util: ["CPU use", "CPU 使用率"],
  proc_cpu_user_util: ["CPU use, user", "CPU 使用率(用户态)"],
  proc_cpu_system_util: ["CPU use, kernel", "CPU 使用率(内核态)"],
  proc_fd_count: ["open files", "打开文件数"],
  proc_bio_latency: ["block I/O latency", "块 I/O 时延"],
  proc_ns_fsync: ["fsync", "fsync 耗时"],
  proc_ns_futex: ["wait for locks", "等待锁"],
  proc_syscall_failed: ["failed system calls", "失败的系统调用"],
  proc_major_pagefault_count: ["major page faults", "主缺页"],
  proc_minor_pagefault_count: ["minor page faults", "次缺页"],
  cpu_total_used_per: ["CPU use", "CPU 使用率"],
  cpu_util_per: ["CPU use", "CPU 使用率"],
  mem_util: ["memory use", "内存使用率"],
  mem_available_kB: ["memory available", "可用内存"],
  mem_swap_util: ["swap use", "交换区使用率"],
  fs_UsePer: ["space used", "空间使用率"],
  fs_IUsePer: ["inodes used", "inode 使用率"],
  tcp_link_srtt: ["round-trip time", "往返时延"],
  tcp_link_retran_packets: ["retransmissions", "重传"],
  tcp_link_retrans_ratio: ["retransmitted", "重传比例"],
  tcp_link_tx_bytes: ["bytes sent", "发送字节"],
  tcp_link_rx_bytes: ["bytes received", "接收字节"],
  endpoint_tcp_accept_overflow: ["accept queue overflows", "全连接队列溢出"],
  endpoint_tcp_syn_overflow: ["SYN queue overflows", "半连接队列溢出"],
  endpoint_tcp_listendrop: ["dropped at listen", "监听丢弃"],
  net_tcp_retrans_segs: ["retransmitted segments", "重传报文段"],
  nic_tx_dropped: ["packets dropped, sending", "发送丢包"],
  nic_rx_dropped: ["packets dropped, receiving", "接收丢包"],
  nic_tc_sent_drop: ["dropped in the queue", "队列丢包"],
};

const UNIT_BY_NAME: [RegExp, string][] = [
  [/(_ns|_nsec|^.*_ns_[a-z_]+)$/, "ns"],
  [/(_usec|_us|srtt|rcv_rtt)$/, "us"],
  [/(_msec|_ms|_await)$/, "ms"],
  [/(_kB|_KB)$/, "kb"],
  [/_bytes(_total)?$/, "bytes"],
  [/_ratio$/, "ratio"],
  [/(_util|_per|UsePer|util_per)$/, "%"],
];

export function unitOf(metric: string, given?: string | null): string {
  if (given) return given;
  return UNIT_BY_NAME.find(([pattern]) => pattern.test(metric))?.[1] ?? "";
}

export function metricName(metric: string, type: string | undefined, lang: Lang): string {
  const pair = WORDS[metric.replace(/^gala_gopher_/, "")];
  if (pair) return pair[lang === "zh" ? 1 : 0];
  return lang === "zh"
    ? metricWords(metric, type)
    : metricWords(metric, type).replace(/^[A-Z](?=[a-z])/, (first) => first.toLowerCase());
}

export function useMetricName(): (metric: string, type?: string) => string {
  const lang = useLang();
  return (metric, type) => metricName(metric, type, lang);
}

export const sentenceCase = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
