/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The lower rung, for kernels whose programs may not read packets: requests are followed in the buffer that the application
 * read them into, with each packet that it takes. Packets are only timed.
 */
#ifndef GALA_READS_H
#define GALA_READS_H

#include "compat.h"
#include "conn.h"
#include "kernel.h"
#include "maps.h"
#include "resp.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/*
 * Steps through what one call read. Kernels before 5.17 have no bpf_loop() and verify each step of a loop: enough for some 50
 * commands; further ones of the same read are a gap.
 */
#ifdef BY_ADDRESS
#define SLI_READ_STEPS 240
#else
#define SLI_READ_STEPS (1 << 20)
#endif

/* What is left of a read. In a map, see `struct resp_piece`. */
struct read_rest {
	__u64 at;
	__u32 left;
	__u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct read_rest);
} rests SEC(".maps");

struct reading {
	struct resp_run run;
	struct read_rest *rest;
};

/* Takes up the next piece; answers 1 when nothing is left. */
static __always_inline long next_piece(struct reading *reading)
{
	struct resp_parser *parser = reading->run.parser;
	struct read_rest *rest = reading->rest;
	__u32 length = rest->left;

	/* The rest of a long argument needs no look. */
	if (parser->skip > length && !parser->word) {
		parser->skip -= length;
		rest->left = 0;
		return 1;
	}
	if (!length)
		return 1;
	if (length > RESP_CHUNK)
		length = RESP_CHUNK;
	if (bpf_probe_read_user(reading->run.piece->bytes + RESP_CARRY, length, (void *)rest->at)) {
		parser->broken = 1;
		return 1;
	}
	rest->at += length;
	rest->left -= length;
	resp_open(parser, reading->run.piece, length);
	return 0;
}

static long read_step(__u32 index, struct reading *reading)
{
	struct resp_piece *piece = reading->run.piece;

	if (reading->run.parser->broken)
		return 1;
	if (piece->pos >= piece->end)
		return next_piece(reading);
	/* The end of a piece is not that of the read. */
	if (resp_step(index, &reading->run))
		piece->pos = piece->end;
	return 0;
}

/* A function of its own: what its caller keeps in registers would make each step of the loop another one to verify. */
static __noinline int follow_read(struct conn *conn, __u64 bytes, __u32 count)
{
	struct reading reading = { .run.parser = &conn->parser };
	__u32 zero = 0;

	reading.run.piece = bpf_map_lookup_elem(&pieces, &zero);
	reading.rest = bpf_map_lookup_elem(&rests, &zero);
	if (!reading.run.piece || !reading.rest)
		return 0;
	reading.rest->at = bytes;
	reading.rest->left = count;
	reading.run.piece->pos = reading.run.piece->end = 0;
#ifdef BY_ADDRESS
	for (__u32 i = 0; i < SLI_READ_STEPS; i++)
		if (read_step(i, &reading))
			break;
#else
	bpf_loop(SLI_READ_STEPS, read_step, &reading, 0);
#endif
	if (reading.rest->left || reading.run.piece->pos < reading.run.piece->end) {
		COUNT(counters.gaps);
		resp_reset(&conn->parser);
	}
	return 0;
}

/*
 * `count` bytes were read; `msg` is NULL where nobody knows whereto. `goes_on` says that the same call has read others before,
 * so that nothing follows from no answer in between.
 */
static __always_inline void was_read(struct sock *sk, struct conn *conn, const struct msghdr *msg, __u32 count, bool goes_on)
{
	__u8 start[2 * RESP_CARRY] = {};
	__u64 first, last, now, bytes;
	__u32 complete;

	first = conn->first_at;
	last = conn->last_at;
	conn->first_at = 0;
	bytes = msg ? last_user_bytes(msg, count) : 0;
	if (!bytes) {
		if (conn->verdict == RESP)
			COUNT(counters.gaps);
		resp_reset(&conn->parser);
		return;
	}
	if (conn->verdict == UNKNOWN) {
		__u32 length = count < RESP_CARRY ? count : RESP_CARRY;

		/* Says what is so, in a form that the verifier keeps track of. */
		barrier_var(length);
		length &= 2 * RESP_CARRY - 1;
		if (bpf_probe_read_user(start, length, (void *)bytes))
			return;
		judge(conn, start, length);
	}
	if (conn->verdict != RESP)
		return;
	if (conn->parser.broken)
		resp_reset(&conn->parser);
	/* The answer before, if it is not acknowledged, keeps what is known of its commands. */
	if (conn->answered && !conn->waiting)
		set_aside(conn);
	follow_read(conn, bytes, count);
	if (conn->parser.broken)
		broke(conn);
	complete = conn->parser.complete;
	if (!complete)
		return;
	conn->parser.complete = 0;
	conn->flags |= PROVEN;
	if (!conn->waiting) {
		struct tcp_sock *tp = tcp_sock_of(sk);

		/* And has its times where these go. */
		if (conn->answered && tp)
			finish(conn, tp, 0);
		now = bpf_ktime_get_ns();
		/*
		 * One command is there with its last packet, the first of several with the first; which that was is forgotten
		 * when bytes before these were read since.
		 */
		if (complete == 1 || !first)
			first = last;
		conn->sched = first && first < now ? now - first : 0;
		conn->arrived = now;
		conn->flags = (conn->flags | READ) & ~PASSED;
	} else if (!goes_on) {
		conn->flags |= PASSED;
	}
	conn->waiting += complete;
}

/* Each packet in: when it came, and the acknowledgement of the answer before. */
SEC("?tp_btf/tcp_probe")
int BPF_PROG(sli_arrival, struct sock *sk, struct sk_buff *skb)
{
	struct conn *conn = conn_of(sk);
	struct tcp_skb_cb *cb;
	struct tcp_sock *tp;
	__u32 from, end;
	__u64 now;

	if (!conn || conn->verdict == OTHER)
		return 0;
	tp = tcp_sock_of(sk);
	if (!tp)
		return 0;
	cb = (struct tcp_skb_cb *)&skb->cb;
	now = bpf_ktime_get_ns();
	if (conn->answered && !before(BPF_CORE_READ(cb, ack_seq), conn->answer_end))
		finish(conn, tp, now);
	from = BPF_CORE_READ(cb, seq);
	end = BPF_CORE_READ(cb, end_seq);
	/* Nothing but an acknowledgement, or bytes that were here before. */
	if (from == end || !before(GET(tp, rcv_nxt), end))
		return 0;
	if (!conn->first_at)
		conn->first_at = now;
	conn->last_at = now;
	return 0;
}

/*
 * The last call of a thread. Its return has no hook: the kernel follows few of those at once, and each read that waits for
 * bytes would take one. So what a thread splices from a socket that it has read before is looked for in that read's buffer.
 */
struct call {
	__u64 sk;
	__u64 msg;
	/* Whether bytes were read by it. */
	__u64 begun;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline void keep_call(struct sock *sk, const struct msghdr *msg)
{
	struct call call = { .sk = (__u64)sk, .msg = (__u64)msg };
	__u64 thread = bpf_get_current_pid_tgid();
	struct conn *conn = conn_of(sk);

	if (conn && conn->verdict != OTHER)
		bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
}

SEC("?fentry/tcp_recvmsg")
int BPF_PROG(sli_read_enters, struct sock *sk, struct msghdr *msg)
{
	keep_call(sk, msg);
	return 0;
}

#ifdef BY_ADDRESS
SEC("?kprobe/tcp_recvmsg")
int BPF_KPROBE(sli_read_called, struct sock *sk, struct msghdr *msg)
{
	keep_call(sk, msg);
	return 0;
}
#endif

/* Bytes were copied: those of one packet, or of several that the kernel had put together. */
SEC("?tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(sli_copied, struct sock *sk)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct conn *conn = conn_of(sk);
	struct msghdr *msg = NULL;
	bool goes_on = false;
	struct tcp_sock *tp;
	struct call *call;
	__u32 copied, count;

	if (!conn || conn->verdict == OTHER)
		return 0;
	tp = tcp_sock_of(sk);
	if (!tp)
		return 0;
	copied = GET(tp, copied_seq);
	/* A look ahead (MSG_PEEK) copies and moves nothing. */
	if (!before(conn->next, copied))
		return 0;
	count = copied - conn->next;
	conn->next = copied;
	call = bpf_map_lookup_elem(&calls, &thread);
	if (call && call->sk == (__u64)sk) {
		msg = (struct msghdr *)call->msg;
		goes_on = call->begun;
		call->begun = 1;
	}
	was_read(sk, conn, msg, count, goes_on);
	return 0;
}

#endif
