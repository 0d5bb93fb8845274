/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Threads: what each used, what it waited for, who ran while it waited, and how processes end.
 *
 * Idea. The kernel counts CPU time, run delay, switches, faults and I/O of each thread anyway, so one walk per period
 * (iter/task) prints them all, far cheaper than opening files of /proc. What it does not count is why a thread was off
 * the CPU. A thread that is switched out leaves the time, the kind of its sleep and the system call it sleeps in (its
 * saved registers hold the number) at its task; when it is switched in, the time off CPU is split: the part since it was
 * queued (sched_info.last_queued) was spent on the run queue, the rest asleep. No wake-up hook and no system call hook is
 * needed, and the clock is the run queue's own, which the scheduler has just updated: reading it costs four loads.
 *
 * Who ran instead. Each CPU remembers who ran in its last 16 slices. When a thread is switched in after a wait of more
 * than the floor, the slices of that wait are charged to the pairs of waiting process and process that ran. For waits
 * longer than that each thread also keeps how long it ran and waited on which CPU: user space divides the rest of a wait among
 * those who ran on that CPU in the period.
 *
 * Hooks
 *   iter/task               the walk: 0.9 us a thread and period.
 *   sched_switch            110 ns a switch between two user threads, 180 ns to or from idle, where caches are cold.
 *   task_newtask            3 us a thread created: its storage is allocated.
 *   sched_process_exit      0.4 us a thread ended.
 *   vfs_fsync_range (or ext4_sync_file_*), mm_vmscan_direct_reclaim_*, mark_victim: rare events.
 *
 * Measured by the kernel's run time statistics on two shared cores, less what they measure of an empty program (70 ns).
 *
 * Maps. `waits`: 370 bytes a user thread, living and dying with it (before 5.13 a hash of 16384 threads, `waits_by_pid`).
 * `preemptions`: 72 bytes a pair, 1024 pairs, emptied each period. `node`: 256 bytes a CPU, `slices`: 520. `notices`: 64 KiB.
 *
 * Blind spots. Waits of a thread that ends within a period are lost (its CPU time and I/O are not). A wait on the run queue
 * that goes on, and before 5.13 any sleep that goes on, shows only once it is over. Kernel threads are counted but not watched. A fault's sleep counts as
 * `other`. Without sched_info and CONFIG_FAIR_GROUP_SCHED the wait on the run queue is not split from sleep.
 */
#include "compat.h"
#include "kernel.h"
#include "kernel_tasks.h"
#include "maps.h"
#include "tasks.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile struct tasks_config config SEC(".rodata.config") = {};

/* What is kept at a thread: what the walk prints, and what is open. */
struct watched {
	struct task_waits waits;
	struct cpu_share cpus[CPU_SHARES];
	__u64 off_at;
	/* Part of the present sleep that a walk already counted. */
	__u64 settled_ns;
	__u64 fsync_at;
	__u64 reclaim_at;
	__u8 kind;
};

/* Shorter sleeps of free will are not told apart by call: they are frequent and none is a fault's. */
#define CLASS_FLOOR_NS 50000

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
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct preempt_key);
	__type(value, struct preempt_value);
} preemptions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node_waits);
} node SEC(".maps");

/* Who ran on a CPU, from when; until the next one's start. */
#define SLICES 16

struct slice {
	__u64 from;
	__u32 tgid;
	__u32 kernel;
	char comm[16];
};

struct slices {
	struct slice ring[SLICES];
	__u32 next;
	__u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slices);
} slices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} notices SEC(".maps");

struct {
	__u64 watches_lost;
	__u64 preemptions_lost;
	__u64 notices_lost;
} counters SEC(".bss.counters");

static const struct watched empty_watch;

static __always_inline struct watched *watch_of(struct task_struct *task)
{
	__u32 pid;

	if (config.storage)
		return bpf_task_storage_get(&waits, task, 0, 0);
	pid = task->pid;
	return bpf_map_lookup_elem(&waits_by_pid, &pid);
}

static __always_inline struct watched *new_watch(struct task_struct *task)
{
	struct watched *watch;
	__u32 pid;

	if (config.storage) {
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

	if (config.storage)
		return bpf_task_storage_get(&waits, bpf_get_current_task_btf(), 0, 0);
	pid = bpf_get_current_pid_tgid();
	return bpf_map_lookup_elem(&waits_by_pid, &pid);
}

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

/* --- off CPU --- */

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

static __always_inline void count_wait(struct watched *watch, __u32 kind, __u64 ns)
{
	kind &= OFF_KINDS - 1;
	watch->waits.counts[kind]++;
	if (ns > config.edges[0])
		count_long(kind, ns);
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

static __always_inline void leave(struct task_struct *prev, bool preempted, __u64 now, __u32 cpu)
{
	struct task_struct___sched *sched = (void *)prev;
	struct watched *watch = watch_of(prev);
	struct cpu_share *share;
	__u64 arrived;
	__u32 state;

	if (!watch)
		return;
	if (bpf_core_field_exists(sched->sched_info)) {
		arrived = sched->sched_info.last_arrival;
		share = share_of(watch, cpu);
		if (share && arrived && now > arrived)
			share->ran_ns += now - arrived;
	}
	watch->off_at = now;
	watch->settled_ns = 0;
	state = preempted ? 0 : task_state(prev);
	if (!state) {
		watch->kind = OFF_RUNQ;
		return;
	}
	if (BPF_CORE_READ_BITFIELD(prev, in_iowait))
		watch->kind = OFF_IO;
	else
		watch->kind = state & TASK_STATE_UNINTERRUPTIBLE ? OFF_BLOCK : OFF_SLEEP;
}

static __noinline int charge(struct preempt_key *key, struct slice *slice, __u64 ns)
{
	struct preempt_value *value, fresh = {};

	if (!key || !slice)
		return 0;
	value = bpf_map_lookup_elem(&preemptions, key);
	if (value) {
		ADD(value->ns, ns);
		ADD(value->count, 1);
		RAISE(value->max_ns, ns);
		value->cpu = bpf_get_smp_processor_id();
		return 0;
	}
	fresh.ns = ns;
	fresh.count = 1;
	fresh.max_ns = ns;
	fresh.cpu = bpf_get_smp_processor_id();
	fresh.kernel = slice->kernel;
	__builtin_memcpy(fresh.comm, slice->comm, sizeof(fresh.comm));
	if (bpf_map_update_elem(&preemptions, key, &fresh, BPF_NOEXIST))
		COUNT(counters.preemptions_lost);
	return 0;
}

/* Goes back through the CPU's slices until the wait is covered and charges each to who ran in it. */
static __noinline int blame(__u32 victim, __u64 wait, __u64 now)
{
	struct preempt_key key = { .victim = victim };
	__u64 since = now - wait, end = now, begin;
	struct slices *recent;
	struct slice *slice;
	__u32 zero = 0;

	recent = bpf_map_lookup_elem(&slices, &zero);
	if (!recent)
		return 0;
	for (__u32 back = 1; back <= SLICES; back++) {
		slice = &recent->ring[(recent->next - back) % SLICES];
		if (!slice->from || end <= since)
			break;
		begin = slice->from > since ? slice->from : since;
		key.culprit = slice->tgid;
		if (slice->tgid && end > begin)
			charge(&key, slice, end - begin);
		end = slice->from;
	}
	return 0;
}

static __always_inline void note_slice(struct task_struct *next, __u64 now)
{
	__u32 zero = 0;
	struct slices *recent = bpf_map_lookup_elem(&slices, &zero);
	struct slice *slice;

	if (!recent)
		return;
	slice = &recent->ring[recent->next++ % SLICES];
	slice->from = now;
	slice->tgid = next->tgid;
	slice->kernel = !is_user(next);
	__builtin_memcpy(slice->comm, next->comm, sizeof(slice->comm));
}

/* Adds what is not yet counted of a sleep that lasted `asleep` so far. The thread is still inside the call it sleeps in, so its
 * registers still hold the number. */
static __always_inline void add_sleep(struct task_struct *task, struct watched *watch, __u64 asleep)
{
	__u64 fresh = asleep > watch->settled_ns ? asleep - watch->settled_ns : 0;
	__u8 class;

	watch->settled_ns = asleep;
	if (watch->kind != OFF_SLEEP || fresh >= CLASS_FLOOR_NS) {
		class = sleep_class(task);
		if (class < WAIT_CLASSES)
			watch->waits.class_ns[class] += fresh;
	}
	if (watch->kind == OFF_IO) {
		watch->waits.io_ns += fresh;
		RAISE(watch->waits.io_max_ns, asleep);
	} else if (watch->kind == OFF_BLOCK) {
		watch->waits.block_ns += fresh;
	} else {
		watch->waits.sleep_ns += fresh;
	}
}

static __always_inline void arrive(struct task_struct *next, __u64 now, __u32 cpu)
{
	struct task_struct___sched *sched = (void *)next;
	struct watched *watch = watch_of(next);
	struct cpu_share *share;
	__u64 queued, wait = 0, off, asleep;

	if (!watch)
		return;
	if (bpf_core_field_exists(sched->sched_info) && bpf_core_field_exists(sched->se.cfs_rq->rq)) {
		queued = sched->sched_info.last_queued;
		wait = queued && now > queued ? now - queued : 0;
	}
	RAISE(watch->waits.runq_max_ns, wait);
	count_wait(watch, OFF_RUNQ, wait);
	if (wait >= config.preempt_floor_ns) {
		share = share_of(watch, cpu);
		if (share)
			share->waited_ns += wait;
		blame(next->tgid, wait, now);
	}
	if (!watch->off_at || now <= watch->off_at)
		return;
	off = now - watch->off_at;
	watch->off_at = 0;
	asleep = off > wait ? off - wait : 0;
	RAISE(watch->waits.off_max_ns, off);
	if (watch->kind == OFF_RUNQ)
		return;
	count_wait(watch, watch->kind, asleep);
	add_sleep(next, watch, asleep);
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

SEC("?tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempted, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = queue_clock(prev->pid ? prev : next);
	__u32 cpu = bpf_get_smp_processor_id();

	if (is_user(prev))
		leave(prev, preempted, now, cpu);
	if (is_user(next))
		arrive(next, now, cpu);
	note_slice(next, now);
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

	if (!config.storage)
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

SEC("?tp/oom/mark_victim")
int on_oom(struct trace_event_raw_mark_victim *context)
{
	struct notice *notice = new_notice();

	if (!notice)
		return 0;
	__builtin_memset(notice, 0, sizeof(*notice));
	notice->kind = NOTICE_OOM;
	notice->tgid = context->pid;
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
	watch->waits.fsyncs++;
	watch->waits.fsync_ns += took;
	RAISE(watch->waits.fsync_max_ns, took);
}

SEC("?fentry/vfs_fsync_range")
int BPF_PROG(fsync_enter)
{
	fsync_starts();
	return 0;
}

SEC("?fexit/vfs_fsync_range")
int BPF_PROG(fsync_exit)
{
	fsync_ends();
	return 0;
}

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
	watch->waits.reclaim_ns += took;
	RAISE(watch->waits.reclaim_max_ns, took);
	return 0;
}

/* --- the walk --- */

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

static __always_inline __u32 task_cpu(struct task_struct *task)
{
	struct task_struct___cpu_new *inside = (void *)task;
	struct task_struct___cpu_old *beside = (void *)task;

	if (bpf_core_field_exists(beside->cpu))
		return beside->cpu;
	return inside->thread_info.cpu;
}

static __always_inline void print_task(struct bpf_iter__task *context, struct task_struct *task, struct watched *watch)
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
	if (watch) {
		record.waits = watch->waits;
		watch->waits.io_max_ns = 0;
		watch->waits.runq_max_ns = 0;
		watch->waits.off_max_ns = 0;
		watch->waits.reclaim_max_ns = 0;
		watch->waits.fsync_max_ns = 0;
		__builtin_memcpy(record.cpus, watch->cpus, sizeof(record.cpus));
		__builtin_memset(watch->cpus, 0, sizeof(watch->cpus));
	} else {
		__builtin_memset(&record.waits, 0, sizeof(record.waits));
		__builtin_memset(record.cpus, 0, sizeof(record.cpus));
	}
	bpf_seq_write(context->meta->seq, &record, sizeof(record));
}

/* Counts a sleep that goes on, so that a thread that hangs shows it while it hangs. The clock is that of the CPU we run on:
 * the thread's own may stand still while its CPU is idle. */
static __always_inline void settle(struct task_struct *task, struct watched *watch)
{
	__u64 off_at = watch->off_at, now;

	if (!off_at || watch->kind == OFF_RUNQ || !task_state(task) || !config.storage)
		return;
	now = queue_clock(bpf_get_current_task_btf());
	if (now <= off_at)
		return;
	RAISE(watch->waits.off_max_ns, now - off_at);
	add_sleep(task, watch, now - off_at);
}

/* The walk that also watches: takes up threads older than this program. */
SEC("?iter/task")
int walk_watched(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct watched *watch;

	if (!task)
		return 0;
	watch = is_user(task) ? watch_of(task) : NULL;
	if (!watch && is_user(task))
		watch = new_watch(task);
	else if (watch)
		settle(task, watch);
	print_task(context, task, watch);
	return 0;
}

/* The walk alone, for who needs no waits. */
SEC("?iter/task")
int walk(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;

	if (task)
		print_task(context, task, NULL);
	return 0;
}
