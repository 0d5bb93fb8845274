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
 *   iter/bpf_sk_storage_map the walk: about 0.5 us a socket and period. Where the kernel forbids it, iter/task_file runs each
 *                           period, and iter/tcp for what no descriptor of this network namespace holds, if there is any: it
 *                           looks at each place of the table of connections, 2.4 ms for the 262144 of a machine with 24 GiB.
 *   iter/task_file          owners, and connections older than this program: 0.1 us a descriptor, else run only when a
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
#include "kernel.h"
#include "maps.h"
#include "records.h"
#include "sock.h"
#include "tcp.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile struct tcp_config config SEC(".rodata.config") = {};

/* Parts that user space has no use for, changed while it runs. */
volatile __u32 left_out SEC(".bss.left_out");

/* Reads both. */
#include "account.h"

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

/*
 * Number of the walk over all descriptors that goes on, or was the last. Listeners come first in time, not in order, so user
 * space runs it twice at start: connections are taken up only when the ports are known.
 */
volatile struct {
	__u32 adopt_connections;
	__u32 walk;
	/* This network namespace where connections are accounted as they are met: no other walk meets those of others. 0: none are. */
	__u32 own_net;
	/* Sockets of this network namespace that the walk met. */
	__u32 met;
	/* Sockets that only the table of connections holds and of which there is nothing to account. */
	__u32 passed_over;
} phase SEC(".bss.phase");

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

/* Whether connections are accounted as they are met and this is the first time that the walk meets it: several processes may
 * hold one. */
static __always_inline bool meet(const struct sock *sk, struct sock_record *rec)
{
	if (!phase.own_net || rec->met == phase.walk)
		return false;
	rec->met = phase.walk;
	if (net_namespace(sk) == phase.own_net)
		phase.met++;
	return true;
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
		rec->met = 0;
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
		/* Retransmitted SYNs belong to the connection, and bytes that went with the SYN. */
		rec->reported.tx_bytes = 1;
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
			/* The SYN takes a sequence number: no byte of the application, also where nobody answers it. */
			rec->reported.tx_bytes = 1;
		}
	} else if (new == TCP_LISTEN) {
		rec = make_record(sk);
		if (rec) {
			__builtin_memset(rec, 0, sizeof(*rec));
			own_by_current(rec);
			rec->held = phase.walk;
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

static __always_inline int walk(struct sock *sk)
{
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

SEC(WALK)
int tcp_walk(WALK_CONTEXT *ctx)
{
	return walk(WALKED_SOCKET(ctx));
}

#ifndef BY_ADDRESS
/* Where the kernel keeps programs from walking over maps: what no descriptor holds. */
SEC("?iter/tcp")
int tcp_walk_own(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct sock *sk = common ? (struct sock *)bpf_skc_to_tcp_sock(common) : NULL;
	struct sock_record *rec = sk ? RECORD_OF(socks, sk) : NULL;

	if (!sk)
		return 0;
	if (!rec || (rec->met != phase.walk && !is_connection(rec)))
		phase.passed_over++;
	else if (meet(sk, rec))
		walk(sk);
	return 0;
}
#endif

static __always_inline void own_by_task(struct sock_record *rec, struct task_struct *task)
{
	rec->key.tgid = task->tgid;
	rec->certain = 1;
	process_comm(task, rec->comm);
}

/* Runs over every descriptor of every process. */
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
	if (state == TCP_CLOSE)
		return 0;
	if (state == TCP_LISTEN) {
		note_listener(&listening, sk);
		rec = make_record(sk);
		if (rec && rec->key.role == TCP_ROLE_NONE) {
			own_by_task(rec, task);
			rec->held = phase.walk;
			rec->key.role = TCP_ROLE_LISTENER;
		} else if (rec && is_orphaned(rec->key.tgid, &rec->held, phase.walk, task)) {
			own_by_task(rec, task);
		}
		if (rec)
			meet(sk, rec);
		return 0;
	}
	rec = RECORD_OF(socks, sk);
	if (rec && rec->key.role != TCP_ROLE_NONE) {
		if (!rec->certain)
			own_by_task(rec, task);
		if (meet(sk, rec))
			walk(sk);
		return 0;
	}
	tp = tcp_sock_of(sk);
	if (!phase.adopt_connections || !tp || state == TCP_SYN_SENT)
		return 0;
	rec = make_record(sk);
	if (!rec)
		return 0;
	own_by_task(rec, task);
	port = port_of(sk);
	describe(sk, rec, bpf_map_lookup_elem(&listening, &port) ? TCP_ROLE_SERVER : TCP_ROLE_CLIENT);
	read_totals(tp, state, &rec->reported);
	meet(sk, rec);
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

static __always_inline bool timed_out(struct sock *sk)
{
	return is_tcp(sk) && GET(sk, sk_err) == ETIMEDOUT;
}

/*
 * A connection that gave up waiting ends with the last word of the way to its peer where there was one. Only the end tells:
 * a socket that asked for such words (IP_RECVERR) has them for an error while its connection lives on.
 */
static __always_inline bool was_cut_off(struct sock *sk, __u8 state)
{
	struct tcp_sock *tp;
	int error = GET(sk, sk_err);

	if (!is_tcp(sk))
		return false;
	if ((error != EHOSTUNREACH && error != ENETUNREACH) || state == TCP_SYN_SENT)
		return false;
	tp = tcp_sock_of(sk);
	return tp && GET(tp, inet_conn.icsk_retransmits);
}

SEC("?tp_btf/inet_sk_error_report")
int BPF_PROG(tcp_error_report, struct sock *sk)
{
	if (timed_out(sk))
		NOTE(sk, timeouts);
	return 0;
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_cut_off, struct sock *sk, int old, int new)
{
	if (new == TCP_CLOSE && was_cut_off(sk, old))
		NOTE(sk, timeouts);
	return 0;
}

/* Before 5.15: what timed out ends with that error. */
SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_timed_out, struct sock *sk, int old, int new)
{
	if (new == TCP_CLOSE && (timed_out(sk) || was_cut_off(sk, old)))
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
