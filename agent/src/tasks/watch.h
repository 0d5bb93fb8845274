/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is kept at each watched thread, and where. */
#ifndef GALA_WATCH_H
#define GALA_WATCH_H

#include "kernel.h"
#include "kernel_tasks.h"
#include "maps.h"
#include "tasks.h"
#include <bpf/bpf_helpers.h>

/* What is kept at a thread: what the walk prints, and what is open. */
struct watched {
	struct task_waits waits;
	struct cpu_share cpus[CPU_SHARES];
	struct culprit culprits[CULPRITS];
	__u64 off_at;
	/* Part of the present sleep that a walk already counted. */
	__u64 settled_ns;
	__u64 fsync_at;
	__u64 reclaim_at;
	__u8 kind;
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
	if (!watch)
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
