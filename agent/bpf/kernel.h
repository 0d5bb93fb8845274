/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel's types as our programs need them: only the structures and fields we read, relocated at load (CO-RE), so
 * that one object runs on every kernel with BTF. Written by hand instead of generated: a generated header is 3 MB, of
 * one kernel and one architecture.
 *
 * Fields that were renamed or moved between kernels are read through compat.h, never directly.
 */
#ifndef GALA_KERNEL_H
#define GALA_KERNEL_H

/* bpf_tracing.h takes the kernel's register names, not those of the user-space headers. */
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __s8 s8;
typedef __u16 u16;
typedef __s16 s16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef _Bool bool;
typedef int pid_t;
typedef unsigned int uid_t;
typedef long __kernel_long_t;
typedef unsigned long size_t;
typedef long ssize_t;

enum { false = 0, true = 1 };

#define NULL ((void *)0)

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
	BPF_MAP_TYPE_CGRP_STORAGE = 32,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_F_CLONE = 512,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
	BPF_F_CURRENT_CPU = 0xffffffffULL,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* --- registers at a kprobe or uprobe --- */

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};
struct pt_regs {
	struct user_pt_regs user_regs;
};
#endif

/* --- small pieces --- */

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	s64 counter;
} atomic64_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

typedef struct {
	u32 val;
} kuid_t;

struct list_head {
	struct list_head *next, *prev;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

/* --- tasks --- */

struct kernfs_node {
	u64 id;
	const char *name;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup *dfl_cgrp;
	struct cgroup_subsys_state *subsys[14];
};

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct pid_namespace {
	unsigned int level;
	struct ns_common ns;
};

struct nsproxy {
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
};

struct files_struct;

struct mm_struct {
	unsigned long total_vm;
};

struct thread_info {
	unsigned long flags;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int prio;
	int exit_state;
	int exit_code;
	unsigned int in_iowait : 1;
	pid_t pid;
	pid_t tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	u64 utime;
	u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	u64 start_time;
	u64 start_boottime;
	unsigned long min_flt;
	unsigned long maj_flt;
	char comm[16];
	struct mm_struct *mm;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
};

/* `state` until 5.13, `__state` since 5.14 (2f064a59a11f). */
struct task_struct___state_old {
	volatile long state;
};

struct task_struct___state_new {
	unsigned int __state;
};

/* --- sockets --- */

struct net {
	struct ns_common ns;
	u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct proto;

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct proto *skc_prot;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	union {
		struct sock *skc_listener;
	};
};

struct sk_buff;

struct sk_buff_head {
	struct sk_buff *next;
	struct sk_buff *prev;
	__u32 qlen;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct sock {
	struct sock_common __sk_common;
	atomic_t sk_drops;
	struct sk_buff_head sk_receive_queue;
	struct {
		atomic_t rmem_alloc;
		int len;
	} sk_backlog;
	int sk_rcvbuf;
	int sk_sndbuf;
	int sk_err;
	int sk_err_soft;
	struct socket *sk_socket;
	int sk_forward_alloc;
	atomic_t sk_omem_alloc;
	int sk_wmem_queued;
	refcount_t sk_wmem_alloc;
	struct sk_buff_head sk_write_queue;
	struct sk_buff_head sk_error_queue;
	unsigned long sk_pacing_rate;
	unsigned long sk_max_pacing_rate;
	u16 sk_protocol;
	u16 sk_type;
	u8 sk_shutdown;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
};

struct request_sock {
	struct sock_common __req_common;
	u8 num_retrans;
	u8 num_timeout;
	struct sock *sk;
};

struct fastopen_queue {
	int qlen;
};

struct request_sock_queue {
	atomic_t qlen;
	atomic_t young;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
	__u32 icsk_rto;
	__u8 icsk_ca_state : 5;
	__u8 icsk_retransmits;
	__u8 icsk_pending;
	__u8 icsk_backoff;
	struct {
		__u32 ato : 8;
	} icsk_ack;
};

/* `ato` shares its word with a flow label on newer kernels. */
struct inet_connection_sock___ato_plain {
	struct {
		__u32 ato;
	} icsk_ack;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 segs_in;
	u32 segs_out;
	u32 data_segs_in;
	u32 data_segs_out;
	u64 bytes_received;
	u64 bytes_acked;
	u64 bytes_sent;
	u64 bytes_retrans;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_nxt;
	u32 snd_una;
	u32 snd_wnd;
	u32 rcv_wnd;
	u32 write_seq;
	u32 mss_cache;
	u32 srtt_us;
	u32 rttvar_us;
	u32 packets_out;
	u32 retrans_out;
	u32 lost_out;
	u32 sacked_out;
	u32 total_retrans;
	u32 lost;
	u32 reordering;
	u32 reord_seen;
	u32 rcv_ooopack;
	u32 snd_cwnd;
	u32 snd_ssthresh;
	u32 rcv_ssthresh;
	u16 advmss;
	u32 dsack_dups;
	u32 delivered;
	u32 rate_delivered;
	u32 rate_interval_us;
	u8 chrono_type;
	u32 chrono_start;
	u32 chrono_stat[3];
	struct minmax {
		struct minmax_sample {
			u32 t;
			u32 v;
		} s[3];
	} rtt_min;
	struct {
		u32 rtt_us;
	} rcv_rtt_est;
	struct {
		int space;
	} rcvq_space;
	u64 tcp_mstamp;
	u64 tcp_clock_cache;
};

struct sk_buff {
	struct sk_buff *next;
	struct sk_buff *prev;
	struct sock *sk;
	s64 tstamp;
	char cb[48];
	unsigned int len;
	unsigned int data_len;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned int tail;
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
};

/* What TCP notes in `sk_buff.cb` of a packet on its way in. */
struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	__u16 tcp_flags;
	__u32 ack_seq;
};

/* Its numbers changed more than once: ask for those of the running kernel. */
enum iter_type {
	ITER_UBUF = 0,
	ITER_IOVEC = 1,
};

struct iovec {
	void *iov_base;
	size_t iov_len;
};

struct iov_iter {
	u8 iter_type;
	size_t iov_offset;
	union {
		struct {
			union {
				const struct iovec *__iov;
				void *ubuf;
			};
			size_t count;
		};
	};
};

/* `iov` until 6.3 (de4f5fed3f23). */
struct iov_iter___iov {
	const struct iovec *iov;
};

/* With the direction in the lowest bit, until 5.13 (8cd54c1c8480). */
struct iov_iter___type {
	unsigned int type;
};

struct msghdr {
	struct iov_iter msg_iter;
};

struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

/* --- block devices --- */

struct gendisk {
	int major;
	int first_minor;
};

struct block_device {
	u32 bd_dev;
};

struct bio {
	struct block_device *bi_bdev;
	unsigned int bi_opf;
};

struct request_queue {
	struct gendisk *disk;
};

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
	u64 __sector;
	struct bio *bio;
	u64 start_time_ns;
	u64 io_start_time_ns;
};

/* `rq_disk` until 5.16, reached through `q->disk` since 5.17 (f3fa33acca9f). */
struct request___rq_disk {
	struct gendisk *rq_disk;
};

/* --- iterators --- */

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct bpf_map;

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

/* --- classic tracepoints --- */

struct trace_entry {
	unsigned short type;
	unsigned char flags;
	unsigned char preempt_count;
	int pid;
};

struct trace_event_raw_sys_enter {
	struct trace_entry ent;
	long id;
	unsigned long args[6];
};

struct trace_event_raw_sys_exit {
	struct trace_entry ent;
	long id;
	long ret;
};

#pragma clang attribute pop

#endif
