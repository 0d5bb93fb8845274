/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Latency of Redis requests at the server, in stages.
 *
 * Four times of a request: TS1 its last packet arrives at the socket, TS2 the application reads it, TS3 the application
 * writes the answer, TS4 the peer acknowledges the answer. Scheduling is TS2 - TS1, processing TS3 - TS2, sending TS4 - TS3.
 *
 * Idea. Everything hangs at the socket (socket storage), so nothing is looked up by address and sockets of clients
 * cost a look at a bit, those of other servers one lookup. Whether a connection speaks RESP is decided on its first
 * data and remembered. Commands are counted by following the stream (resp.h), so pipelined and cut commands are counted
 * once each. Requests are answered in order; those read together form a batch with one set of times.
 *
 * Hooks, all with the socket locked, so the record needs no lock
 *   tcp_probe             each packet in: the request's bytes (TS1) and the acknowledgement of the answer before (TS4).
 *   tcp_sendmsg_locked    each write, with the answer's first bytes (TS3, errors); TS2 is the time that TCP itself took when
 *                         the application read (tcp_rcv_space_adjust refreshes tcp_clock_cache), so reading needs no hook.
 *   inet_sock_set_state   birth of an accepted connection, its end.
 *   iter/task_file        connections older than this program; descriptor numbers; whose a listening port is.
 *   iter/bpf_sk_storage_map  the connections of the period for user space; iter/tcp where the kernel forbids it.
 *
 * Acknowledged late on purpose. An idle client acknowledges with its next request or after 40 ms (delayed ACK), so TS4 is
 * not when the answer arrived. Unless something was retransmitted or more than SLI_DELAYED_ACK passed, the way back counts
 * with the connection's smallest round trip at most. `send` keeps TS4 - TS3 as it was.
 *
 * Many requests on one connection. Commands that come while others are processed wait for an answer of their own, with their
 * own TS1, unless the application read them before it wrote that of the others. What is known of commands that are read or
 * answered is set aside when further ones come.
 *
 * Who waits. The walk tells how long the oldest request of a connection has been waiting, also where nobody has accepted
 * the connection: a server that hangs has such ones only, once its clients try again. Not waiting are clients that asked
 * for no answers (CLIENT REPLY), and those whose server read further commands after the waiting ones without a word
 * between: a server that hangs reads nothing more.
 *
 * Maps. `conns`: 380 bytes a server-side connection. `methods`: 280 bytes a processor and (process, port, command), 1024
 * of them; user space removes those of processes that ended. `often`: 4 KiB a processor for the few asked for most.
 * `owners`: 60 bytes a listening port.
 *
 * Cost of a request on one host, as the kernel measures it: 0.5 to 0.6 us for four runs (two at each end), 0.75 to 0.9 on a machine
 * that compiles meanwhile; of it 65 ns a run are the measuring itself. What is left are calls into the kernel, dear where it
 * guards its returns: reading the packet 0.11 us, an answer's first byte 0.08 (not of short ones), two looks at the clock and two
 * at the socket's record 0.07 each. 5 ns each packet and write at any other socket.
 *
 * Blind spots. Encrypted connections, Unix sockets, connections that never sent but lines of text. Bytes that arrived out of
 * order, or with the end of a handshake, are not seen: commands in them are missed, counted as gaps. An acknowledgement that
 * arrives between reading and writing makes TS2 too late; where the kernel's own one did (is_timers), TS2 is guessed. An
 * answer written in pieces is over with its first one. One command of a batch names its times, and errors are told by the
 * first answer of a batch, unless that is shorter than SLI_ERROR_LEAST. Commands that wait on purpose (BLPOP, XREAD,
 * SUBSCRIBE, WAIT ...), and those in a batch with them, are counted and not timed. A way back that grew by less than
 * SLI_DELAYED_ACK shows only when the kernel has forgotten the smaller round trip (300 s): a client that thinks before it asks
 * again, and acknowledges with that, looks the same from here.
 */
#include "compat.h"
#include "kernel.h"
#include "maps.h"
#include "records.h"
#include "sli.h"
#include "sock.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile struct sli_config config SEC(".rodata.config") = {};

/* These read the configuration. */
#include "conn.h"
#ifndef BY_ADDRESS
#include "packets.h"
#endif
#include "reads.h"

/*
 * An error is told by a word of three letters at least: "-ERR\r\n". What is shorter ("+OK\r\n", "$-1\r\n") is not looked at,
 * which costs as much as two looks at the clock.
 */
#define SLI_ERROR_LEAST 6

/* The application writes an answer, whose first byte lies at `bytes`. */
static __always_inline void was_answered(struct conn *conn, struct tcp_sock *tp, const struct msghdr *msg, __u64 bytes)
{
	__u32 length = GET(msg, msg_iter.count);
	__u64 read, now;
	__u8 start = 0;

	if (conn->answered)
		finish(conn, tp, 0);
	if (!(conn->flags & OWNED)) {
		conn->flags |= OWNED;
		conn->tgid = bpf_get_current_pid_tgid() >> 32;
	}
	now = bpf_ktime_get_ns();
	if (conn->flags & READ) {
		conn->flags &= ~READ;
		read = conn->arrived;
	} else {
		/* A packet between reading and writing moves TCP's clock: never beyond the writing. */
		read = conn->flags & ASIDE ? conn->aside_read : read_at(conn, tp);
		read = read > now ? now : read;
		conn->sched = read - conn->arrived;
	}
	conn->proc = now - read;
	conn->written = now;
	conn->answered = conn->waiting;
	conn->waiting = 0;
	conn->errors = bytes && length >= SLI_ERROR_LEAST && !bpf_probe_read_user(&start, 1, (void *)bytes) && start == '-';
	conn->answer_end = GET(tp, write_seq) + length;
	conn->retrans = GET(tp, total_retrans);
	if (conn->flags & (FOLLOWED | ASIDE))
		divide(conn, tp);
}

#ifndef BY_ADDRESS
SEC("?tp_btf/tcp_sendmsg_locked")
int BPF_PROG(sli_write, struct sock *sk, struct msghdr *msg)
{
	struct conn *conn = conn_of(sk);

	if (conn && conn->waiting)
		was_answered(conn, tcp_of(sk), msg, next_user_byte_typed(msg));
	return 0;
}
#endif

SEC("?fentry/tcp_sendmsg_locked")
int BPF_PROG(sli_write_enters, struct sock *sk, struct msghdr *msg)
{
	struct conn *conn = conn_of(sk);
	struct tcp_sock *tp;

	if (!conn || !conn->waiting)
		return 0;
	tp = tcp_sock_of(sk);
	if (tp)
		was_answered(conn, tp, msg, next_user_byte(msg));
	return 0;
}

#ifdef BY_ADDRESS
SEC("?kprobe/tcp_sendmsg_locked")
int BPF_KPROBE(sli_write_called, struct sock *sk, struct msghdr *msg)
{
	struct conn *conn = conn_of(sk);

	if (conn && conn->waiting)
		was_answered(conn, (struct tcp_sock *)sk, msg, next_user_byte(msg));
	return 0;
}
#endif

static __always_inline struct conn *make_conn(struct sock *sk, __u32 tgid, __u8 tries)
{
	struct conn *conn = MAKE_RECORD(conns, sk);
	struct endpoints ends;

	if (!conn) {
		COUNT(counters.conns_lost);
		return NULL;
	}
	read_endpoints(sk, &ends);
	conn->tgid = tgid;
	conn->tries = tries;
	conn->flags = tgid ? OWNED : 0;
	conn->fd = -1;
	conn->server_port = ends.local_port;
	conn->client_port = ends.remote_port;
	conn->next = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	conn->family = ends.family;
	__builtin_memcpy(conn->server, ends.local, 16);
	__builtin_memcpy(conn->client, ends.remote, 16);
	return conn;
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(sli_state, struct sock *sk, int old, int new)
{
	struct conn *conn;
	struct tcp_sock *tp;

	if (!is_tcp(sk))
		return 0;
	if (new == TCP_LISTEN) {
		serve(sk);
		own_port(sk, bpf_get_current_pid_tgid() >> 32, BPF_ANY);
	} else if (old == TCP_LISTEN) {
		disown_port(sk);
	} else if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		conn = make_conn(sk, 0, SLI_TRIES);
		tp = tcp_sock_of(sk);
		/* Data that came with the end of the handshake passes no hook: that is a gap. */
		if (conn && tp) {
			conn->flags |= FOLLOWING;
			conn->next = GET(tp, rcv_nxt);
		}
	} else if (new == TCP_CLOSE) {
		conn = RECORD_OF(conns, sk);
		if (!conn || !conn->answered)
			return 0;
		tp = tcp_sock_of(sk);
		if (tp)
			finish(conn, tp, 0);
	}
	return 0;
}

#ifdef BY_ADDRESS
SEC("?tp_btf/tcp_destroy_sock")
int BPF_PROG(sli_gone, const struct sock *sk)
{
	forget_record(&conns, sk);
	return 0;
}
#endif

volatile __u32 adopt_connections SEC(".bss.phase");

SEC("?iter/task_file")
int sli_files(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = tcp_socket_of(ctx);
	struct task_struct *task = ctx->task;
	struct conn *conn;
	int state;

	if (!sk || !task)
		return 0;
	state = GET(sk, __sk_common.skc_state);
	if (state == TCP_LISTEN) {
		serve(sk);
		/* A child that inherited the descriptor comes later. */
		own_port(sk, task->tgid, BPF_NOEXIST);
		return 0;
	}
	if (state != TCP_ESTABLISHED)
		return 0;
	conn = RECORD_OF(conns, sk);
	if (!conn && adopt_connections && is_served(sk))
		conn = make_conn(sk, task->tgid, SLI_TRIES_ADOPTED);
	if (conn) {
		conn->fd = ctx->fd;
		if (!(conn->flags & OWNED)) {
			conn->tgid = task->tgid;
			conn->flags |= OWNED;
		}
	}
	return 0;
}

/* Whether its commands were read and get no answer, now or ever, though all is well. */
static __always_inline bool wants_no_answer(const struct sock *sk, const struct conn *conn)
{
	struct tcp_sock *tp;

	if (conn->parser.quiet || conn->flags & PASSED)
		return true;
	if (!(conn->flags & FOLLOWED))
		return false;
	tp = tcp_sock_of(sk);
	return tp && !before(GET(tp, copied_seq), conn->follower);
}

/* For how long the oldest request waits; 0 when none does or not for long. */
static __always_inline __u64 oldest_wait(const struct sock *sk, const struct conn *conn, bool accepted)
{
	/* Where the reading is followed, what nobody has read yet waits since its packet came. */
	__u64 since = conn->waiting ? conn->arrived : conn->first_at;
	__u8 state = GET(sk, __sk_common.skc_state);
	__s64 age;

	/* What waits on purpose is read and not waited for; what came behind it may be. */
	if (conn->waiting && is_oldest_aside(conn) && conn->aside_quiet)
		since = conn->later_at;
	/* What the server itself closed waits for nothing. */
	if (!since || (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT))
		return 0;
	if (accepted && conn->waiting && wants_no_answer(sk, conn))
		return 0;
	age = bpf_ktime_get_ns() - since;
	return age > (__s64)SLI_WAITS_LONG ? age : 0;
}

static __always_inline int walk(struct sock *sk, struct seq_file *seq)
{
	struct sli_connection row = {};
	struct conn *conn;
	bool accepted;

	if (!sk)
		return 0;
	conn = RECORD_OF(conns, sk);
	if (!conn)
		return 0;
	accepted = GET(sk, sk_socket);
	/* Of one that was never read only its process's other connections tell what it speaks. */
	if (conn->verdict != RESP && (accepted || conn->verdict == OTHER))
		return 0;
	row.oldest = oldest_wait(sk, conn, accepted);
	if (!conn->latency_first && !row.oldest)
		return 0;
	row.tgid = conn->flags & OWNED ? conn->tgid : owner_of(sk);
	if (!row.tgid || (conn->fd < 0 && conn->latency_first))
		COUNT(counters.unnamed);
	if (!row.tgid || (conn->fd < 0 && !row.oldest))
		return 0;
	row.fd = conn->fd;
	row.server_port = conn->server_port;
	row.client_port = conn->client_port;
	row.family = conn->family;
	__builtin_memcpy(row.server, conn->server, 16);
	__builtin_memcpy(row.client, conn->client, 16);
	if (row.oldest && is_oldest_aside(conn) && !conn->aside_quiet)
		__builtin_memcpy(row.method, conn->aside_name, SLI_METHOD);
	else
		__builtin_memcpy(row.method, conn->parser.name, SLI_METHOD);
	if (conn->fd >= 0) {
		row.latency_first = conn->latency_first;
		row.latency_max = conn->latency_max;
		conn->latency_first = 0;
		conn->latency_max = 0;
	}
	bpf_seq_write(seq, &row, sizeof(row));
	return 0;
}

SEC(WALK)
int sli_walk(WALK_CONTEXT *ctx)
{
	return walk(WALKED_SOCKET(ctx), ctx->meta->seq);
}

#ifndef BY_ADDRESS
/* Where the kernel keeps programs from walking over maps. */
SEC("?iter/tcp")
int sli_walk_own(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;

	return walk(common ? (struct sock *)bpf_skc_to_tcp_sock(common) : NULL, ctx->meta->seq);
}
#endif
