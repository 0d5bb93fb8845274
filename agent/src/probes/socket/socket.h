/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What socket.bpf.c and mod.rs agree on. Sizes are asserted on both sides. */
#ifndef GALA_SOCKET_H
#define GALA_SOCKET_H

#define SOCKET_EDGES 7
#define SOCKET_BUCKETS (SOCKET_EDGES + 1)

enum endpoint_role {
	ENDPOINT_NONE = 0,
	ENDPOINT_CLIENT = 1,
	ENDPOINT_SERVER = 2,
};

struct socket_config {
	/* Upper bounds of the establishment latency, nanoseconds. */
	__u64 edges[SOCKET_EDGES];
};

/* A listener, or the connections a process opens to one server port. */
struct endpoint_key {
	__u32 tgid;
	__u32 net;
	__u16 server_port;
	__u16 family;
	__u16 role;
	__u16 pad;
	/* Zero at a listener. */
	__u8 client[16];
	__u8 server[16];
};

/* One period. */
struct endpoint {
	char comm[16];
	__u64 latency_sum;
	__u64 latency_max;
	__u32 latency[SOCKET_BUCKETS];
	__u32 opened;
	__u32 failed;
	__u32 refused;
	__u32 timed_out;
	/* SYNs or SYN/ACKs sent again. */
	__u32 retransmitted;
	/* SYNs of clients that found no neighbour to go to. */
	__u32 unreachable;
	/* SYN/ACKs known to be sent; those of requests that were repeated; connections that came of such requests. */
	__u32 synacks;
	__u32 repeated;
	__u32 repeated_opened;
	__u32 drops;
	/* As the walk found them; listeners only. */
	__u32 queue;
	__u32 queue_limit;
	/* Requests without a connection yet: all, and those whose SYN/ACK was repeated. */
	__u32 requests;
	__u32 repeated_waiting;
	__u32 pad;
};

_Static_assert(sizeof(struct socket_config) == 56, "layout of socket_config");
_Static_assert(sizeof(struct endpoint_key) == 48, "layout of endpoint_key");
_Static_assert(sizeof(struct endpoint) == 128, "layout of endpoint");

#endif
