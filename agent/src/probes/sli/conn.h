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
	/* The application's reading was seen: `sched` is that of the waiting commands, `arrived` their TS2. */
	READ = 8,
	/* `follower` is valid. */
	FOLLOWED = 16,
	/* The application read on after it had read the waiting commands, and wrote no answer in between. */
	PASSED = 32,
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
	/* Sequence number after a command that came when all waiting ones before it were read. */
	__u32 follower;
	__u16 client_port;
	__u8 server[16];
	__u8 client[16];
	/* Arrival of the first and the last packet that is not read yet; where the reading is followed, not the packets. */
	__u64 first_at;
	__u64 last_at;
};

_Static_assert(__builtin_offsetof(struct conn, latency_first) == 56, "what an answer touches fills one line");

SOCKET_RECORDS(conns, conn, 0);

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

static __always_inline struct sli_requests *requests_of(struct conn *conn)
{
	struct sli_key key = { .tgid = conn->tgid, .server_port = conn->server_port, .family = conn->family };
	struct sli_requests *found;

	__builtin_memcpy(key.method, conn->parser.name, SLI_METHOD);
	found = bpf_map_lookup_elem(&methods, &key);
	if (found)
		return found;
	bpf_map_update_elem(&methods, &key, &no_requests, BPF_NOEXIST);
	found = bpf_map_lookup_elem(&methods, &key);
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

/* Commands that answer when something else happens, or never. */
static __always_inline bool waits_on_purpose(const char *name)
{
	return (name[0] == 'B' && (name[1] == 'L' || name[1] == 'R' || name[1] == 'Z')) ||
	       (name[0] == 'X' && name[1] == 'R' && name[2] == 'E' && name[3] == 'A') ||
	       (name[0] == 'S' && name[1] == 'U' && name[2] == 'B') || (name[0] == 'P' && name[1] == 'S') ||
	       (name[0] == 'S' && name[1] == 'S' && name[2] == 'U') || (name[0] == 'W' && name[1] == 'A') ||
	       (name[0] == 'M' && name[1] == 'O' && name[2] == 'N') || (name[0] == 'S' && name[1] == 'Y') ||
	       (name[0] == 'R' && name[1] == 'E' && name[2] == 'P' && name[3] == 'L');
}

/* Among the answered commands are some that nobody answers, since whenever. At a second answer the server did not obey. */
static __noinline int finish_quiet(struct conn *conn, __u32 count)
{
	struct sli_requests *requests;

	if (!conn)
		return 0;
	conn->parser.quiet = conn->parser.quiet & RESP_UNANSWERED ? conn->parser.quiet & RESP_OFF : 0;
	requests = requests_of(conn);
	if (requests) {
		requests->requests += count;
		requests->errors += conn->errors;
	}
	return 0;
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
	if (conn->parser.quiet)
		return finish_quiet(conn, count);
	requests = requests_of(conn);
	if (!requests)
		return 0;
	requests->requests += count;
	requests->errors += conn->errors;
	if (waits_on_purpose(conn->parser.name))
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
	else if (++conn->tries >= SLI_TRIES)
		conn->verdict = OTHER;
}

#endif
