/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What walk.bpf.c, watch.bpf.c and layout.rs agree on. Sizes are asserted on both sides. */
#ifndef GALA_TASKS_H
#define GALA_TASKS_H

/* System call numbers with a class of their own; higher ones are `other`. */
#define TASKS_SYSCALLS 512

/* In what a thread slept. */
enum wait_class {
	WAIT_OTHER,
	WAIT_READ,
	WAIT_WRITE,
	WAIT_FSYNC,
	WAIT_NET,
	WAIT_FUTEX,
	WAIT_EVENTS,
	WAIT_CLASSES,
};

/* Kinds of time off CPU, for the host's distributions. */
enum off_kind {
	OFF_RUNQ,
	OFF_IO,
	OFF_BLOCK,
	OFF_SLEEP,
	OFF_KINDS,
};

#define NODE_BUCKETS 7

/* An index is cut to the kinds by a mask. */
_Static_assert((OFF_KINDS & (OFF_KINDS - 1)) == 0, "kinds are a power of two");

struct tasks_config {
	/* A wait on the run queue below this names nobody. */
	__u64 preempt_floor_ns;
	/* A process younger than this ends without a notice. */
	__u64 exit_age_ns;
	__u8 class_of[TASKS_SYSCALLS];
	__u64 edges[NODE_BUCKETS - 1];
};

/* What a thread used since its start; a leader's record also holds the threads that ended. */
struct task_usage {
	__u64 runtime_ns;
	__u64 utime_ns;
	__u64 stime_ns;
	__u64 gtime_ns;
	__u64 run_delay_ns;
	__u64 voluntary;
	__u64 involuntary;
	__u64 minor_faults;
	__u64 major_faults;
	__u64 rchar;
	__u64 wchar;
	__u64 syscr;
	__u64 syscw;
	__u64 read_bytes;
	__u64 write_bytes;
	__u64 cancelled_bytes;
};

/* What a thread waited for since it is watched; maxima since the last walk. */
struct task_waits {
	__u64 io_ns;
	__u64 block_ns;
	__u64 sleep_ns;
	__u64 class_ns[WAIT_CLASSES];
	__u64 io_max_ns;
	__u64 runq_max_ns;
	__u64 off_max_ns;
	__u64 reclaim_ns;
	__u64 reclaim_max_ns;
	__u64 fsyncs;
	__u64 fsync_ns;
	__u64 fsync_max_ns;
	/* Stretches off CPU by kind. */
	__u64 counts[OFF_KINDS];
};

/* CPUs told apart for one thread in one period; what it did on others is left out. */
#define CPU_SHARES 4

/* What a thread did on one CPU since the last walk. */
struct cpu_share {
	__u32 cpu;
	__u32 used;
	__u64 ran_ns;
	__u64 waited_ns;
};

enum task_flags {
	TASK_LEADER = 1,
	TASK_KERNEL = 2,
	/* All its `struct culprit` follow the record. */
	TASK_CULPRITS = 4,
};

/* One thread as the walk prints it. */
struct task_record {
	__u32 tgid;
	__u32 pid;
	__u32 flags;
	__u32 state;
	__u32 cpu;
	__u32 threads;
	__u32 ppid;
	__u32 pgid;
	__u32 prio;
	__u32 static_prio;
	/* Boot-time clock, of the process. */
	__u64 start_ns;
	__u64 cutime_ns;
	__u64 cstime_ns;
	__u64 vm_pages;
	__u64 rss_pages;
	__u64 swap_pages;
	__u64 files_limit;
	char comm[16];
	struct task_usage usage;
	struct task_waits waits;
	struct cpu_share cpus[CPU_SHARES];
};

/* Processes told apart that ran while one thread waited, in one period. */
#define CULPRITS 6

/* One of them; tgid 0 is an empty place. */
struct culprit {
	__u64 ns;
	/* Part of `ns` that others may have run who had the place before. */
	__u64 unsure_ns;
	__u64 max_ns;
	__u32 tgid;
	__u32 count;
	__u32 cpu;
	__u32 kernel;
	char comm[16];
};

/* Stretches above the first edge, and the longest of them. */
struct node_waits {
	__u64 max_ns[OFF_KINDS];
	__u64 counts[OFF_KINDS][NODE_BUCKETS];
};

enum notice_kind {
	NOTICE_EXIT = 1,
	NOTICE_OOM = 2,
};

struct notice {
	__u32 kind;
	__u32 tgid;
	__u32 exit_code;
	__u32 padding;
	__u64 start_ns;
	__u64 runtime_ns;
	char comm[16];
};

_Static_assert(sizeof(struct task_usage) == 128, "layout.rs knows this size");
_Static_assert(sizeof(struct task_waits) == 176, "layout.rs knows this size");
_Static_assert(sizeof(struct task_record) == 512, "layout.rs knows this size");
_Static_assert(sizeof(struct culprit) == 56, "layout.rs knows this size");
_Static_assert(sizeof(struct node_waits) == 256, "layout.rs knows this size");
_Static_assert(sizeof(struct notice) == 48, "layout.rs knows this size");
_Static_assert(sizeof(struct tasks_config) == 576, "layout.rs knows this size");

#endif
