/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Differences between kernels, one function each, with the version in which the change came. */
#ifndef GALA_COMPAT_H
#define GALA_COMPAT_H

#include "kernel.h"
#include "sock.h"
#include <bpf/bpf_core_read.h>

/* Delayed-ACK timeout in jiffies: a whole word until it came to share one with a flow label in 6.9. */
static __always_inline __u32 read_ato(struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = &tp->inet_conn;

	return BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ack.ato);
}

/* Where a message's bytes lie in user space: in one buffer, or in the first one of a vector. Plain numbers, for the verifier
 * takes what is read from a structure for a pointer into the kernel. */
struct user_bytes {
	/* 0 where there is one buffer. */
	__u64 vector;
	__u64 base;
	/* Copied so far. */
	__u64 offset;
};

static __always_inline bool user_bytes(const struct msghdr *msg, struct user_bytes *bytes)
{
	const struct iov_iter *iter = &msg->msg_iter;
	const struct iov_iter___type *typed = (void *)iter;
	const struct iov_iter___iov *named = (void *)iter;
	const struct iovec *vector;
	__u32 type;

	if (bpf_core_field_exists(typed->type))
		type = GET(typed, type) & ~1U;
	else
		type = GET(iter, iter_type);
	bytes->offset = GET(iter, iov_offset);
	/* One buffer has a type of its own since 6.0 (fcb14cb1bdac). */
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) && type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		bytes->vector = 0;
		bytes->base = (__u64)BPF_CORE_READ(iter, ubuf);
		return true;
	}
	if (type != bpf_core_enum_value(enum iter_type, ITER_IOVEC))
		return false;
	if (bpf_core_field_exists(named->iov))
		vector = BPF_CORE_READ(named, iov);
	else
		vector = BPF_CORE_READ(iter, __iov);
	bytes->vector = (__u64)vector;
	bytes->base = (__u64)BPF_CORE_READ(vector, iov_base);
	return true;
}

/* The next byte to be copied; 0 when it cannot be told. */
static __always_inline __u64 next_user_byte(const struct msghdr *msg)
{
	struct user_bytes bytes;

	return user_bytes(msg, &bytes) ? bytes.base + bytes.offset : 0;
}

/* The same at a hook that came with 6.16: there the verifier takes the address in a lone buffer for a number. */
static __always_inline __u64 next_user_byte_typed(const struct msghdr *msg)
{
	if (msg->msg_iter.iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF))
		return (__u64)msg->msg_iter.ubuf + msg->msg_iter.iov_offset;
	return next_user_byte(msg);
}

/* The first of the `count` bytes copied last; 0 when it cannot be told or they lie in several buffers. */
static __always_inline __u64 last_user_bytes(const struct msghdr *msg, __u64 count)
{
	const struct iovec *before;
	struct user_bytes bytes;
	__u64 length;

	if (!user_bytes(msg, &bytes))
		return 0;
	if (bytes.offset >= count)
		return bytes.base + bytes.offset - count;
	if (bytes.offset || !bytes.vector)
		return 0;
	/* A buffer that is full gives way to the next. */
	before = (const struct iovec *)bytes.vector - 1;
	length = BPF_CORE_READ(before, iov_len);
	return length >= count ? (__u64)BPF_CORE_READ(before, iov_base) + length - count : 0;
}

#endif
