/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is kept of a connection, and what its requests add up to. The including file declares `config`. */
#ifndef GALA_CONN_H
#define GALA_CONN_H

#include "kernel.h"
#include "maps.h"
#include "records.h"
#include "resp.h"
#include "sli.h"
#include "sock.h"
#include <bpf/bpf_helpers.h>

#define SLI_DELAYED_ACK 50000000ULL
/* A request without an answer is told of from here on. */
#define SLI_WAITS_LONG 100000000ULL
/* Data packets without a command before a connection is taken for something else. */
#define SLI_TRIES 3
/* One that is older than this program may be in the middle of a large value. */
#define SLI_TRIES_ADOPTED 255
/* How long the kernel waits with an acknowledgement: the round trip within these bounds, by a timer that ticks. */
#define SLI_ACK_LEAST 40000000ULL
#define SLI_ACK_MOST 200000000ULL
#define SLI_ACK_EARLY 10000000ULL
#define SLI_ACK_LATE 20000000ULL

enum verdict {
	UNKNOWN = 0,
	RESP = 1,
	OTHER = 2,
};

enum {
	/* `next` is valid where packets are followed. */
	FOLLOWING = 1,
	/* At least one command came to its end. */
	PROVEN = 2,
	/* `tgid` is known. */
	OWNED = 4,
	/* The application's reading was seen: `sched` is that of the waiting commands, `arrived` their TS2. */
	READ = 8,
	/* `follower` is valid. */
	FOLLOWED = 16,
	/* The application read on after it had read the waiting commands, and wrote no answer in between. */
	PASSED = 32,
	/* What the parser knew of the commands before those that came last was set aside. */
	ASIDE = 64,
};

/*
 * On one host the client's processor takes packets in and the server's answers: each line of this record that both write
 * wanders twice a request, and that is most of the cost. So all that writing an answer touches lies in the first line (the
 * storage's own header takes its first 8 bytes), and what only packets touch in those behind it.
 */
struct conn {
	__u8 verdict;
	/* Left before it is taken for something else. */
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
	/* Sequence number after a command that came when all waiting ones before it were read. */
	__u32 follower;
	/* How many those were, where that is known; and when the one behind them came, 0 while it has not come to its end. */
	__u32 ahead;
	__u16 client_port;
	__u8 aside_quiet;
	__u8 pad;
	char aside_name[SLI_METHOD];
	__u64 later_at;
	/* TS2 of commands that were read and not answered when they were set aside. */
	__u64 aside_read;
	__u8 server[16];
	__u8 client[16];
	/* Arrival of the first and the last packet that is not read yet; where the reading is followed, not the packets. */
	__u64 first_at;
	__u64 last_at;
};

_Static_assert(__builtin_offsetof(struct conn, latency_first) == 56, "what an answer touches fills one line");
_Static_assert(__builtin_offsetof(struct conn, parser.carry) == 120, "what a packet touches besides fills another one");

SOCKET_RECORDS(conns, conn, 0);

/* Per processor: plain additions, and no cache line that wanders between the client's and the server's processor. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct sli_key);
	__type(value, struct sli_requests);
} methods SEC(".maps");

/* Commands asked for often, as user space says, and their sums since: a look at a few words instead of a lookup among all. */
struct sli_place places[SLI_PLACES] SEC(".bss.places");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLI_PLACES);
	__type(key, __u32);
	__type(value, struct sli_requests);
} often SEC(".maps");

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
	__u16 port = GET(sk, __sk_common.skc_num);

	return served[port >> 3] & (1 << (port & 7));
}

static __always_inline void serve(const struct sock *sk)
{
	__u16 port = GET(sk, __sk_common.skc_num);

	served[port >> 3] |= 1 << (port & 7);
}

/* Process of each listening port, for connections that nobody has accepted. When full, they stay nameless. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct port_key);
	__type(value, __u32);
} owners SEC(".maps");

static __always_inline void own_port(const struct sock *sk, __u32 tgid, __u64 flags)
{
	struct port_key port = port_of(sk);

	bpf_map_update_elem(&owners, &port, &tgid, flags);
}

static __always_inline void disown_port(const struct sock *sk)
{
	struct port_key port = port_of(sk);

	bpf_map_delete_elem(&owners, &port);
}

static __always_inline __u32 owner_of(const struct sock *sk)
{
	struct port_key port = port_of(sk);
	__u32 *tgid = bpf_map_lookup_elem(&owners, &port);

	return tgid ? *tgid : 0;
}

static __always_inline struct conn *conn_of(struct sock *sk)
{
	return is_served(sk) ? RECORD_OF(conns, sk) : NULL;
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

static __always_inline bool before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

/* Too large for the stack. */
static const struct sli_requests no_requests;

static __always_inline struct sli_requests *often_asked(const struct sli_place *wanted)
{
	const __u64 *ours = (const __u64 *)wanted;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SLI_PLACES; i++) {
		const __u64 *theirs = (const __u64 *)&places[i];
		__u32 place = i;

		if (theirs[1] == ours[1] && theirs[0] == ours[0] && theirs[2] == ours[2])
			return bpf_map_lookup_elem(&often, &place);
	}
	return NULL;
}

static __always_inline struct sli_requests *requests_of(struct conn *conn, const char *name)
{
	struct sli_place place = {
		.key = { .tgid = conn->tgid, .server_port = conn->server_port, .family = conn->family },
		.taken = 1,
	};
	struct sli_requests *found;

	__builtin_memcpy(place.key.method, name, SLI_METHOD);
	found = often_asked(&place);
	if (!found)
		found = bpf_map_lookup_elem(&methods, &place.key);
	if (found)
		return found;
	bpf_map_update_elem(&methods, &place.key, &no_requests, BPF_NOEXIST);
	found = bpf_map_lookup_elem(&methods, &place.key);
	if (found)
		__builtin_memcpy(found->server, conn->server, 16);
	else
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

/*
 * When the application takes longer than the kernel waits with its acknowledgement, that timer moves TCP's clock after the
 * reading. Then all data is acknowledged, and the time is about that wait.
 */
static __noinline int is_timers(struct tcp_sock *tp, __u64 waited)
{
	__u64 wait;

	if (!tp)
		return 0;
	wait = (GET(tp, srtt_us) >> 3) * 1000ULL;
	wait = wait < SLI_ACK_LEAST ? SLI_ACK_LEAST : wait > SLI_ACK_MOST ? SLI_ACK_MOST : wait;
	return waited < wait + SLI_ACK_LATE && GET(tp, rcv_wup) == GET(tp, rcv_nxt);
}

/* TS2 of the waiting commands, as far as TCP's clock tells it. Where it is lost, that of the commands before is the best guess. */
static __always_inline __u64 read_at(struct conn *conn, struct tcp_sock *tp)
{
	__u64 read = GET(tp, tcp_clock_cache), waited;

	if (read < conn->arrived)
		return conn->arrived;
	waited = read - conn->arrived;
	if (waited >= SLI_ACK_LEAST - SLI_ACK_EARLY && conn->sched < waited && is_timers(tp, waited))
		return conn->arrived + conn->sched;
	return read;
}

/* Commands come while earlier ones are not over: what the parser knows of those would be lost. */
static __noinline int set_aside(struct conn *conn)
{
	if (!conn || conn->flags & ASIDE)
		return 0;
	conn->flags |= ASIDE;
	__builtin_memcpy(conn->aside_name, conn->parser.name, SLI_METHOD);
	conn->aside_quiet = conn->parser.quiet;
	/* That nothing is answered until further notice holds for those that come, too. */
	conn->parser.quiet = conn->parser.quiet & RESP_OFF ? conn->parser.quiet & ~RESP_WAITED : 0;
	return 0;
}

/* Whether what was set aside are the oldest of the waiting commands, and not the answered ones. */
static __always_inline bool is_oldest_aside(const struct conn *conn)
{
	return conn->flags & ASIDE && !conn->answered;
}

/*
 * An answer was written while further commands waited: it is that of the commands which were read, if the others were not;
 * these wait on. Else all are answered as one. Of a further command only the first packets may be here: it is not among them.
 */
static __noinline int divide(struct conn *conn, struct tcp_sock *tp)
{
	if (!conn || !tp)
		return 0;
	if (conn->ahead && conn->ahead < conn->answered && before(GET(tp, copied_seq), conn->follower)) {
		conn->waiting = conn->answered - conn->ahead;
		conn->answered = conn->ahead;
		conn->arrived = conn->later_at;
		conn->flags &= ~FOLLOWED;
	} else if (conn->flags & ASIDE && conn->ahead) {
		conn->flags &= ~ASIDE;
		conn->parser.quiet |= conn->aside_quiet & ~RESP_OFF;
	}
	conn->ahead = 0;
	return 0;
}

/* The answered commands are over. `acked` is TS4, 0 when it was not seen. */
static __always_inline int finish_here(struct conn *conn, struct tcp_sock *tp, __u64 acked)
{
	struct sli_requests *requests;
	__u64 way = 0, latency;
	__u32 count;
	__u8 quiet;

	if (!conn || !tp)
		return 0;
	count = conn->answered;
	conn->answered = 0;
	if (conn->flags & ASIDE) {
		conn->flags &= ~ASIDE;
		quiet = conn->aside_quiet;
		requests = requests_of(conn, conn->aside_name);
	} else {
		quiet = conn->parser.quiet;
		/* Among them are some that nobody answers, since whenever. At a second answer the server did not obey. */
		if (quiet)
			conn->parser.quiet = quiet & RESP_UNANSWERED ? quiet & RESP_OFF : 0;
		requests = requests_of(conn, conn->parser.name);
	}
	if (!requests)
		return 0;
	requests->requests += count;
	requests->errors += conn->errors;
	if (quiet)
		return 0;
	if (acked) {
		__u64 send = acked - conn->written;

		way = send;
		requests->send_sum += send * count;
		requests->acknowledged += count;
		if (send <= SLI_DELAYED_ACK && (__u8)GET(tp, total_retrans) == conn->retrans) {
			__u64 shortest = GET(tp, rtt_min.s[0].v) * 1000ULL;

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

/* The same where it is rare, out of the way of the rest. */
static __noinline int finish(struct conn *conn, struct tcp_sock *tp, __u64 acked)
{
	return finish_here(conn, tp, acked);
}

/* The bytes did not make sense. What only began like a command is something else. */
static __always_inline void broke(struct conn *conn)
{
	COUNT(counters.broken);
	if (!(conn->flags & PROVEN))
		conn->verdict = OTHER;
}

static __always_inline void judge(struct conn *conn, const __u8 *start, __u32 length)
{
	if (resp_begins(start, length))
		conn->verdict = RESP;
	else if (!--conn->tries)
		conn->verdict = OTHER;
}

#endif
