/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What tcp.bpf.c and mod.rs agree on. Sizes are asserted on both sides. */
#ifndef GALA_TCP_H
#define GALA_TCP_H

#define TCP_EDGES 9
#define TCP_BUCKETS (TCP_EDGES + 1)

enum tcp_role {
	TCP_ROLE_NONE = 0,
	TCP_ROLE_CLIENT = 1,
	TCP_ROLE_SERVER = 2,
	TCP_ROLE_LISTENER = 3,
};

/* Which edges a histogram uses; the edges themselves come from the table's declaration. */
enum tcp_scale {
	TCP_SCALE_RTT,
	TCP_SCALE_BYTES,
	TCP_SCALE_SEGMENTS,
	TCP_SCALE_TIMEOUT,
	TCP_SCALE_BUFFER,
	TCP_SCALES,
};

enum tcp_histogram_id {
	TCP_SRTT,
	TCP_RCV_RTT,
	TCP_SYN_SRTT,
	TCP_SND_CWND,
	TCP_REORDERING,
	TCP_NOTSENT,
	TCP_NOTACK,
	TCP_SND_WND,
	TCP_RCV_WND,
	TCP_AVL_SND_WND,
	TCP_RTO,
	TCP_ATO,
	TCP_SK_RCVBUF,
	TCP_SK_SNDBUF,
	TCP_HISTOGRAMS,
};

/* Histograms that are not asked for are not filled; bits of `left_out`. */
enum tcp_part {
	TCP_PART_RTT = 1,
	TCP_PART_WINDOWS = 2,
	TCP_PART_TIMEOUTS = 4,
	TCP_PART_BUFFERS = 8,
};

/* Drop reasons, numbered by the running kernel; 0 where it has no such reason. */
struct tcp_config {
	__u32 edges[TCP_SCALES][TCP_EDGES];
	__u32 hz;
	__u32 reason_backlog;
	__u32 reason_filter;
	__u32 reason_memory;
	__u32 keep_client_port;
};

struct tcp_key {
	__u32 tgid;
	__u16 client_port;
	__u16 server_port;
	__u16 family;
	__u16 role;
	__u8 client[16];
	__u8 server[16];
};

struct tcp_histogram {
	__u64 sum;
	__u64 max;
	__u32 counts[TCP_BUCKETS];
};

/* Things that happen now and then; kept at the socket until it is next accounted. */
struct tcp_events {
	__u32 send_rsts;
	__u32 receive_rsts;
	__u32 timeouts;
	__u32 backlog_drops;
	__u32 filter_drops;
	__u32 memory_failures;
	__u32 buffer_limits;
	__u32 oom;
};

/* One (process, peer, server port) of one period. */
struct tcp_link {
	char comm[16];
	__u64 rx_bytes;
	__u64 tx_bytes;
	__u64 segs_in;
	__u64 segs_out;
	__u32 retrans;
	__u32 lost;
	__u32 sacked_max;
	__u32 drops;
	__u32 samples;
	__u32 zero_rcv_wnd;
	__u32 zero_snd_wnd;
	__u32 sockets;
	struct tcp_events events;
	struct tcp_histogram histograms[TCP_HISTOGRAMS];
};

_Static_assert(sizeof(struct tcp_config) == 200, "layout of tcp_config");
_Static_assert(sizeof(struct tcp_key) == 44, "layout of tcp_key");
_Static_assert(sizeof(struct tcp_link) == 112 + 56 * TCP_HISTOGRAMS, "layout of tcp_link");

#endif
