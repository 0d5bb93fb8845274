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
 *   iter/task_file        connections older than this program; descriptor numbers.
 *   iter/bpf_sk_storage_map  the connections of the period for user space.
 *
 * Acknowledged late on purpose. An idle client acknowledges with its next request or after 40 ms (delayed ACK), so TS4 is
 * not when the answer arrived. Unless something was retransmitted or more than SLI_DELAYED_ACK passed, the way back counts
 * with the connection's smallest round trip at most. `send` keeps TS4 - TS3 as it was.
 *
 * Maps. `conns`: 330 bytes a server-side connection. `methods`: 200 bytes a processor and (process, port, command), 1024
 * of them; user space removes those of processes that ended.
 *
 * Cost of a request on one host, as the kernel measures it: 1.5-1.6 us for four runs (two at each end), of which 75 ns a run
 * are the measuring itself. About 0.1 us are two looks at the clock; 5 ns each packet and write at any other socket.
 *
 * Blind spots. Encrypted connections. Bytes that arrived out of order are not seen when they become readable: pipelined
 * commands in them are missed, counted as gaps. A packet that arrives between reading and writing makes TS2 too late. One
 * command of a batch names its times, and errors are told by the first answer of a batch. Commands that wait on purpose
 * (BLPOP, XREAD, SUBSCRIBE, WAIT ...) are counted and not timed.
 */
#include "compat.h"
#include "kernel.h"
#include "maps.h"
#include "resp.h"
#include "sli.h"
#include "sock.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile struct sli_config config SEC(".rodata.config") = {};

extern int bpf_dynptr_from_skb(struct sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

#define SLI_DELAYED_ACK 50000000ULL
/* Data packets without a command before a connection is taken for something else. */
#define SLI_TRIES 3

enum verdict {
	UNKNOWN = 0,
	RESP = 1,
	OTHER = 2,
};

enum {
	/* `next` is valid. */
	FOLLOWING = 1,
	/* At least one command came to its end. */
	PROVEN = 2,
	/* `tgid` is known. */
	OWNED = 4,
};

/*
 * On one host the client's processor takes packets in and the server's answers: each line of this record that both write
 * wanders twice a request, and that is most of the cost. So all that writing an answer touches lies in the first line (the
 * storage's own header takes its first 8 bytes), and what only packets touch in those behind it.
 */
struct conn {
	__u8 verdict;
	__u8 tries;
	__u8 flags;
	/* Low byte of the retransmissions when the answer was written. */
	__u8 retrans;
	/* Sequence number up to which the stream was followed. */
	__u32 next;
	/* Commands that arrived and are not answered; commands answered and not acknowledged. */
	__u32 waiting;
	__u32 answered;
	/* Sequence number after the answer. */
	__u32 answer_end;
	__u32 errors;
	/* TS1 of the waiting commands; the answered ones' TS2 - TS1, TS3 - TS2 and TS3. */
	__u64 arrived;
	__u64 sched;
	__u64 proc;
	__u64 written;
	/* Of the running period. */
	__u64 latency_first;
	__u64 latency_max;
	__u32 tgid;
	__u16 server_port;
	__u16 family;
	struct resp_parser parser;
	__s32 fd;
	__u16 client_port;
	__u8 server[16];
	__u8 client[16];
};

_Static_assert(__builtin_offsetof(struct conn, latency_first) == 56, "what an answer touches fills one line");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

/* Per processor: plain additions, and no cache line that wanders between the client's and the server's processor. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct sli_key);
	__type(value, struct sli_requests);
} methods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct resp_piece);
} pieces SEC(".maps");

/*
 * Ports that had a listener, one bit each, whatever the namespace. A client's port is hardly ever among them, so its
 * packets end here: two instructions instead of a lookup that finds nothing, which costs ten times as much.
 */
__u8 served[65536 / 8] SEC(".bss.served");

static __always_inline bool is_served(const struct sock *sk)
{
	__u16 port = sk->__sk_common.skc_num;

	return served[port >> 3] & (1 << (port & 7));
}

static __always_inline void serve(const struct sock *sk)
{
	__u16 port = sk->__sk_common.skc_num;

	served[port >> 3] |= 1 << (port & 7);
}

static __always_inline struct conn *conn_of(struct sock *sk)
{
	return is_served(sk) ? bpf_sk_storage_get(&conns, sk, 0, 0) : NULL;
}

struct {
	/* Commands of (process, port, command) triples beyond the limit. */
	__u64 methods_lost;
	/* Pieces of a stream that were not seen. */
	__u64 gaps;
	/* Pieces that made no sense to the parser. */
	__u64 broken;
	/* Connections that could not be kept. */
	__u64 conns_lost;
	/* Connections the last walk saw without a descriptor number. */
	__u64 unnamed;
} counters SEC(".bss.counters");

/* Both hot hooks have a full TCP socket: a cast costs nothing, bpf_skc_to_tcp_sock() a call. */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
}

static __always_inline bool before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

static __noinline int new_method(struct conn *conn, struct sli_key *key)
{
	struct sli_requests fresh = {};

	if (!conn || !key)
		return 0;
	__builtin_memcpy(fresh.server, conn->server, 16);
	bpf_map_update_elem(&methods, key, &fresh, BPF_NOEXIST);
	return 0;
}

static __always_inline struct sli_requests *requests_of(struct conn *conn)
{
	struct sli_key key = { .tgid = conn->tgid, .server_port = conn->server_port, .family = conn->family };
	struct sli_requests *found;

	__builtin_memcpy(key.method, conn->parser.name.at, SLI_METHOD);
	found = bpf_map_lookup_elem(&methods, &key);
	if (found)
		return found;
	new_method(conn, &key);
	found = bpf_map_lookup_elem(&methods, &key);
	if (!found)
		COUNT(counters.methods_lost);
	return found;
}

static __always_inline void note_latency(struct sli_requests *requests, __u64 latency, __u32 count)
{
	__u32 bucket = 0;

	/* Binary search; the edges are padded to 32 with one that nothing exceeds. */
	for (__u32 half = SLI_PADDED / 2; half; half /= 2)
		if (latency > config.edges[(bucket + half - 1) & (SLI_PADDED - 1)])
			bucket += half;
	if (bucket < SLI_BUCKETS)
		requests->buckets[bucket] += count;
	requests->latency_sum += latency * count;
	RAISE(requests->latency_max, latency);
}

/* Commands that answer when something else happens. */
static __always_inline bool waits_on_purpose(const char *name)
{
	return (name[0] == 'B' && (name[1] == 'L' || name[1] == 'R' || name[1] == 'Z')) ||
	       (name[0] == 'X' && name[1] == 'R' && name[2] == 'E' && name[3] == 'A') ||
	       (name[0] == 'S' && name[1] == 'U' && name[2] == 'B') || (name[0] == 'P' && name[1] == 'S') ||
	       (name[0] == 'S' && name[1] == 'S' && name[2] == 'U') || (name[0] == 'W' && name[1] == 'A') ||
	       (name[0] == 'M' && name[1] == 'O' && name[2] == 'N') || (name[0] == 'S' && name[1] == 'Y');
}

/* The answered commands are over. `acked` is TS4, 0 when it was not seen. */
static __noinline int finish(struct conn *conn, struct tcp_sock *tp, __u64 acked)
{
	struct sli_requests *requests;
	__u64 way = 0, latency;
	__u32 count;

	if (!conn || !tp)
		return 0;
	count = conn->answered;
	conn->answered = 0;
	requests = requests_of(conn);
	if (!requests)
		return 0;
	requests->requests += count;
	requests->errors += conn->errors;
	if (waits_on_purpose(conn->parser.name.at))
		return 0;
	if (acked) {
		__u64 send = acked - conn->written;

		way = send;
		requests->send_sum += send * count;
		requests->acknowledged += count;
		if (send <= SLI_DELAYED_ACK && (__u8)tp->total_retrans == conn->retrans) {
			__u64 shortest = tp->rtt_min.s[0].v * 1000ULL;

			way = send < shortest ? send : shortest;
		}
	}
	latency = conn->sched + conn->proc + way;
	requests->sched_sum += conn->sched * count;
	requests->proc_sum += conn->proc * count;
	requests->timed += count;
	note_latency(requests, latency, count);
	if (!conn->latency_first)
		conn->latency_first = latency;
	RAISE(conn->latency_max, latency);
	return 0;
}

struct packet {
	struct bpf_dynptr bytes;
	struct conn *conn;
	__u32 offset;
	__u32 length;
};

/* Follows one piece of the packet; answers 1 when nothing is left. */
static long follow_piece(__u32 index, struct packet *packet)
{
	struct conn *conn = packet->conn;
	struct resp_parser *parser = &conn->parser;
	struct resp_piece *piece;
	struct resp_run run = {};
	__u32 zero = 0, length = packet->length;

	/* The rest of a long argument needs no look. */
	if (parser->skip > length && !parser->at_name) {
		parser->skip -= length;
		return 1;
	}
	piece = bpf_map_lookup_elem(&pieces, &zero);
	if (!piece || !length)
		return 1;
	if (length > RESP_CHUNK)
		length = RESP_CHUNK;
	if (bpf_dynptr_read(piece->bytes + RESP_CARRY, length, &packet->bytes, packet->offset, 0)) {
		parser->broken = 1;
		return 1;
	}
	packet->offset += length;
	packet->length -= length;
	run.parser = parser;
	run.piece = piece;
	run.pos = RESP_CARRY;
	run.end = RESP_CARRY + length;
	if (parser->carried && parser->carried < RESP_CARRY) {
		__builtin_memcpy(piece->bytes, parser->carry, RESP_CARRY);
		run.pos = RESP_CARRY - parser->carried;
		parser->carried = 0;
	}
	bpf_loop(RESP_STEPS, resp_step, &run, 0);
	if (parser->broken)
		return 1;
	return 0;
}

static __always_inline void judge(struct conn *conn, struct packet *packet)
{
	__u8 start[RESP_CARRY] = {};
	__u32 length = packet->length < RESP_CARRY ? packet->length : RESP_CARRY;

	if (length < 1 || bpf_dynptr_read(start, length, &packet->bytes, packet->offset, 0))
		return;
	if (resp_begins(start, length))
		conn->verdict = RESP;
	else if (++conn->tries >= SLI_TRIES)
		conn->verdict = OTHER;
}

/* Largest packet the stack builds is 64 KiB, with BIG TCP 512 KiB. */
#define SLI_PIECES 1024

SEC("?tp_btf/tcp_probe")
int BPF_PROG(sli_packet, struct sock *sk, struct sk_buff *skb)
{
	struct conn *conn = conn_of(sk);
	struct tcp_skb_cb *cb;
	struct packet packet;
	struct tcp_sock *tp;
	__u32 from, end;
	__u64 now = 0;

	if (!conn || conn->verdict == OTHER)
		return 0;
	tp = tcp_of(sk);
	cb = bpf_rdonly_cast(skb->cb, bpf_core_type_id_kernel(struct tcp_skb_cb));
	if (conn->answered && !before(cb->ack_seq, conn->answer_end)) {
		now = bpf_ktime_get_ns();
		finish(conn, tp, now);
	}
	end = cb->end_seq - (cb->tcp_flags & 1);
	from = cb->seq;
	if (from == end || before(tp->rcv_nxt, from))
		return 0;
	packet.length = end - from;
	packet.offset = skb->len - packet.length;
	packet.conn = conn;
	if (!(conn->flags & FOLLOWING)) {
		conn->flags |= FOLLOWING;
		conn->next = tp->rcv_nxt;
	}
	if (before(conn->next, from)) {
		/* What lay out of order became readable without passing here. */
		COUNT(counters.gaps);
		resp_reset(&conn->parser);
		conn->next = from;
	}
	from = conn->next - from;
	if (from >= packet.length)
		return 0;
	packet.offset += from;
	packet.length -= from;
	conn->next = end;
	if (bpf_dynptr_from_skb(skb, 0, &packet.bytes))
		return 0;
	if (conn->verdict == UNKNOWN)
		judge(conn, &packet);
	if (conn->verdict != RESP)
		return 0;
	if (conn->parser.broken)
		resp_reset(&conn->parser);
	if (packet.length <= RESP_CHUNK)
		follow_piece(0, &packet);
	else
		bpf_loop(SLI_PIECES, follow_piece, &packet, 0);
	if (conn->parser.broken) {
		COUNT(counters.broken);
		/* It only began like a command. */
		if (!(conn->flags & PROVEN))
			conn->verdict = OTHER;
	}
	if (conn->parser.complete) {
		conn->flags |= PROVEN;
		if (!conn->waiting)
			conn->arrived = now ? now : bpf_ktime_get_ns();
		conn->waiting += conn->parser.complete;
		conn->parser.complete = 0;
	}
	return 0;
}

/* The first bytes the application hands over. */
static __always_inline int first_bytes(const struct msghdr *msg, __u8 *to, __u32 length)
{
	const struct iov_iter *iter = &msg->msg_iter;
	const void *base;

	if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		base = iter->ubuf;
	} else if (iter->iter_type == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		base = BPF_CORE_READ(iter, __iov, iov_base);
	} else {
		return -1;
	}
	return bpf_probe_read_user(to, length, base + iter->iov_offset);
}

SEC("?tp_btf/tcp_sendmsg_locked")
int BPF_PROG(sli_write, struct sock *sk, struct msghdr *msg)
{
	struct conn *conn = conn_of(sk);
	struct tcp_sock *tp;
	__u64 read, now;
	__u8 start = 0;

	if (!conn || !conn->waiting)
		return 0;
	tp = tcp_of(sk);
	if (conn->answered)
		finish(conn, tp, 0);
	if (!(conn->flags & OWNED)) {
		conn->flags |= OWNED;
		conn->tgid = bpf_get_current_pid_tgid() >> 32;
	}
	now = bpf_ktime_get_ns();
	/* A packet between reading and writing moves TCP's clock: never beyond the writing. */
	read = tp->tcp_clock_cache;
	read = read < conn->arrived ? conn->arrived : read > now ? now : read;
	conn->sched = read - conn->arrived;
	conn->proc = now - read;
	conn->written = now;
	conn->answered = conn->waiting;
	conn->waiting = 0;
	conn->errors = !first_bytes(msg, &start, 1) && start == '-';
	conn->answer_end = tp->write_seq + (__u32)msg->msg_iter.count;
	conn->retrans = tp->total_retrans;
	return 0;
}

static __always_inline struct conn *make_conn(struct sock *sk, __u32 tgid)
{
	struct conn *conn = bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct endpoints ends;

	if (!conn) {
		COUNT(counters.conns_lost);
		return NULL;
	}
	read_endpoints(sk, &ends);
	conn->tgid = tgid;
	conn->flags = tgid ? OWNED : 0;
	conn->fd = -1;
	conn->server_port = ends.local_port;
	conn->client_port = ends.remote_port;
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
	} else if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		make_conn(sk, 0);
	} else if (new == TCP_CLOSE) {
		conn = bpf_sk_storage_get(&conns, sk, 0, 0);
		if (!conn || !conn->answered)
			return 0;
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp)
			finish(conn, tp, 0);
	}
	return 0;
}

volatile __u32 adopt_connections SEC(".bss.phase");

SEC("?iter/task_file")
int sli_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct conn *conn;
	struct sock *sk;
	int state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_tcp(sk))
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == TCP_LISTEN) {
		serve(sk);
		return 0;
	}
	if (state != TCP_ESTABLISHED)
		return 0;
	conn = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!conn && adopt_connections && is_served(sk))
		conn = make_conn(sk, task->tgid);
	if (conn) {
		conn->fd = ctx->fd;
		if (!(conn->flags & OWNED)) {
			conn->tgid = task->tgid;
			conn->flags |= OWNED;
		}
	}
	return 0;
}

SEC("?iter/bpf_sk_storage_map")
int sli_walk(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct conn *conn = ctx->value;
	struct sli_connection row = {};

	if (!sk || !conn || conn->verdict != RESP || !conn->latency_first)
		return 0;
	if (conn->fd < 0) {
		COUNT(counters.unnamed);
		return 0;
	}
	row.tgid = conn->tgid;
	row.fd = conn->fd;
	row.server_port = conn->server_port;
	row.client_port = conn->client_port;
	row.family = conn->family;
	__builtin_memcpy(row.server, conn->server, 16);
	__builtin_memcpy(row.client, conn->client, 16);
	__builtin_memcpy(row.method, conn->parser.name.at, SLI_METHOD);
	row.latency_first = conn->latency_first;
	row.latency_max = conn->latency_max;
	conn->latency_first = 0;
	conn->latency_max = 0;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
