// Metrics in words: names people use for the ones they meet most, and the unit a name implies where an answer leaves it out.
import { metricWords } from "./format";
import { type Lang, useLang } from "./i18n";

/** Keys are in small letters: exporters differ in how they write `kB`. */
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
  disk_rspeed_kb: ["read throughput", "读吞吐"],
  disk_wspeed_kb: ["write throughput", "写吞吐"],
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
  mem_available_kb: ["memory available", "可用内存"],
  mem_swap_util: ["swap use", "交换区使用率"],
  fs_useper: ["space used", "空间使用率"],
  fs_iuseper: ["inodes used", "inode 使用率"],
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
  cpu_user_msec: ["user time", "用户态时间"],
  cpu_system_msec: ["kernel time", "内核态时间"],
  cpu_iowait_msec: ["idle, I/O outstanding", "等待 I/O 的空闲"],
  cpu_softirq_msec: ["softirq time", "软中断时间"],
  cpu_steal_msec: ["stolen by the hypervisor", "被虚拟机监控器占用"],
  disk_rareq: ["size of a read", "单次读大小"],
  disk_wareq: ["size of a write", "单次写大小"],
  disk_inflight: ["requests in flight", "在途请求"],
  disk_f_await: ["flush wait", "刷写等待"],
  disk_fspeed: ["flushes", "刷写次数"],
  fs_use_per: ["space used", "空间使用率"],
  fs_iuse_per: ["inodes used", "inode 使用率"],
  block_latency_req_sum: ["time in the block layer", "块层总耗时"],
  block_latency_device_sum: ["time in the device, summed", "设备内总耗时"],
  block_queue_depth: ["requests in flight", "在途请求"],
  block_requests: ["requests", "请求数"],
  block_err_count: ["failed requests", "失败请求"],
  block_read_bytes: ["bytes read", "读字节"],
  block_write_bytes: ["bytes written", "写字节"],
  host_psi_cpu_some: ["tasks waiting for a CPU", "等待 CPU 的时间占比"],
  host_psi_io_some: ["tasks waiting for I/O", "等待 I/O 的时间占比"],
  host_psi_memory_some: ["tasks waiting for memory", "等待内存的时间占比"],
  host_psi_io_full: ["all waiting for I/O", "全部等待 I/O 的时间占比"],
  host_psi_memory_full: ["all waiting for memory", "全部等待内存的时间占比"],
  host_threads_running: ["runnable threads", "可运行线程"],
  host_context_switches: ["context switches", "上下文切换"],
  net_tcp_listen_overflows: ["accept queue overflows", "全连接队列溢出"],
  net_tcp_listen_drops: ["dropped by listeners", "监听丢弃"],
  net_tcp_curr_estab: ["established connections", "已建立连接"],
  endpoint_tcp_accept_queue: ["waiting to be accepted", "等待接受的连接"],
  endpoint_tcp_passive_open: ["connections accepted", "已接受连接"],
  endpoint_tcp_active_open: ["connections opened", "已发起连接"],
  endpoint_tcp_estab_latency: ["time to connect", "建连时延"],
  proc_cpu_ns: ["CPU time", "CPU 时间"],
  proc_run_delay_per: ["share of time waiting for a CPU", "等待 CPU 的时间占比"],
  proc_run_delay_max_ns: ["longest wait for a CPU", "等待 CPU 最长时间"],
  proc_wait_io_ns: ["sleep waiting for storage", "等待存储"],
  proc_wait_block_ns: ["uninterruptible sleep", "不可中断睡眠"],
  proc_wait_fsync_ns: ["sleep inside fsync", "fsync 内睡眠"],
  proc_wait_net_ns: ["sleep inside network calls", "网络调用内睡眠"],
  proc_wait_futex_ns: ["sleep inside futex", "futex 内睡眠"],
  proc_wait_read_ns: ["sleep inside reads", "读调用内睡眠"],
  proc_wait_write_ns: ["sleep inside writes", "写调用内睡眠"],
  proc_fsync_sum_ns: ["time in fsync", "fsync 总耗时"],
  proc_fsync_count: ["fsync calls", "fsync 次数"],
  proc_preempted_ns: ["waited while another ran", "他人运行时的等待"],
  proc_preempted_max_ns: ["longest wait while another ran", "他人运行时的最长等待"],
  proc_throttled_ns: ["stopped by its quota", "被配额限流"],
  proc_pm_size: ["resident memory", "常驻内存"],
  proc_vm_size: ["address space", "地址空间"],
  proc_num_threads: ["threads", "线程数"],
  proc_block_latency_max: ["longest block request", "最慢块请求"],
  proc_block_reads: ["block reads", "块读次数"],
  proc_block_writes: ["block writes", "块写次数"],
  thread_run_delay_ns: ["wait for a CPU", "等待 CPU"],
  thread_cpu_util: ["CPU use", "CPU 使用率"],
  sli_node_cpu_rundelay: ["wait for a CPU", "等待 CPU"],
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
  const pair = WORDS[metric.replace(/^gala_gopher_/, "").toLowerCase()];
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
