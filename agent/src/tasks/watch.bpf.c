/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Threads: what each used, what it waited for, who ran while it waited, and how processes end.
 *
 * Idea. What the kernel counts of each thread anyway is printed by one walk per period (walk.h). What it does not count is
 * why a thread was off the CPU. A thread that is switched out leaves the time, the kind of its sleep and the system call it
 * sleeps in (its saved registers hold the number) at its task; when it is switched in, the time off CPU is split: the part
 * since it was queued (sched_info.last_queued) was spent on the run queue, the rest asleep. No wake-up hook and no system
 * call hook is needed, and the clock is the run queue's own, which the scheduler has just updated: reading it costs four loads.
 * A switch writes one cache line of a thread, found by the task's address (watch.h), and a second one after a sleep of 50 us.
 *
 * Who ran instead. Each CPU remembers who ran in its last 16 slices, those apart after which it fell idle: they kept nobody
 * waiting. When a thread is switched in after a wait of more than the floor, the slices of that wait are charged to the processes
 * that ran in them, at the thread: it keeps the few that ran longest, so that nothing grows with the number of pairs, of which a
 * busy host has thousands. For what lies beyond both each thread keeps how long it ran and waited on which CPU: user space
 * divides the rest among those who ran there in the period.
 *
 * Hooks
 *   iter/task               the walk: 0.9 us a thread and period.
 *   sched_switch            20 ns a switch between two user threads, 40 ns where what ran meanwhile took all of the second-level
 *                           cache; some 200 ns where a wait is charged.
 *   task_newtask            3 us a thread created: its storage is allocated.
 *   sched_process_exit      0.4 us a thread ended.
 *   vfs_fsync_range and the system calls (or ext4_sync_file_*), mm_vmscan_direct_reclaim_*, mark_victim: rare events.
 *
 * Measured by the kernel's run time statistics on two shared cores, less what they measure of an empty program (70 ns).
 *
 * Maps. `waits`: 640 bytes a user thread, living and dying with it (before 5.13 a hash of 16384 threads, `waits_by_pid`).
 * `seats`: 512 KiB. `node`: 256 bytes a CPU, `slices`: 648. `notices`: 64 KiB.
 *
 * Blind spots. Waits of a thread that ends within a period are lost (its CPU time and I/O are not). A wait on the run queue
 * that goes on, and before 5.13 any sleep that goes on, shows only once it is over. Kernel threads are counted but not
 * watched. A fault's sleep counts as `other`. Without sched_info and CONFIG_FAIR_GROUP_SCHED the wait on the run queue is not
 * split from sleep.
 */
#include "blame.h"
#include "kernel.h"
#include "kernel_tasks.h"
#include "maps.h"
#include "syscall.h"
#include "tasks.h"
#include "walk.h"
#include "watch.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile struct tasks_config config SEC(".rodata.config") = {};

/* Reads the configuration. */
#include "off_cpu.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} notices SEC(".maps");

SEC("?tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempted, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = queue_clock(prev->pid ? prev : next), arrived;

	if (prev->pid) {
		arrived = arrival(prev, now);
		if (is_user(prev))
			leave(prev, preempted, now, arrived);
		if (next->pid)
			note_slice(prev, arrived, now);
	}
	if (is_user(next))
		arrive(next, now);
	return 0;
}

/* The new thread's storage is made here: under the run queue's lock nothing should be allocated. */
SEC("?tp_btf/task_newtask")
int BPF_PROG(on_new_task, struct task_struct *task)
{
	if (is_user(task))
		new_watch(task);
	return 0;
}

/* --- ends --- */

static __always_inline struct notice *new_notice(void)
{
	struct notice *notice = bpf_ringbuf_reserve(&notices, sizeof(*notice), 0);

	if (!notice)
		COUNT(counters.notices_lost);
	return notice;
}

SEC("?tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_struct___sched *sched = (void *)task;
	struct signal_struct *signal = sched->signal;
	struct notice *notice;
	__u32 pid = task->pid, code = task->exit_code;
	__u64 start;

	leave_seat(task);
	if (!HAS_TASK_STORAGE)
		bpf_map_delete_elem(&waits_by_pid, &pid);
	if (signal->live.counter)
		return 0;
	start = task->group_leader->start_boottime;
	/* Short-lived processes end all the time; only a signal makes their end worth telling. */
	if (!(code & 0x7f) && bpf_ktime_get_boot_ns() - start < config.exit_age_ns)
		return 0;
	notice = new_notice();
	if (!notice)
		return 0;
	notice->kind = NOTICE_EXIT;
	notice->tgid = task->tgid;
	notice->exit_code = code;
	notice->padding = 0;
	notice->start_ns = start;
	notice->runtime_ns = signal->sum_sched_runtime + sched->se.sum_exec_runtime;
	bpf_probe_read_kernel(notice->comm, sizeof(notice->comm), task->group_leader->comm);
	bpf_ringbuf_submit(notice, BPF_RB_NO_WAKEUP);
	return 0;
}

/* A raw tracepoint needs no tracefs, which is not mounted everywhere. Its argument was the id until 6.7, since then the task. */
SEC("?raw_tp/mark_victim")
int on_oom(__u64 *args)
{
	struct notice *notice = new_notice();
	__u64 victim = args[0];

	if (!notice)
		return 0;
	__builtin_memset(notice, 0, sizeof(*notice));
	notice->kind = NOTICE_OOM;
	notice->tgid = victim >> 32 ? BPF_CORE_READ((struct task_struct *)victim, tgid) : (__u32)victim;
	bpf_ringbuf_submit(notice, BPF_RB_NO_WAKEUP);
	return 0;
}

/* --- fsync and reclaim --- */

static __always_inline void fsync_starts(void)
{
	struct watched *watch = current_watch();

	if (watch)
		watch->fsync_at = bpf_ktime_get_ns();
}

static __always_inline void fsync_ends(void)
{
	struct watched *watch = current_watch();
	__u64 took;

	if (!watch || !watch->fsync_at)
		return;
	took = bpf_ktime_get_ns() - watch->fsync_at;
	watch->fsync_at = 0;
	watch->fsyncs++;
	watch->fsync_ns += took;
	RAISE(watch->fsync_max_ns, took);
}

/* The system calls, for where the compiler put vfs_fsync_range() into their functions (6.1); and that for all other callers.
 * Where one calls the other the inner call counts, for it ends first. */
#define FSYNC(function, enter, exit)                        \
	SEC("?fentry/" function) int BPF_PROG(enter)        \
	{                                                   \
		fsync_starts();                             \
		return 0;                                   \
	}                                                   \
	SEC("?fexit/" function) int BPF_PROG(exit)          \
	{                                                   \
		fsync_ends();                               \
		return 0;                                   \
	}

FSYNC("vfs_fsync_range", fsync_range_enter, fsync_range_exit)
FSYNC(SYSCALL_FUNCTION(fsync), fsync_enter, fsync_exit)
FSYNC(SYSCALL_FUNCTION(fdatasync), fdatasync_enter, fdatasync_exit)

SEC("?tp_btf/ext4_sync_file_enter")
int BPF_PROG(ext4_fsync_enter)
{
	fsync_starts();
	return 0;
}

SEC("?tp_btf/ext4_sync_file_exit")
int BPF_PROG(ext4_fsync_exit)
{
	fsync_ends();
	return 0;
}

SEC("?tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(reclaim_begin)
{
	struct watched *watch = current_watch();

	if (watch)
		watch->reclaim_at = bpf_ktime_get_ns();
	return 0;
}

SEC("?tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(reclaim_end)
{
	struct watched *watch = current_watch();
	__u64 took;

	if (!watch || !watch->reclaim_at)
		return 0;
	took = bpf_ktime_get_ns() - watch->reclaim_at;
	watch->reclaim_at = 0;
	watch->reclaim_ns += took;
	RAISE(watch->reclaim_max_ns, took);
	return 0;
}

/* --- the walk --- */

/* Counts a sleep that goes on, so that a thread that hangs shows it while it hangs. The clock is that of the CPU we run on:
 * the thread's own may stand still while its CPU is idle. */
static __always_inline void settle(struct task_struct *task, struct times *times)
{
	__u64 off_at = times->off_at, now;

	if (!off_at || times->kind == OFF_RUNQ || !task_state(task) || !HAS_TASK_STORAGE)
		return;
	now = queue_clock(bpf_get_current_task_btf());
	if (now <= off_at)
		return;
	RAISE(times->off_max_ns, now - off_at);
	add_sleep(task, times, now - off_at);
}

/* Into the record and out of the watch, which starts anew with each walk. */
static __always_inline void take_watch(struct watched *watch, struct times *times)
{
	struct task_waits *waits = &record.waits;

	waits->io_ns = watch->io_ns;
	waits->block_ns = watch->block_ns;
	waits->sleep_ns = times->sleep_ns;
	__builtin_memcpy(waits->class_ns, times->class_ns, sizeof(waits->class_ns));
	waits->io_max_ns = watch->io_max_ns;
	waits->runq_max_ns = times->runq_max_ns;
	waits->off_max_ns = times->off_max_ns;
	waits->reclaim_ns = watch->reclaim_ns;
	waits->reclaim_max_ns = watch->reclaim_max_ns;
	waits->fsyncs = watch->fsyncs;
	waits->fsync_ns = watch->fsync_ns;
	waits->fsync_max_ns = watch->fsync_max_ns;
	watch->io_max_ns = 0;
	times->runq_max_ns = 0;
	times->off_max_ns = 0;
	watch->reclaim_max_ns = 0;
	watch->fsync_max_ns = 0;
	settle_share(watch, times);
	__builtin_memcpy(record.cpus, watch->cpus, sizeof(record.cpus));
	__builtin_memset(watch->cpus, 0, sizeof(watch->cpus));
	if (watch->culprits[0].tgid)
		record.flags |= TASK_CULPRITS;
}

/* Stretches off CPU that are over, by kind. The kernel counts how often a thread left the CPU: one that is not off came once
 * more. */
static __always_inline void count_stretches(struct task_struct *task, struct watched *watch, struct times *times)
{
	__u64 *counts = record.waits.counts, goes_on = times && times->off_at, others;

	counts[OFF_IO] = watch ? watch->io_count : 0;
	counts[OFF_BLOCK] = watch ? watch->block_count : 0;
	others = counts[OFF_IO] + counts[OFF_BLOCK] + (goes_on && times->kind != OFF_RUNQ);
	counts[OFF_SLEEP] = task->nvcsw > others ? task->nvcsw - others : 0;
	counts[OFF_RUNQ] = task->nvcsw + task->nivcsw + !goes_on;
}

/* Takes up threads older than this program. */
SEC("?iter/task")
int walk_watched(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct watched *watch = NULL;
	struct times *times = NULL;

	if (!task)
		return 0;
	read_task(task);
	__builtin_memset(&record.waits, 0, sizeof(record.waits));
	__builtin_memset(record.cpus, 0, sizeof(record.cpus));
	if (is_user(task)) {
		watch = watch_of(task);
		times = times_of(task);
		count_stretches(task, watch, times);
		if (watch && times) {
			settle(task, times);
			take_watch(watch, times);
		} else if (task->mm) {
			/* What has ended leaves nobody to give it back. */
			new_watch(task);
		}
	}
	bpf_seq_write(context->meta->seq, &record, sizeof(record));
	if (watch && record.flags & TASK_CULPRITS) {
		bpf_seq_write(context->meta->seq, watch->culprits, sizeof(watch->culprits));
		__builtin_memset(watch->culprits, 0, sizeof(watch->culprits));
	}
	return 0;
}
