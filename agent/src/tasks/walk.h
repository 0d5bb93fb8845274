/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the kernel counts of a thread anyway, as a record for the walk to print. */
#ifndef GALA_WALK_H
#define GALA_WALK_H

#include "kernel.h"
#include "kernel_tasks.h"
#include "tasks.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* One reader at a time, so one record for all: it is too large for the stack. */
static struct task_record record;

static __always_inline __u64 positive(__s64 value)
{
	return value > 0 ? value : 0;
}

static __always_inline void read_memory(struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	struct mm_struct___rss_new *counted = (void *)mm;
	struct mm_struct___rss_old *old = (void *)mm;

	record.vm_pages = record.rss_pages = record.swap_pages = 0;
	if (!mm)
		return;
	record.vm_pages = mm->total_vm;
	/* File, anonymous and shared pages make the resident set; swapped ones stand between them. */
	if (bpf_core_type_exists(struct mm_rss_stat)) {
		record.rss_pages = positive(BPF_CORE_READ(old, rss_stat.count[0].counter)) +
				   positive(BPF_CORE_READ(old, rss_stat.count[1].counter)) +
				   positive(BPF_CORE_READ(old, rss_stat.count[3].counter));
		record.swap_pages = positive(BPF_CORE_READ(old, rss_stat.count[2].counter));
	} else {
		record.rss_pages = positive(BPF_CORE_READ(counted, rss_stat[0].count)) +
				   positive(BPF_CORE_READ(counted, rss_stat[1].count)) +
				   positive(BPF_CORE_READ(counted, rss_stat[3].count));
		record.swap_pages = positive(BPF_CORE_READ(counted, rss_stat[2].count));
	}
}

static __always_inline void add_io(struct task_io_accounting *io)
{
	record.usage.rchar += io->rchar;
	record.usage.wchar += io->wchar;
	record.usage.syscr += io->syscr;
	record.usage.syscw += io->syscw;
	record.usage.read_bytes += io->read_bytes;
	record.usage.write_bytes += io->write_bytes;
	record.usage.cancelled_bytes += io->cancelled_write_bytes;
}

static __always_inline void read_usage(struct task_struct *task)
{
	struct task_struct___sched *sched = (void *)task;

	__builtin_memset(&record.usage, 0, sizeof(record.usage));
	record.usage.runtime_ns = sched->se.sum_exec_runtime;
	record.usage.utime_ns = task->utime;
	record.usage.stime_ns = task->stime;
	record.usage.gtime_ns = sched->gtime;
	if (bpf_core_field_exists(sched->sched_info))
		record.usage.run_delay_ns = sched->sched_info.run_delay;
	record.usage.voluntary = task->nvcsw;
	record.usage.involuntary = task->nivcsw;
	record.usage.minor_faults = task->min_flt;
	record.usage.major_faults = task->maj_flt;
	if (bpf_core_field_exists(sched->ioac))
		add_io(&sched->ioac);
}

/* What is counted per process: it stands in the leader's record, with the threads that ended. */
static __always_inline void read_process(struct task_struct *task)
{
	struct task_struct___sched *sched = (void *)task;
	struct signal_struct *signal = sched->signal;

	record.flags |= TASK_LEADER;
	read_memory(task);
	record.threads = signal->nr_threads;
	record.ppid = task->real_parent->tgid;
	record.pgid = BPF_CORE_READ(signal, pids[2], numbers[0].nr);
	record.cutime_ns = signal->cutime;
	record.cstime_ns = signal->cstime;
	record.files_limit = signal->rlim[7].rlim_cur;
	record.usage.runtime_ns += signal->sum_sched_runtime;
	record.usage.utime_ns += signal->utime;
	record.usage.stime_ns += signal->stime;
	record.usage.gtime_ns += signal->gtime;
	record.usage.voluntary += signal->nvcsw;
	record.usage.involuntary += signal->nivcsw;
	record.usage.minor_faults += signal->min_flt;
	record.usage.major_faults += signal->maj_flt;
	if (bpf_core_field_exists(sched->ioac))
		add_io(&signal->ioac);
}

/* All but its waits. */
static __always_inline void read_task(struct task_struct *task)
{
	struct task_struct___sched *sched = (void *)task;

	record.tgid = task->tgid;
	record.pid = task->pid;
	record.flags = is_user(task) ? 0 : TASK_KERNEL;
	record.state = task_state(task);
	record.cpu = task_cpu(task);
	record.prio = task->prio;
	record.static_prio = sched->static_prio;
	record.start_ns = task->group_leader->start_boottime;
	bpf_probe_read_kernel(record.comm, sizeof(record.comm), task->comm);
	read_usage(task);
	if (task->pid == task->tgid)
		read_process(task);
}

#endif
