/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Why a thread was off the CPU: noted when it leaves, divided when it arrives. The including file declares `config`. */
#ifndef GALA_OFF_CPU_H
#define GALA_OFF_CPU_H

#include "blame.h"
#include "kernel.h"
#include "kernel_tasks.h"
#include "maps.h"
#include "tasks.h"
#include "watch.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Shorter sleeps of free will are not told apart by call: they are frequent and none is a fault's. */
#define CLASS_FLOOR_NS 50000

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node_waits);
} node SEC(".maps");

static __always_inline __u8 sleep_class(struct task_struct *task)
{
	long number = -1;

#if defined(__TARGET_ARCH_x86)
	if (bpf_core_enum_value_exists(enum bpf_func_id___pt_regs, BPF_FUNC_task_pt_regs___pt_regs)) {
		struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

		number = regs->orig_ax;
	}
#endif
	return number >= 0 && number < TASKS_SYSCALLS ? config.class_of[number] : WAIT_OTHER;
}

/* The host's distribution of what took longer than its first edge; the many shorter ones are counted at the thread. */
static __noinline int count_long(__u32 kind, __u64 ns)
{
	__u32 zero = 0, bucket = 0;
	struct node_waits *node_waits = bpf_map_lookup_elem(&node, &zero);

	if (!node_waits || kind >= OFF_KINDS)
		return 0;
	RAISE(node_waits->max_ns[kind], ns);
	for (int i = 0; i < NODE_BUCKETS - 1; i++)
		bucket += ns > config.edges[i];
	if (bucket < NODE_BUCKETS)
		node_waits->counts[kind][bucket]++;
	return 0;
}

/* The thread's account of a CPU, a new one where there is room. */
static __always_inline struct cpu_share *share_of(struct watched *watch, __u32 cpu)
{
	for (int i = 0; i < CPU_SHARES; i++) {
		struct cpu_share *share = &watch->cpus[i];

		if (!share->used) {
			share->used = 1;
			share->cpu = cpu;
			return share;
		}
		if (share->cpu == cpu)
			return share;
	}
	return NULL;
}

/* Into its account of the CPU it ran on last. */
static __noinline int settle_share(struct watched *watch, struct times *times)
{
	struct cpu_share *share;

	if (!watch || !times || !times->ran_ns)
		return 0;
	share = share_of(watch, times->cpu);
	if (share)
		share->ran_ns += times->ran_ns;
	times->ran_ns = 0;
	return 0;
}

/* Since when the thread that leaves ran. */
static __always_inline __u64 arrival(struct task_struct *prev, __u64 now)
{
	struct task_struct___sched *sched = (void *)prev;
	__u64 arrived = now;

	if (bpf_core_field_exists(sched->sched_info))
		arrived = sched->sched_info.last_arrival;
	return arrived && arrived < now ? arrived : now;
}

static __always_inline void leave(struct task_struct *prev, bool preempted, __u64 now, __u64 arrived)
{
	__u32 cpu = bpf_get_smp_processor_id(), state;
	struct times *times = times_of(prev);

	if (!times)
		return;
	if (times->cpu != cpu) {
		settle_share(watch_of(prev), times);
		times->cpu = cpu;
	}
	times->ran_ns += now - arrived;
	times->off_at = now;
	times->settled_ns = 0;
	state = preempted ? 0 : task_state(prev);
	if (!state)
		times->kind = OFF_RUNQ;
	else if (BPF_CORE_READ_BITFIELD(prev, in_iowait))
		times->kind = OFF_IO;
	else
		times->kind = state & TASK_STATE_UNINTERRUPTIBLE ? OFF_BLOCK : OFF_SLEEP;
}

/* Adds what is not yet counted of a sleep that lasted `asleep` so far. The thread is still inside the call it sleeps in, so its
 * registers still hold the number. */
static __always_inline void add_sleep(struct task_struct *task, struct times *times, __u64 asleep)
{
	__u64 fresh = asleep > times->settled_ns ? asleep - times->settled_ns : 0;
	struct watched *watch;
	__u32 class;

	times->settled_ns = asleep;
	if (times->kind != OFF_SLEEP || fresh >= CLASS_FLOOR_NS) {
		class = sleep_class(task);
		if (class < WAIT_CLASSES)
			times->class_ns[class] += fresh;
	}
	if (times->kind == OFF_SLEEP) {
		times->sleep_ns += fresh;
		return;
	}
	watch = watch_of(task);
	if (!watch)
		return;
	if (times->kind == OFF_IO) {
		watch->io_ns += fresh;
		RAISE(watch->io_max_ns, asleep);
	} else {
		watch->block_ns += fresh;
	}
}

/* A wait for the CPU that is worth telling who ran meanwhile. */
static __noinline int long_wait(struct watched *watch, __u64 wait, __u64 now)
{
	struct cpu_share *share;

	if (!watch)
		return 0;
	share = share_of(watch, bpf_get_smp_processor_id());
	if (share)
		share->waited_ns += wait;
	if (wait > config.edges[0])
		count_long(OFF_RUNQ, wait);
	return blame(watch, wait, now);
}

/* Of a stretch of uninterruptible sleep that is over. */
static __noinline int count_stretch(struct watched *watch, __u32 kind)
{
	if (!watch)
		return 0;
	if (kind == OFF_IO)
		watch->io_count++;
	else
		watch->block_count++;
	return 0;
}

static __always_inline void arrive(struct task_struct *next, __u64 now)
{
	struct task_struct___sched *sched = (void *)next;
	struct times *times = times_of(next);
	__u64 queued, wait = 0, off, asleep;

	if (!times)
		return;
	if (bpf_core_field_exists(sched->sched_info) && bpf_core_field_exists(sched->se.cfs_rq->rq)) {
		queued = sched->sched_info.last_queued;
		wait = queued && now > queued ? now - queued : 0;
	}
	RAISE(times->runq_max_ns, wait);
	if (wait >= config.preempt_floor_ns)
		long_wait(watch_of(next), wait, now);
	if (!times->off_at || now <= times->off_at)
		return;
	off = now - times->off_at;
	times->off_at = 0;
	RAISE(times->off_max_ns, off);
	if (times->kind == OFF_RUNQ)
		return;
	asleep = off > wait ? off - wait : 0;
	if (asleep > config.edges[0])
		count_long(times->kind, asleep);
	if (times->kind != OFF_SLEEP)
		count_stretch(watch_of(next), times->kind);
	add_sleep(next, times, asleep);
}

/* The clock of the run queue a task is on, as sched_info uses it. Reached through the task's own group, for the symbol
 * `runqueues` can be looked up only where kallsyms lists data (CONFIG_KALLSYMS_ALL). */
static __always_inline __u64 queue_clock(struct task_struct *task)
{
	struct task_struct___sched *sched = (void *)task;

	if (bpf_core_field_exists(sched->se.cfs_rq->rq))
		return sched->se.cfs_rq->rq->clock;
	return bpf_ktime_get_ns();
}

#endif
