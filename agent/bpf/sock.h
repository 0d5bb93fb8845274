/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sockets: states, fields, addresses as user space names them, and the process behind a system call. */
#ifndef GALA_SOCK_H
#define GALA_SOCK_H

#include "kernel.h"
#include "kernel_sockets.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define RCV_SHUTDOWN 1
#define ECONNREFUSED 111
#define ETIMEDOUT 110
#define EHOSTUNREACH 113
#define ENETUNREACH 101

/* A field of a socket. An object built BY_ADDRESS (records.h) takes any address for one and reads it by a probe read. */
#ifdef BY_ADDRESS
#define GET(object, field) BPF_CORE_READ(object, field)
#else
#define GET(object, field) ((object)->field)
#endif

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
	/* Not a full socket, as those in TIME_WAIT. */
	TCP_NEW_SYN_RECV = 12,
};

/* Both ends of a connection as this socket sees them. IPv4-mapped IPv6 addresses are IPv4. */
struct endpoints {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
};

static __always_inline bool is_tcp(const struct sock *sk)
{
	__u16 family = GET(sk, __sk_common.skc_family);

	return GET(sk, sk_protocol) == IPPROTO_TCP && (family == AF_INET || family == AF_INET6);
}

static __always_inline bool is_v4_mapped(const struct in6_addr *address)
{
	return address->in6_u.u6_addr32[0] == 0 && address->in6_u.u6_addr32[1] == 0 &&
	       address->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

/* A closed socket has lost its port number; `inet_sport` keeps it. */
static __always_inline void read_endpoints(const struct sock *sk, struct endpoints *out)
{
	const struct inet_sock *inet = (const struct inet_sock *)sk;
	__u32 *local = (__u32 *)out->local;
	__u32 *remote = (__u32 *)out->remote;

	__builtin_memset(out, 0, sizeof(*out));
	out->local_port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	out->remote_port = bpf_ntohs(GET(sk, __sk_common.skc_dport));
	out->family = GET(sk, __sk_common.skc_family);
	if (out->family == AF_INET6) {
		struct in6_addr here, there;

		BPF_CORE_READ_INTO(&here, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&there, sk, __sk_common.skc_v6_daddr);
		if (!is_v4_mapped(&there) && !is_v4_mapped(&here)) {
			__builtin_memcpy(out->local, &here, 16);
			__builtin_memcpy(out->remote, &there, 16);
			return;
		}
		out->family = AF_INET;
	}
	local[0] = GET(sk, __sk_common.skc_rcv_saddr);
	remote[0] = GET(sk, __sk_common.skc_daddr);
}

static __always_inline __u32 net_namespace(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* Process (not thread) name of a task. */
static __always_inline void process_comm(struct task_struct *task, char comm[16])
{
	BPF_CORE_READ_STR_INTO((char(*)[16])comm, task, group_leader, comm);
}

static __always_inline void current_comm(char comm[16])
{
	process_comm((struct task_struct *)bpf_get_current_task(), comm);
}

#endif
