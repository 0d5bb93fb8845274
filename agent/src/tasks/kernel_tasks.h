/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The scheduler's and the accounting's side of a task, as flavours beside kernel.h; who changed when stands at each. */
#ifndef GALA_KERNEL_TASKS_H
#define GALA_KERNEL_TASKS_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>

#define PF_KTHREAD 0x00200000
#define TASK_STATE_UNINTERRUPTIBLE 2

enum bpf_func_id___pt_regs {
	BPF_FUNC_task_pt_regs___pt_regs = 175,
};

enum bpf_func_id___task_storage {
	BPF_FUNC_for_each_map_elem___task_storage = 164,
};

/* Tracing programs may keep records at tasks since 5.13, with which this helper came. */
#define HAS_TASK_STORAGE \
	bpf_core_enum_value_exists(enum bpf_func_id___task_storage, BPF_FUNC_for_each_map_elem___task_storage)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct rq {
	u64 clock;
};

struct sched_info {
	unsigned long long run_delay;
	unsigned long long last_arrival;
	unsigned long long last_queued;
};

struct cfs_rq {
	struct rq *rq;
};

struct sched_entity {
	struct cfs_rq *cfs_rq;
	u64 sum_exec_runtime;
};

struct task_io_accounting {
	u64 rchar;
	u64 wchar;
	u64 syscr;
	u64 syscw;
	u64 read_bytes;
	u64 write_bytes;
	u64 cancelled_write_bytes;
};

struct rlimit {
	unsigned long rlim_cur;
};

struct pid___numbers {
	struct upid numbers[1];
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	int group_exit_code;
	struct pid___numbers *pids[4];
	u64 utime;
	u64 stime;
	u64 cutime;
	u64 cstime;
	u64 gtime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	unsigned long min_flt;
	unsigned long maj_flt;
	struct task_io_accounting ioac;
	unsigned long long sum_sched_runtime;
	struct rlimit rlim[16];
};

struct percpu_counter {
	s64 count;
};

struct mm_rss_stat {
	struct {
		long counter;
	} count[4];
};

/* An array of per-CPU counters since 6.2 (f1a7941243c1), before a structure of its own. */
struct mm_struct___rss_new {
	struct percpu_counter rss_stat[4];
};

struct mm_struct___rss_old {
	struct mm_rss_stat rss_stat;
};

struct task_struct___sched {
	int static_prio;
	u64 gtime;
	struct sched_entity se;
	struct sched_info sched_info;
	struct signal_struct *signal;
	struct task_io_accounting ioac;
};

/* In thread_info since 5.16 (bcf9033e5449), on some architectures always. */
struct thread_info___cpu {
	u32 cpu;
};

struct task_struct___cpu_new {
	struct thread_info___cpu thread_info;
};

struct task_struct___cpu_old {
	unsigned int cpu;
};

#pragma clang attribute pop

static __always_inline bool is_user(struct task_struct *task)
{
	return !(task->flags & PF_KTHREAD);
}

static __always_inline __u32 task_state(struct task_struct *task)
{
	struct task_struct___state_new *renamed = (void *)task;
	struct task_struct___state_old *old = (void *)task;

	if (bpf_core_field_exists(renamed->__state))
		return renamed->__state;
	return old->state;
}

static __always_inline __u32 task_cpu(struct task_struct *task)
{
	struct task_struct___cpu_new *inside = (void *)task;
	struct task_struct___cpu_old *beside = (void *)task;

	if (bpf_core_field_exists(beside->cpu))
		return beside->cpu;
	return inside->thread_info.cpu;
}

#endif
