/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What sli.bpf.c and mod.rs agree on. Sizes are asserted on both sides. */
#ifndef GALA_SLI_H
#define GALA_SLI_H

#define SLI_EDGES 20
#define SLI_BUCKETS (SLI_EDGES + 1)
#define SLI_PADDED 32
#define SLI_METHOD 12
/* Looked at one by one. */
#define SLI_PLACES 16

struct sli_config {
	/* Upper bounds of the latency buckets, nanoseconds; the last ones beyond anything. */
	__u64 edges[SLI_PADDED];
};

/* One command of one server. */
struct sli_key {
	__u32 tgid;
	__u16 server_port;
	__u16 family;
	char method[SLI_METHOD];
};

/* Where one command asked for often is counted. Words are compared. */
struct sli_place {
	struct sli_key key;
	__u32 taken;
} __attribute__((aligned(8)));

/* Since the program started; user space never resets it. */
struct sli_requests {
	__u8 server[16];
	__u64 requests;
	__u64 errors;
	__u64 latency_sum;
	__u64 latency_max;
	__u64 sched_sum;
	__u64 proc_sum;
	/* Requests whose first three stages were timed. */
	__u64 timed;
	__u64 send_sum;
	/* Requests whose acknowledgement was seen. */
	__u64 acknowledged;
	/* At 30,000 requests a second 32 bits would last 40 hours. */
	__u64 buckets[SLI_BUCKETS];
};

/* One connection of the last period, printed by the walk. */
struct sli_connection {
	/* While nobody has accepted the connection: of the listener. */
	__u32 tgid;
	/* -1 while it has none that is known; then only `oldest` is told. */
	__s32 fd;
	__u16 server_port;
	__u16 client_port;
	__u16 family;
	__u16 pad;
	__u8 server[16];
	__u8 client[16];
	char method[SLI_METHOD];
	__u32 pad2;
	__u64 latency_first;
	__u64 latency_max;
	/* For how long its oldest request waits for an answer; 0 below SLI_WAITS_LONG. */
	__u64 oldest;
};

_Static_assert(sizeof(struct sli_key) == 20, "layout of sli_key");
_Static_assert(sizeof(struct sli_place) == 24, "layout of sli_place");
_Static_assert(sizeof(struct sli_requests) == 256, "layout of sli_requests");
_Static_assert(sizeof(struct sli_connection) == 88, "layout of sli_connection");

#endif
