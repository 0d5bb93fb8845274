/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Differences between kernels, one function each, with the version in which the change came. */
#ifndef GALA_COMPAT_H
#define GALA_COMPAT_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>

/* Delayed-ACK timeout in jiffies: a whole word until it came to share one with a flow label in 6.9. */
static __always_inline __u32 read_ato(struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = &tp->inet_conn;

	return BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ack.ato);
}

#endif
