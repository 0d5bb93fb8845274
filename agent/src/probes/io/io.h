/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What io.bpf.c and layout.rs agree on. Sizes are asserted on both sides. */
#ifndef GALA_IO_H
#define GALA_IO_H

/* Powers of two from 2^IO_FIRST_EDGE ns; the last bucket is open. */
#define IO_FIRST_EDGE 14
#define IO_EDGES 20
#define IO_BUCKETS (IO_EDGES + 1)

enum io_op {
	IO_READ,
	IO_WRITE,
	IO_FLUSH,
	IO_OTHER,
	IO_OPS,
};

struct io_config {
	/* Which arguments the tracepoints have: the queue comes first before 5.11. */
	__u32 queue_first;
};

struct io_key {
	__u32 major;
	__u32 first_minor;
	__u32 op;
	/* Which of two alternating periods: user space takes out one while the other fills. */
	__u32 generation;
};
struct io_times {
	__u64 sum_ns;
	__u64 max_ns;
	__u64 last_ns;
	__u64 jitter_ns;
};

/* One CPU's count of one period. */
struct io_stats {
	__u64 requests;
	__u64 timed;
	__u64 bytes;
	__u64 errors;
	__u64 last_error;
	__u64 last_at;
	struct io_times total;
	struct io_times queue;
	struct io_times device;
	__u64 total_counts[IO_BUCKETS];
	__u64 device_counts[IO_BUCKETS];
};

struct io_owner_key {
	__u32 major;
	__u32 first_minor;
	__u32 tgid;
	__u32 kernel;
};

struct io_owner {
	__u64 reads;
	__u64 writes;
	__u64 read_bytes;
	__u64 write_bytes;
	__u64 sum_ns;
	__u64 max_ns;
	__u64 errors;
};

/* A thread's sync of a file that has not ended. */
struct io_sync {
	__u64 start_ns;
	__u32 major;
	__u32 first_minor;
};

/* Syncs of files on one disk in one period; `op` of their key is 0. */
struct io_sync_stats {
	__u64 sum_ns;
	__u64 max_ns;
	__u64 counts[IO_BUCKETS];
};

_Static_assert(sizeof(struct io_sync) == 16, "layout.rs knows this size");
_Static_assert(sizeof(struct io_sync_stats) == 184, "layout.rs knows this size");
_Static_assert(sizeof(struct io_stats) == 480, "layout.rs knows this size");
_Static_assert(sizeof(struct io_owner) == 56, "layout.rs knows this size");
_Static_assert(sizeof(struct io_key) == 16, "layout.rs knows this size");

#endif
