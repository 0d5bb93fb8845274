/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is kept at each watched thread, and where. */
#ifndef GALA_WATCH_H
#define GALA_WATCH_H

#include "kernel.h"
#include "kernel_tasks.h"
#include "maps.h"
#include "tasks.h"
#include <bpf/bpf_helpers.h>

/* What a switch writes: the first seven words, and where the sleep was longer the classes. */
struct times {
	__u64 off_at;
	/* Part of the present sleep that a walk already counted. */
	__u64 settled_ns;
	__u64 sleep_ns;
	__u64 runq_max_ns;
	__u64 off_max_ns;
	/* On the CPU it ran on last; not yet in `cpus`. */
	__u64 ran_ns;
	__u32 cpu;
	__u32 kind;
	__u64 class_ns[WAIT_CLASSES];
};

/* What is kept at a thread: what the walk prints, and what is open. */
struct watched {
	/* Of a thread without a seat. */
	struct times times;
	__u64 io_ns;
	__u64 block_ns;
	__u64 io_max_ns;
	/* Stretches of uninterruptible sleep, in I/O and other; of all others the kernel's own counts tell. */
	__u64 io_count;
	__u64 block_count;
	__u64 reclaim_at;
	__u64 reclaim_ns;
	__u64 reclaim_max_ns;
	__u64 fsync_at;
	__u64 fsyncs;
	__u64 fsync_ns;
	__u64 fsync_max_ns;
	struct cpu_share cpus[CPU_SHARES];
	struct culprit culprits[CULPRITS];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct watched);
} waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct watched);
} waits_by_pid SEC(".maps");

struct {
	__u64 watches_lost;
	__u64 notices_lost;
} counters SEC(".bss.counters");

static const struct watched empty_watch;

static __always_inline struct watched *watch_of(struct task_struct *task)
{
	__u32 pid;

	if (HAS_TASK_STORAGE)
		return bpf_task_storage_get(&waits, task, 0, 0);
	pid = task->pid;
	return bpf_map_lookup_elem(&waits_by_pid, &pid);
}

/*
 * Where a thread's times are. Looking up its storage reads four cache lines, which are cold when it is switched in: most threads
 * have a seat in a table, whose place follows from the task's address. Who finds it taken keeps its times in the storage.
 */
#define SEATS_SHIFT 12

struct seat {
	/* Address of the task; 0 is free. */
	__u64 task;
	struct times times;
	__u64 padding;
} __attribute__((aligned(64)));

_Static_assert(__builtin_offsetof(struct seat, times.class_ns) == 64, "a short sleep takes one cache line");

struct seat seats[1 << SEATS_SHIFT] SEC(".bss.seats");

/* The verifier takes the distance between two addresses for the number it is. */
static __always_inline struct seat *seat_of(struct task_struct *task)
{
	__u64 distance = (__u64)task - (__u64)seats;

	return &seats[distance * 0x9e3779b97f4a7c15 >> (64 - SEATS_SHIFT)];
}

static __always_inline struct times *times_of(struct task_struct *task)
{
	struct seat *seat = seat_of(task);
	struct watched *watch;

	if (seat->task == (__u64)task)
		return &seat->times;
	watch = watch_of(task);
	return watch ? &watch->times : NULL;
}

/* Two threads may take it at once: then it is that of the later one. An earlier task at that address has ended. */
static __always_inline void take_seat(struct task_struct *task)
{
	struct seat *seat = seat_of(task);

	if (seat->task && seat->task != (__u64)task)
		return;
	__builtin_memset(&seat->times, 0, sizeof(seat->times));
	seat->task = (__u64)task;
}

/* The thread ends; what it did may be told once more. */
static __always_inline void leave_seat(struct task_struct *task)
{
	struct seat *seat = seat_of(task);
	struct watched *watch;

	if (seat->task != (__u64)task)
		return;
	watch = watch_of(task);
	if (watch)
		watch->times = seat->times;
	seat->task = 0;
}

static __always_inline struct watched *new_watch(struct task_struct *task)
{
	struct watched *watch;
	__u32 pid;

	if (HAS_TASK_STORAGE) {
		watch = bpf_task_storage_get(&waits, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	} else {
		pid = task->pid;
		bpf_map_update_elem(&waits_by_pid, &pid, &empty_watch, BPF_NOEXIST);
		watch = bpf_map_lookup_elem(&waits_by_pid, &pid);
	}
	if (watch)
		take_seat(task);
	else
		COUNT(counters.watches_lost);
	return watch;
}

static __always_inline struct watched *current_watch(void)
{
	__u32 pid;

	if (HAS_TASK_STORAGE)
		return bpf_task_storage_get(&waits, bpf_get_current_task_btf(), 0, 0);
	pid = bpf_get_current_pid_tgid();
	return bpf_map_lookup_elem(&waits_by_pid, &pid);
}

#endif
