/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * TCP connections: who talks to whom, how much, how fast, what was lost.
 *
 * Idea. The kernel counts bytes, segments, retransmissions and losses of every socket anyway (struct tcp_sock), so nothing
 * runs per packet or per system call. A small record hangs at each socket (socket storage): who owns it, its role and
 * ends, and what was reported last. Once a period an iterator walks these records, over all network namespaces, and
 * adds the differences to one row per (process, peer, server port); a closing socket adds its own last difference. User
 * space takes the rows out.
 *
 * Hooks
 *   inet_sock_set_state     birth, role, owner of an opened connection, death. 0.3-0.8 us, 4-6 times in a connection's life.
 *   iter/bpf_sk_storage_map the walk: about 0.5 us a socket and period.
 *   iter/task_file          owners, and connections older than this program: 0.1 us a descriptor, run only when a
 *                           connection without a certain owner turned up.
 *   tcp_send_reset, tcp_receive_reset, inet_sk_error_report, sock_exceed_buf_limit, kfree_skb (by reason): rare events.
 *
 * Maps. `socks`: 200 bytes a socket, living and dying with it. `links`: 900 bytes a row, 4096 rows, emptied each period.
 *
 * Owner. An opened connection belongs to the process that called connect(). An accepted one inherits the listener's
 * process (its storage is cloned with the socket) until the walk over descriptors has found who really holds it, so
 * workers of a forking server are told apart. A connection shorter than a period stays with the listener's process.
 *
 * Blind spots. Bytes of a connection older than this program count from the first sight on. Two CPUs accounting one
 * socket in the same microsecond (walk and close) may count its last difference twice.
 */
#include "compat.h"
#include "kernel.h"
#include "maps.h"
#include "records.h"
#include "sock.h"
#include "tcp.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile struct tcp_config config SEC(".rodata.config") = {};

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

	ADD(link->samples, 1);
	if (srtt)
		record(link, TCP_SRTT, TCP_SCALE_RTT, srtt >> 3);
	if (rcv_rtt)
		record(link, TCP_RCV_RTT, TCP_SCALE_RTT, rcv_rtt >> 3);
	record(link, TCP_SND_CWND, TCP_SCALE_SEGMENTS, GET(tp, snd_cwnd));
	record(link, TCP_REORDERING, TCP_SCALE_SEGMENTS, GET(tp, reordering));
	record(link, TCP_NOTSENT, TCP_SCALE_BYTES, GET(tp, write_seq) - GET(tp, snd_nxt));
	record(link, TCP_NOTACK, TCP_SCALE_BYTES, in_flight);
	record(link, TCP_SND_WND, TCP_SCALE_BYTES, snd_wnd);
	record(link, TCP_RCV_WND, TCP_SCALE_BYTES, rcv_wnd);
	record(link, TCP_AVL_SND_WND, TCP_SCALE_BYTES, snd_wnd > in_flight ? snd_wnd - in_flight : 0);
	record(link, TCP_RTO, TCP_SCALE_TIMEOUT, jiffies_to_ms(GET(icsk, icsk_rto)));
	record(link, TCP_ATO, TCP_SCALE_TIMEOUT, jiffies_to_ms(read_ato(tp)));
	record(link, TCP_SK_RCVBUF, TCP_SCALE_BUFFER, GET(sk, sk_rcvbuf));
	record(link, TCP_SK_SNDBUF, TCP_SCALE_BUFFER, GET(sk, sk_sndbuf));
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

/* Writes role and ends into the record. */
static __always_inline void describe(const struct sock *sk, struct sock_record *rec, __u16 role)
{
	struct endpoints ends;

	read_endpoints(sk, &ends);
	rec->key.role = role;
	rec->key.family = ends.family;
	if (role == TCP_ROLE_CLIENT) {
		rec->key.client_port = config.keep_client_port ? ends.local_port : 0;
		rec->key.server_port = ends.remote_port;
		__builtin_memcpy(rec->key.client, ends.local, 16);
		__builtin_memcpy(rec->key.server, ends.remote, 16);
	} else {
		rec->key.client_port = config.keep_client_port ? ends.remote_port : 0;
		rec->key.server_port = ends.local_port;
		__builtin_memcpy(rec->key.client, ends.remote, 16);
		__builtin_memcpy(rec->key.server, ends.local, 16);
	}
}

static __always_inline void own_by_current(struct sock_record *rec)
{
	rec->key.tgid = bpf_get_current_pid_tgid() >> 32;
	rec->certain = 1;
	current_comm(rec->comm);
}

static __always_inline struct sock_record *make_record(const struct sock *sk)
{
	struct sock_record *rec = MAKE_RECORD(socks, sk);

	if (!rec)
		COUNT(counters.records_lost);
	return rec;
}

static __always_inline bool is_connection(const struct sock_record *rec)
{
	return (rec->key.role == TCP_ROLE_CLIENT || rec->key.role == TCP_ROLE_SERVER) && !rec->closed;
}

/* Owner of an accepted connection as long as nobody was seen with it: the listener's. A record at the socket came with it. */
static __always_inline void inherit(const struct sock *sk, struct sock_record *rec)
{
#ifdef BY_ADDRESS
	struct sock_record *listener = listeners_record(&listening, &socks, sk);

	if (!listener)
		return;
	rec->key.tgid = listener->key.tgid;
	__builtin_memcpy(rec->comm, listener->comm, sizeof(rec->comm));
#endif
}

static __always_inline void established(const struct sock *sk, int old)
{
	struct sock_record *rec = make_record(sk);
	struct tcp_sock *tp = tcp_sock_of(sk);
	__u32 srtt;

	if (!rec || !tp)
		return;
	if (old == TCP_SYN_RECV) {
		struct tcp_link *link;

		inherit(sk, rec);
		rec->certain = 0;
		rec->sampled = 0;
		rec->closed = 0;
		__builtin_memset(&rec->events, 0, sizeof(rec->events));
		describe(sk, rec, TCP_ROLE_SERVER);
		link = link_of(rec);
		srtt = GET(tp, srtt_us);
		if (link && srtt)
			record(link, TCP_SYN_SRTT, TCP_SCALE_RTT, srtt >> 3);
		__builtin_memset(&rec->reported, 0, sizeof(rec->reported));
		read_totals(tp, TCP_ESTABLISHED, &rec->reported);
	} else {
		describe(sk, rec, TCP_ROLE_CLIENT);
		/* Retransmitted SYNs belong to the connection; the SYN's sequence number is not a byte of the application. */
		rec->reported.tx_bytes = GET(tp, bytes_acked);
	}
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_set_state, const struct sock *sk, int old, int new)
{
	struct sock_record *rec;
	struct tcp_sock *tp;

	if (!is_tcp(sk))
		return 0;
	if (new == TCP_SYN_SENT) {
		rec = make_record(sk);
		if (rec) {
			__builtin_memset(rec, 0, sizeof(*rec));
			own_by_current(rec);
			describe(sk, rec, TCP_ROLE_CLIENT);
		}
	} else if (new == TCP_LISTEN) {
		rec = make_record(sk);
		if (rec) {
			__builtin_memset(rec, 0, sizeof(*rec));
			own_by_current(rec);
			rec->key.role = TCP_ROLE_LISTENER;
			LISTENER_BORN(listening, sk);
		}
	} else if (new == TCP_ESTABLISHED) {
		established(sk, old);
	} else if (new == TCP_CLOSE && old != TCP_LISTEN) {
		rec = RECORD_OF(socks, sk);
		tp = tcp_sock_of(sk);
		if (rec && tp && is_connection(rec)) {
			account(tp, rec, old);
			rec->closed = 1;
		}
	}
	return 0;
}

#ifdef BY_ADDRESS
SEC("?tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_gone, const struct sock *sk)
{
	forget_listener(&listening, sk);
	forget_record(&socks, sk);
	return 0;
}
#endif

SEC(WALK)
int tcp_walk(WALK_CONTEXT *ctx)
{
	struct sock *sk = WALKED_SOCKET(ctx);
	struct sock_record *rec;
	struct tcp_sock *tp;
	int state;

	if (!sk)
		return 0;
	rec = RECORD_OF(socks, sk);
	if (!rec || !is_connection(rec))
		return 0;
	state = GET(sk, __sk_common.skc_state);
	tp = tcp_sock_of(sk);
	if (!tp || state == TCP_CLOSE)
		return 0;
	COUNT(counters.walked);
	if (!rec->certain)
		COUNT(counters.guessed);
	account(tp, rec, state);
	return 0;
}

static __always_inline void own_by_task(struct sock_record *rec, struct task_struct *task)
{
	rec->key.tgid = task->tgid;
	rec->certain = 1;
	process_comm(task, rec->comm);
}

/*
 * Runs over every descriptor of every process. Listeners come first in time, not in order, so user space runs it twice at
 * start: connections are taken up only when the ports are known.
 */
volatile __u32 adopt_connections SEC(".bss.phase");

SEC("?iter/task_file")
int tcp_owners(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = tcp_socket_of(ctx);
	struct task_struct *task = ctx->task;
	struct sock_record *rec;
	struct port_key port;
	struct tcp_sock *tp;
	int state;

	if (!sk || !task)
		return 0;
	state = GET(sk, __sk_common.skc_state);
	if (state == TCP_LISTEN) {
		note_listener(&listening, sk);
		rec = make_record(sk);
		if (rec && rec->key.role == TCP_ROLE_NONE) {
			own_by_task(rec, task);
			rec->key.role = TCP_ROLE_LISTENER;
		}
		return 0;
	}
	if (state == TCP_CLOSE || state == TCP_SYN_SENT)
		return 0;
	rec = RECORD_OF(socks, sk);
	if (rec && rec->key.role != TCP_ROLE_NONE) {
		if (!rec->certain)
			own_by_task(rec, task);
		return 0;
	}
	tp = tcp_sock_of(sk);
	if (!adopt_connections || !tp)
		return 0;
	rec = make_record(sk);
	if (!rec)
		return 0;
	own_by_task(rec, task);
	port = port_of(sk);
	describe(sk, rec, bpf_map_lookup_elem(&listening, &port) ? TCP_ROLE_SERVER : TCP_ROLE_CLIENT);
	read_totals(tp, state, &rec->reported);
	return 0;
}

/* close() with unread bytes ends the connection first and sends the reset afterwards. */
#define NOTE(sk, field)                                                                             \
	do {                                                                                        \
		struct sock_record *rec = sk ? RECORD_OF(socks, sk) : NULL;                         \
		struct tcp_link *link = rec && rec->closed ? link_of(rec) : NULL;                   \
		if (link)                                                                           \
			ADD(link->events.field, 1);                                                 \
		else if (rec)                                                                       \
			ADD(rec->events.field, 1);                                                  \
	} while (0)

SEC("?tp_btf/tcp_send_reset")
int BPF_PROG(tcp_send_reset, const struct sock *sk)
{
	NOTE(sk, send_rsts);
	return 0;
}

SEC("?tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_receive_reset, struct sock *sk)
{
	NOTE(sk, receive_rsts);
	return 0;
}

SEC("?tp_btf/inet_sk_error_report")
int BPF_PROG(tcp_error_report, struct sock *sk)
{
	if (is_tcp(sk) && GET(sk, sk_err) == ETIMEDOUT)
		NOTE(sk, timeouts);
	return 0;
}

/* Before 5.15: what timed out ends with that error. */
SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_timed_out, struct sock *sk, int old, int new)
{
	if (new == TCP_CLOSE && is_tcp(sk) && GET(sk, sk_err) == ETIMEDOUT)
		NOTE(sk, timeouts);
	return 0;
}

SEC("?tp_btf/sock_exceed_buf_limit")
int BPF_PROG(tcp_buffer_limit, struct sock *sk)
{
	if (is_tcp(sk))
		NOTE(sk, buffer_limits);
	return 0;
}

/* The receiving socket is an argument since 6.11. */
SEC("?tp_btf/kfree_skb")
int BPF_PROG(tcp_drop, struct sk_buff *skb, void *location, int reason, struct sock *sk)
{
	if (!reason || !sk)
		return 0;
	if (reason == (int)config.reason_backlog)
		NOTE(sk, backlog_drops);
	else if (reason == (int)config.reason_filter)
		NOTE(sk, filter_drops);
	else if (reason == (int)config.reason_memory)
		NOTE(sk, memory_failures);
	return 0;
}

SEC("?fexit/tcp_add_backlog")
int BPF_PROG(tcp_backlog_exit, struct sock *sk, struct sk_buff *skb, void *reason, bool dropped)
{
	if (dropped)
		NOTE(sk, backlog_drops);
	return 0;
}

/* Without a reason before 5.18. */
SEC("?fexit/tcp_add_backlog")
int BPF_PROG(tcp_backlog_exit_old, struct sock *sk, struct sk_buff *skb, bool dropped)
{
	if (dropped)
		NOTE(sk, backlog_drops);
	return 0;
}

SEC("?fexit/tcp_check_oom")
int BPF_PROG(tcp_oom_exit, struct sock *sk, int shift, bool out_of_memory)
{
	if (out_of_memory)
		NOTE(sk, oom);
	return 0;
}
