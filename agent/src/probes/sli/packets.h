/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The best rung: requests are followed in the packets, before the application reads them. */
#ifndef GALA_PACKETS_H
#define GALA_PACKETS_H

#include "conn.h"
#include "kernel.h"
#include "maps.h"
#include "resp.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

extern int bpf_dynptr_from_skb(struct sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

/* Both hot hooks have a full TCP socket: a cast costs nothing, bpf_skc_to_tcp_sock() a call. */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
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
	if (parser->skip > length && !parser->word) {
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
	resp_open(parser, piece, length);
	bpf_loop(RESP_STEPS, resp_step, &run, 0);
	if (parser->broken)
		return 1;
	return 0;
}

/* Takes a packet that is one whole command; false, with nothing changed, where it takes a closer look. */
static __always_inline bool follow_whole(struct packet *packet)
{
	struct resp_parser *parser = &packet->conn->parser;
	__u32 zero = 0, length = packet->length, name;
	struct resp_piece *piece;

	if (length > RESP_CHUNK || !resp_rests(parser))
		return false;
	piece = bpf_map_lookup_elem(&pieces, &zero);
	if (!piece || bpf_dynptr_read(piece->bytes + RESP_CARRY, length, &packet->bytes, packet->offset, 0))
		return false;
	name = resp_whole(piece, length);
	return name && resp_take(parser, piece, name);
}

/* What lay out of order became readable without passing here. Inside an argument nothing is missed by that; else true. */
static __always_inline bool jump(struct conn *conn, __u32 to)
{
	struct resp_parser *parser = &conn->parser;
	__u32 missed = to - conn->next;

	conn->next = to;
	if (parser->skip > missed && !parser->word) {
		parser->skip -= missed;
		return false;
	}
	resp_reset(parser);
	return true;
}

/* Commands come while earlier ones are answered and not acknowledged, or read and not answered. */
static __noinline int precede(struct conn *conn, struct tcp_sock *tp)
{
	if (!conn || !tp || conn->flags & ASIDE)
		return 0;
	if (conn->answered) {
		if (!conn->waiting)
			set_aside(conn);
	} else if (!(conn->flags & FOLLOWED) && tp->copied_seq == tp->rcv_nxt) {
		/* The clock was not moved by this packet yet. */
		conn->aside_read = read_at(conn, tp);
		conn->later_at = 0;
		set_aside(conn);
	}
	return 0;
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
	bool missed = false;
	__u32 from, end;
	__u64 now = 0;

	if (!conn || conn->verdict == OTHER)
		return 0;
	tp = tcp_of(sk);
	cb = bpf_rdonly_cast(skb->cb, bpf_core_type_id_kernel(struct tcp_skb_cb));
	if (conn->answered && !before(cb->ack_seq, conn->answer_end)) {
		now = bpf_ktime_get_ns();
		finish_here(conn, tp, now);
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
	if (before(conn->next, from))
		missed = jump(conn, from);
	from = conn->next - from;
	if (from >= packet.length)
		return 0;
	packet.offset += from;
	packet.length -= from;
	conn->next = end;
	if (bpf_dynptr_from_skb(skb, 0, &packet.bytes))
		return 0;
	if (conn->verdict == UNKNOWN) {
		__u8 start[RESP_CARRY] = {};
		__u32 length = packet.length < RESP_CARRY ? packet.length : RESP_CARRY;

		if (bpf_dynptr_read(start, length, &packet.bytes, packet.offset, 0))
			return 0;
		judge(conn, start, length);
	}
	if (conn->verdict != RESP)
		return 0;
	if (missed)
		COUNT(counters.gaps);
	if (conn->parser.broken)
		resp_reset(&conn->parser);
	if (conn->answered | conn->waiting)
		precede(conn, tp);
	if (!follow_whole(&packet))
		bpf_loop(SLI_PIECES, follow_piece, &packet, 0);
	if (conn->parser.broken)
		broke(conn);
	if (conn->parser.complete) {
		conn->flags |= PROVEN;
		if (!conn->waiting) {
			conn->flags &= ~FOLLOWED;
			conn->arrived = now ? now : bpf_ktime_get_ns();
		} else if (!(conn->flags & FOLLOWED) && (tp->copied_seq == tp->rcv_nxt || is_oldest_aside(conn))) {
			conn->flags |= FOLLOWED;
			conn->follower = end;
			/* What was set aside is told apart from these, of which the first packet may have come before this one. */
			if (is_oldest_aside(conn)) {
				conn->ahead = conn->waiting;
				conn->later_at = now ? now : bpf_ktime_get_ns();
			}
		}
		conn->waiting += conn->parser.complete;
		conn->parser.complete = 0;
	}
	return 0;
}

#endif
