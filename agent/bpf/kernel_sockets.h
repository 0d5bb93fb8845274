/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The kernel's types of sockets and packets, as kernel.h has those of the rest. */
#ifndef GALA_KERNEL_SOCKETS_H
#define GALA_KERNEL_SOCKETS_H

#include "kernel.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net {
	struct ns_common ns;
	u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct proto;
struct neighbour;

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
	u32 rcv_wup;
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

/* Since 5.17; the values differ between kernels. */
enum skb_drop_reason {
	SKB_DROP_REASON_NEIGH_FAILED = 58,
	SKB_DROP_REASON_NEIGH_QUEUEFULL = 59,
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

#pragma clang attribute pop

#endif
