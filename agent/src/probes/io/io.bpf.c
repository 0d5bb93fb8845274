/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Block devices: how long each request took, where, what failed, and who asked for it.
 *
 * Idea. Structures of requests are allocated once per device and used again and again, so what is known of a request is
 * kept under its address and not freed while there is room for all: a hash with as many entries as there are requests. Hosts
 * with more of them (a fast disk has a thousand for each processor) keep those under way only. The start of a request
 * runs in the context of who asked for it, which names the owner; the hand-over to the driver ends the time in the queue, the
 * completion the time in driver and device. Every request is counted, into one record per disk, kind and CPU.
 *
 * Where a disk's queue is full, I/O waits before there is a request for it: the clock starts, and the owner is read, when
 * the bio is submitted, and both are handed to the request that is made of it.
 *
 * What limits of control groups hold back is no bio for any hook yet, and a file system does more than one request: what
 * services feel of a disk is how long a sync of a file takes, so that is measured too, as is the age of those not done yet.
 *
 * Hooks
 *   block_bio_queue                                                  submission: clock and owner, 0.1 us a bio
 *   block_io_start (6.5), else block_rq_insert and block_rq_issue    start and owner, 0.4 us a request
 *   block_rq_issue                                                   hand-over, 0.2 us
 *   block_rq_complete                                                completion, 0.6 us
 *   vfs_fsync_range (fentry, fexit), else ext4_sync_file_*           syncs of files, 0.4 us each
 *
 * Measured with cold caches, as they are at some thousand requests a second.
 *
 * Maps. `bios`: 32 bytes a slot, 4096; a slot is found by the address of the bio, and who comes later takes it: the request of
 * the bio that lost its slot starts when it is made. `requests`: 100 bytes a request in use at once, 8192. `stats`: 480 bytes
 * a CPU, disk and kind, 1024 of two periods: 128 busy disks. `owners`: 120 bytes a disk and process, 2048, emptied each period.
 * `syncs`: 80 bytes a thread in a sync, 4096. `sync_stats`: 250 bytes a disk, 256 of two periods.
 *
 * Blind spots. Before 6.5 the owner is who inserted or issued the request, a kernel thread where that was put off, and the
 * time spent waiting for a free request is not seen. Cached writes are asked for by the kernel thread that writes them back.
 * A device that works on bios without requests (some ramdisks, the upper side of device mapper) shows only
 * what it sends on. With I/O statistics switched off for a queue (queue/iostats) no start is seen, only the hand-over. While
 * another program is attached to the same tracepoint, or leaves it, a few completions reach none of those attached.
 */
#include "compat.h"
#include "kernel.h"
#include "maps.h"
#include "syscall.h"
#include "io.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define PF_KTHREAD 0x00200000
#define E2BIG 7
#define REQ_OP_MASK 0xff
#define REQ_OP_READ 0
#define REQ_OP_WRITE 1
#define REQ_OP_FLUSH 2
/* Commands of programs to the driver. */
#define REQ_OP_DRV_IN 34
#define REQ_OP_DRV_OUT 35
/* The kernel's own numbers (blk_status_t), since 5.16 the argument, and the errors they were before. */
#define BLK_STS_NOTSUPP 1
#define BLK_STS_TARGET 5
#define BLK_STS_AGAIN 12
#define EAGAIN 11
#define EOPNOTSUPP 95
#define EREMOTEIO 121

const volatile struct io_config config SEC(".rodata.config") = {};

struct request_state {
	__u64 start_ns;
	__u64 issue_ns;
	__u32 tgid;
	__u32 kernel;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct request_state);
} requests SEC(".maps");

/* Who submitted a bio, and when; `bio` tells whose slot it is, 0 for nobody's. */
struct submission {
	__u64 bio;
	__u64 start_ns;
	__u32 tgid;
	__u32 kernel;
};

#define BIO_SLOTS_BITS 12

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << BIO_SLOTS_BITS);
	__type(key, __u32);
	__type(value, struct submission);
} bios SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct io_key);
	__type(value, struct io_stats);
} stats SEC(".maps");

/* A record is too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct io_stats);
} empty_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct io_owner_key);
	__type(value, struct io_owner);
} owners SEC(".maps");

/* Threads in a sync. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct io_sync);
} syncs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct io_key);
	__type(value, struct io_sync_stats);
} sync_stats SEC(".maps");

__u32 generation SEC(".bss.generation");

struct {
	__u64 requests_lost;
	__u64 stats_lost;
	__u64 owners_lost;
	__u64 bios_lost;
	__u64 syncs_lost;
} counters SEC(".bss.counters");

static __always_inline struct gendisk *disk_of(struct request *rq)
{
	struct request___rq_disk *old = (void *)rq;

	if (bpf_core_field_exists(old->rq_disk))
		return old->rq_disk;
	return rq->q->disk;
}

static __always_inline __u32 op_of(struct request *rq)
{
	__u32 op = rq->cmd_flags & REQ_OP_MASK;

	if (op == REQ_OP_READ)
		return IO_READ;
	if (op == REQ_OP_WRITE)
		return rq->__data_len ? IO_WRITE : IO_FLUSH;
	return op == REQ_OP_FLUSH ? IO_FLUSH : IO_OTHER;
}

static __always_inline struct submission *slot_of(__u64 bio)
{
	/* Addresses of bios differ in their middle bits; multiplying spreads them over the high ones. */
	__u32 slot = (bio * 0x9e3779b97f4a7c15ull) >> (64 - BIO_SLOTS_BITS);

	return bpf_map_lookup_elem(&bios, &slot);
}

static __always_inline bool is_kernel_thread(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, flags) & PF_KTHREAD;
}

static __always_inline void submit(__u64 bio)
{
	struct submission *slot = slot_of(bio);

	if (!slot)
		return;
	/* Two at once may mix; the address, set last, then belongs to one of two that started at the same time. */
	slot->start_ns = bpf_ktime_get_ns();
	slot->tgid = bpf_get_current_pid_tgid() >> 32;
	slot->kernel = is_kernel_thread();
	slot->bio = bio;
}

static __always_inline void begin(struct request *rq, bool issue)
{
	struct request_state state = {}, *known;
	__u64 key = (__u64)rq, bio = (__u64)BPF_CORE_READ(rq, bio);
	struct submission *slot = bio ? slot_of(bio) : NULL;
	__u64 now = bpf_ktime_get_ns();

	state.issue_ns = issue ? now : 0;
	if (slot && slot->bio == bio) {
		state.start_ns = slot->start_ns;
		state.tgid = slot->tgid;
		state.kernel = slot->kernel;
		slot->bio = 0;
	} else {
		if (slot && slot->bio)
			COUNT(counters.bios_lost);
		state.start_ns = now;
		state.tgid = bpf_get_current_pid_tgid() >> 32;
		state.kernel = is_kernel_thread();
	}
	known = bpf_map_lookup_elem(&requests, &key);
	if (known)
		*known = state;
	else if (bpf_map_update_elem(&requests, &key, &state, BPF_ANY))
		COUNT(counters.requests_lost);
}

static __always_inline void hand_over(struct request *rq)
{
	__u64 key = (__u64)rq;
	struct request_state *state = bpf_map_lookup_elem(&requests, &key);

	/* A request that is issued again after a requeue keeps its first hand-over. */
	if (!state || !state->start_ns)
		begin(rq, true);
	else if (!state->issue_ns)
		state->issue_ns = bpf_ktime_get_ns();
}

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u32 bucket = 0;

	ns = ns ? (ns - 1) >> IO_FIRST_EDGE : 0;
	for (int i = 0; i < IO_EDGES; i++) {
		if (!ns)
			break;
		ns >>= 1;
		bucket++;
	}
	return bucket;
}

static __always_inline void add_time(struct io_times *times, __u64 ns, bool first)
{
	__u64 difference = ns > times->last_ns ? ns - times->last_ns : times->last_ns - ns;

	times->sum_ns += ns;
	RAISE(times->max_ns, ns);
	if (!first)
		RAISE(times->jitter_ns, difference);
	times->last_ns = ns;
}

static __always_inline void charge(struct io_key *disk, struct request_state *state, __u64 took, __u32 bytes, int error)
{
	struct io_owner_key key = {
		.major = disk->major,
		.first_minor = disk->first_minor,
		.tgid = state->tgid,
		.kernel = state->kernel,
	};
	struct io_owner *owner = bpf_map_lookup_elem(&owners, &key), fresh = {};

	if (!owner) {
		bpf_map_update_elem(&owners, &key, &fresh, BPF_NOEXIST);
		owner = bpf_map_lookup_elem(&owners, &key);
		if (!owner) {
			COUNT(counters.owners_lost);
			return;
		}
	}
	if (disk->op == IO_READ) {
		ADD(owner->reads, 1);
		ADD(owner->read_bytes, bytes);
	} else {
		ADD(owner->writes, 1);
		ADD(owner->write_bytes, disk->op == IO_WRITE ? bytes : 0);
	}
	ADD(owner->sum_ns, took);
	RAISE(owner->max_ns, took);
	if (error)
		ADD(owner->errors, 1);
}

/* What a disk cannot do, or not at once, the kernel does another way: no fault. Nor is what a program's own command came to. */
static __always_inline bool is_fault(struct request *rq, int error)
{
	__u32 op = rq->cmd_flags & REQ_OP_MASK;

	if (!error || op == REQ_OP_DRV_IN || op == REQ_OP_DRV_OUT)
		return false;
	if (error < 0)
		return error != -EAGAIN && error != -EOPNOTSUPP && error != -EREMOTEIO;
	return error != BLK_STS_NOTSUPP && error != BLK_STS_TARGET && error != BLK_STS_AGAIN;
}

static __always_inline void complete(struct request *rq, int error, __u32 bytes)
{
	__u64 address = (__u64)rq, now, started, issued;
	struct request_state *state = bpf_map_lookup_elem(&requests, &address);
	struct gendisk *disk = disk_of(rq);
	struct io_key key = {};
	struct io_stats *io;
	int failed = is_fault(rq, error) ? error : 0;
	__u32 zero = 0;
	bool first;

	if (!disk)
		return;
	key.major = disk->major;
	key.first_minor = disk->first_minor;
	key.op = op_of(rq);
	key.generation = generation;
	io = bpf_map_lookup_elem(&stats, &key);
	if (!io) {
		struct io_stats *empty = bpf_map_lookup_elem(&empty_stats, &zero);

		if (empty)
			bpf_map_update_elem(&stats, &key, empty, BPF_NOEXIST);
		io = bpf_map_lookup_elem(&stats, &key);
		if (!io) {
			COUNT(counters.stats_lost);
			return;
		}
	}
	io->bytes += bytes;
	/* Only a part of the request: the rest completes later. */
	if (!error && bytes < rq->__data_len)
		return;
	/* The empty request that asks for a flush never reaches the driver: the flush made for it is counted. */
	if (key.op != IO_FLUSH || !state || state->issue_ns || error)
		io->requests++;
	if (failed) {
		io->errors++;
		io->last_error = failed < 0 ? -failed : failed;
	}
	if (!state || !state->start_ns)
		return;
	now = bpf_ktime_get_ns();
	started = state->start_ns;
	issued = state->issue_ns;
	state->start_ns = 0;
	if (issued && !error) {
		first = !io->timed;
		io->timed++;
		io->last_at = now;
		add_time(&io->total, now - started, first);
		add_time(&io->queue, issued - started, first);
		add_time(&io->device, now - issued, first);
		io->total_counts[bucket_of(now - started)]++;
		io->device_counts[bucket_of(now - issued)]++;
	}
	charge(&key, state, now - started, bytes, failed);
	/* There are more than there is room for: only those under way are kept. */
	if (counters.requests_lost)
		bpf_map_delete_elem(&requests, &address);
}

/* --- syncs of files --- */

struct super_block___io {
	struct block_device___io *s_bdev;
} __attribute__((preserve_access_index));

struct block_device___io {
	struct gendisk *bd_disk;
} __attribute__((preserve_access_index));

struct inode___io {
	struct super_block___io *i_sb;
} __attribute__((preserve_access_index));

static __always_inline void sync_starts(struct file *file)
{
	struct inode___io *inode = (void *)BPF_CORE_READ(file, f_inode);
	struct gendisk *disk = BPF_CORE_READ(inode, i_sb, s_bdev, bd_disk);
	__u32 tid = bpf_get_current_pid_tgid();
	struct io_sync sync = {};

	/* File systems in memory and over the network have no disk. */
	if (!disk)
		return;
	sync.start_ns = bpf_ktime_get_ns();
	sync.major = BPF_CORE_READ(disk, major);
	sync.first_minor = BPF_CORE_READ(disk, first_minor);
	/* The outermost call counts: a file system may sync the file below it. */
	if (bpf_map_update_elem(&syncs, &tid, &sync, BPF_NOEXIST) == -E2BIG)
		COUNT(counters.syncs_lost);
}

static __always_inline void sync_ends(void)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct io_sync *sync = bpf_map_lookup_elem(&syncs, &tid);
	struct io_key key = {};
	struct io_sync_stats *known, fresh = {};
	__u64 took;

	if (!sync)
		return;
	took = bpf_ktime_get_ns() - sync->start_ns;
	key.major = sync->major;
	key.first_minor = sync->first_minor;
	key.generation = generation;
	bpf_map_delete_elem(&syncs, &tid);
	known = bpf_map_lookup_elem(&sync_stats, &key);
	if (!known) {
		bpf_map_update_elem(&sync_stats, &key, &fresh, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&sync_stats, &key);
		if (!known) {
			COUNT(counters.syncs_lost);
			return;
		}
	}
	ADD(known->sum_ns, took);
	RAISE(known->max_ns, took);
	ADD(known->counts[bucket_of(took)], 1);
}

SEC("?fentry/vfs_fsync_range")
int BPF_PROG(sync_enter, struct file *file)
{
	sync_starts(file);
	return 0;
}

SEC("?fexit/vfs_fsync_range")
int BPF_PROG(sync_exit)
{
	sync_ends();
	return 0;
}

/* The system calls, for where the compiler put vfs_fsync_range() into their functions (6.1). */
SEC("?fentry/" SYSCALL_FUNCTION(fsync))
int BPF_PROG(fsync_call_enter, struct pt_regs *registers)
{
	sync_starts(file_of_call(registers));
	return 0;
}

SEC("?fexit/" SYSCALL_FUNCTION(fsync))
int BPF_PROG(fsync_call_exit)
{
	sync_ends();
	return 0;
}

SEC("?fentry/" SYSCALL_FUNCTION(fdatasync))
int BPF_PROG(fdatasync_call_enter, struct pt_regs *registers)
{
	sync_starts(file_of_call(registers));
	return 0;
}

SEC("?fexit/" SYSCALL_FUNCTION(fdatasync))
int BPF_PROG(fdatasync_call_exit)
{
	sync_ends();
	return 0;
}

SEC("?tp_btf/ext4_sync_file_enter")
int BPF_PROG(ext4_sync_enter, struct file *file)
{
	sync_starts(file);
	return 0;
}

SEC("?tp_btf/ext4_sync_file_exit")
int BPF_PROG(ext4_sync_exit)
{
	sync_ends();
	return 0;
}

/* --- start --- */

SEC("?tp_btf/block_bio_queue")
int io_submit(__u64 *args)
{
	__u64 bio;

	/* Read like any memory, for the verifier lets nobody calculate with a pointer. */
	if (!bpf_probe_read_kernel(&bio, sizeof(bio), config.queue_first ? args + 1 : args))
		submit(bio);
	return 0;
}

SEC("?tp_btf/block_io_start")
int BPF_PROG(io_start, struct request *rq)
{
	begin(rq, false);
	return 0;
}

SEC("?tp_btf/block_rq_insert")
int io_insert(__u64 *args)
{
	begin((struct request *)(config.queue_first ? args[1] : args[0]), false);
	return 0;
}

/* --- hand-over --- */

SEC("?tp_btf/block_rq_issue")
int io_issue(__u64 *args)
{
	if (config.queue_first)
		hand_over((struct request *)args[1]);
	else
		hand_over((struct request *)args[0]);
	return 0;
}

/* --- completion --- */

SEC("?tp_btf/block_rq_complete")
int BPF_PROG(io_complete, struct request *rq, int error, unsigned int bytes)
{
	complete(rq, error, bytes);
	return 0;
}
