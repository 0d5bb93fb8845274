/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is kept of a socket, and how it gets into its row. The including file declares `config` and `left_out`. */
#ifndef GALA_ACCOUNT_H
#define GALA_ACCOUNT_H

#include "compat.h"
#include "kernel.h"
#include "maps.h"
#include "records.h"
#include "sock.h"
#include "tcp.h"
#include <bpf/bpf_helpers.h>

/* What was already reported of a socket. */
struct totals {
	__u64 rx_bytes;
	__u64 tx_bytes;
	__u32 segs_in;
	__u32 segs_out;
	__u32 retrans;
	__u32 lost;
	__u32 drops;
};

struct sock_record {
	struct tcp_key key;
	/* The owner was seen holding the socket, not only guessed from the listener. */
	__u8 certain;
	__u8 sampled;
	/* Accounted for good; what still happens goes to the row at once. */
	__u8 closed;
	char comm[16];
	/* Of a listener: see is_orphaned(). */
	__u32 held;
	/* The walk over descriptors that met it last. */
	__u32 met;
	struct totals reported;
	struct tcp_events events;
};

SOCKET_RECORDS(socks, sock_record, BPF_F_CLONE);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct tcp_key);
	__type(value, struct tcp_link);
} links SEC(".maps");

/* A row is too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tcp_link);
} empty_link SEC(".maps");

/* Tells the role of connections that existed before the program. */
struct listeners listening SEC(".maps");

struct {
	/* Rows that did not fit. */
	__u64 links_lost;
	/* Sockets whose record could not be made. */
	__u64 records_lost;
	/* Accepted connections seen by the last walk whose owner is only a guess. */
	__u64 guessed;
	__u64 walked;
} counters SEC(".bss.counters");

static __always_inline void read_totals(struct tcp_sock *tp, int state, struct totals *out)
{
	struct sock *sk = (struct sock *)tp;
	__u32 unread = GET(tp, rcv_nxt) - GET(tp, copied_seq);
	__u64 received = GET(tp, bytes_received);
	__u32 unacked = GET(tp, write_seq) - GET(tp, snd_una);
	__u64 delivered = received > unread ? received - unread : 0;

	/* The peer's FIN takes a sequence number and is "received" too. */
	if ((GET(sk, sk_shutdown) & RCV_SHUTDOWN) && received && delivered > received - 1)
		delivered = received - 1;
	out->rx_bytes = delivered;
	out->tx_bytes = GET(tp, bytes_acked) + unacked;
	/* So does ours. */
	if ((state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING || state == TCP_LAST_ACK ||
	     state == TCP_TIME_WAIT) &&
	    out->tx_bytes)
		out->tx_bytes--;
	out->segs_in = GET(tp, segs_in);
	out->segs_out = GET(tp, segs_out);
	out->retrans = GET(tp, total_retrans);
	out->lost = GET(tp, lost);
	out->drops = GET(sk, sk_drops.counter);
}

static __always_inline void record(struct tcp_link *link, int id, int scale, __u32 value)
{
	struct tcp_histogram *histogram = &link->histograms[id];
	__u32 bucket = 0;

	for (int i = 0; i < TCP_EDGES; i++)
		bucket += value > config.edges[scale][i];
	if (bucket < TCP_BUCKETS)
		ADD(histogram->counts[bucket], 1);
	ADD(histogram->sum, value);
	RAISE(histogram->max, value);
}

static __always_inline __u32 jiffies_to_ms(__u32 jiffies)
{
	return config.hz ? (__u64)jiffies * 1000 / config.hz : 0;
}

static __noinline void sample(struct tcp_sock *tp, struct tcp_link *link)
{
	struct sock *sk = (struct sock *)tp;
	struct inet_connection_sock *icsk = &tp->inet_conn;
	__u32 in_flight = GET(tp, snd_nxt) - GET(tp, snd_una);
	__u32 snd_wnd = GET(tp, snd_wnd);
	__u32 rcv_wnd = GET(tp, rcv_wnd);
	__u32 srtt = GET(tp, srtt_us), rcv_rtt = GET(tp, rcv_rtt_est.rtt_us);
	__u32 sacked = GET(tp, sacked_out);
	__u32 off = left_out;

	ADD(link->samples, 1);
	if (srtt && !(off & TCP_PART_RTT))
		record(link, TCP_SRTT, TCP_SCALE_RTT, srtt >> 3);
	if (rcv_rtt && !(off & TCP_PART_RTT))
		record(link, TCP_RCV_RTT, TCP_SCALE_RTT, rcv_rtt >> 3);
	if (!(off & TCP_PART_WINDOWS)) {
		record(link, TCP_SND_CWND, TCP_SCALE_SEGMENTS, GET(tp, snd_cwnd));
		record(link, TCP_REORDERING, TCP_SCALE_SEGMENTS, GET(tp, reordering));
		record(link, TCP_NOTSENT, TCP_SCALE_BYTES, GET(tp, write_seq) - GET(tp, snd_nxt));
		record(link, TCP_NOTACK, TCP_SCALE_BYTES, in_flight);
		record(link, TCP_SND_WND, TCP_SCALE_BYTES, snd_wnd);
		record(link, TCP_RCV_WND, TCP_SCALE_BYTES, rcv_wnd);
		record(link, TCP_AVL_SND_WND, TCP_SCALE_BYTES, snd_wnd > in_flight ? snd_wnd - in_flight : 0);
	}
	if (!(off & TCP_PART_TIMEOUTS)) {
		record(link, TCP_RTO, TCP_SCALE_TIMEOUT, jiffies_to_ms(GET(icsk, icsk_rto)));
		record(link, TCP_ATO, TCP_SCALE_TIMEOUT, jiffies_to_ms(read_ato(tp)));
	}
	if (!(off & TCP_PART_BUFFERS)) {
		record(link, TCP_SK_RCVBUF, TCP_SCALE_BUFFER, GET(sk, sk_rcvbuf));
		record(link, TCP_SK_SNDBUF, TCP_SCALE_BUFFER, GET(sk, sk_sndbuf));
	}
	if (!snd_wnd)
		ADD(link->zero_snd_wnd, 1);
	if (!rcv_wnd)
		ADD(link->zero_rcv_wnd, 1);
	RAISE(link->sacked_max, sacked);
}

static __always_inline struct tcp_link *link_of(struct sock_record *rec)
{
	struct tcp_link *link = bpf_map_lookup_elem(&links, &rec->key);
	__u32 zero = 0;

	if (link)
		return link;
	link = bpf_map_lookup_elem(&empty_link, &zero);
	if (!link)
		return NULL;
	bpf_map_update_elem(&links, &rec->key, link, BPF_NOEXIST);
	link = bpf_map_lookup_elem(&links, &rec->key);
	if (!link) {
		COUNT(counters.links_lost);
		return NULL;
	}
	__builtin_memcpy(link->comm, rec->comm, sizeof(link->comm));
	return link;
}

/* A counter that ran backwards was read torn; it is taken up again next time. */
#define TAKE(to, field)                                       \
	do {                                                  \
		if (now.field > rec->reported.field) {        \
			ADD(to, now.field - rec->reported.field); \
			rec->reported.field = now.field;      \
		}                                             \
	} while (0)

/* 32-bit counters wrap. */
#define TAKE32(to, field)                                 \
	do {                                              \
		ADD(to, now.field - rec->reported.field); \
		rec->reported.field = now.field;          \
	} while (0)

#define MOVE(to, field)                            \
	do {                                       \
		if (rec->events.field) {           \
			ADD(to, rec->events.field); \
			rec->events.field = 0;     \
		}                                  \
	} while (0)

/* Adds what happened at the socket since it was last accounted to its row. `state` is the one it is in or leaves. */
static __noinline int account(struct tcp_sock *tp, struct sock_record *rec, int state)
{
	struct tcp_link *link;
	struct totals now = {};
	bool active;

	if (!tp || !rec)
		return 0;
	link = link_of(rec);
	if (!link)
		return 0;
	read_totals(tp, state, &now);
	active = now.segs_in != rec->reported.segs_in || now.segs_out != rec->reported.segs_out || !rec->sampled;
	TAKE(link->rx_bytes, rx_bytes);
	TAKE(link->tx_bytes, tx_bytes);
	TAKE32(link->segs_in, segs_in);
	TAKE32(link->segs_out, segs_out);
	TAKE32(link->retrans, retrans);
	TAKE32(link->lost, lost);
	TAKE32(link->drops, drops);
	MOVE(link->events.send_rsts, send_rsts);
	MOVE(link->events.receive_rsts, receive_rsts);
	MOVE(link->events.timeouts, timeouts);
	MOVE(link->events.backlog_drops, backlog_drops);
	MOVE(link->events.filter_drops, filter_drops);
	MOVE(link->events.memory_failures, memory_failures);
	MOVE(link->events.buffer_limits, buffer_limits);
	MOVE(link->events.oom, oom);
	ADD(link->sockets, 1);
	if (active && state != TCP_SYN_SENT) {
		rec->sampled = 1;
		sample(tp, link);
	}
	return 0;
}

#endif
