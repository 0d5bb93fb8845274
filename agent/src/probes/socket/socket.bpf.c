/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Opening TCP connections, both sides: how many, how many failed and why, how long it took, what listeners turned away.
 *
 * Idea. A record at each listener and at each socket that connects (socket storage) says whose it is and under which row
 * it counts; an accepted connection carries a clone of its listener's. The kernel counts a listener's drops itself.
 *
 * Hooks
 *   inet_sock_set_state      connect, listen, established, failed: 0.2-0.6 us each.
 *   tcp_retransmit_synack    one more SYN/ACK of a listener.
 *   kfree_skb                SYNs dropped for want of a neighbour; any other drop is left after a comparison of its reason.
 *                            Before 5.17: arp_error_report() and ndisc_error_report().
 *   iter/bpf_sk_storage_map  once a period: queue, limit and drops of each listener. Where the kernel forbids it, iter/task_file
 *                            runs each period, and iter/tcp, up to the first connection, if there are sockets that no descriptor
 *                            holds (see tcp.bpf.c).
 *   iter/task_file           listeners older than this program, at start, and those whose process ended and left them.
 *
 * Maps. `owners`: 100 bytes a listener or TCP connection. `endpoints`: 190 bytes a row, 5120 rows, emptied each period.
 *
 * Requests are no sockets and no hook tells of their end. But each one whose SYN/ACK was repeated is seen then, and again
 * when it becomes a connection, and the listener counts those that wait: the balance is what was given up.
 *
 * Blind spots. A request that ends before its first repeat (a reset, within a second) counts neither as given up nor among
 * the SYN/ACKs; so do those of a listener that closes.
 */
#include "kernel.h"
#include "maps.h"
#include "records.h"
#include "socket.h"
#include "sock.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile struct socket_config config SEC(".rodata.config") = {};

struct owner {
	struct endpoint_key key;
	char comm[16];
	__u64 syn_at;
	__u32 drops;
	/* Of a listener: see is_orphaned(). */
	__u32 held;
	/* The walk over descriptors that looked at it last: several processes may hold it. */
	__u32 looked_at;
	__u8 listener;
};

SOCKET_RECORDS(owners, owner, BPF_F_CLONE);

#ifdef BY_ADDRESS
struct listeners listening SEC(".maps");
#endif

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 5120);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
	/* Rows that did not fit. */
	__u64 endpoints_lost;
	/* Sockets whose record could not be made. */
	__u64 owners_lost;
} counters SEC(".bss.counters");

static __always_inline struct endpoint *endpoint_of(struct owner *owner)
{
	struct endpoint *found = bpf_map_lookup_elem(&endpoints, &owner->key);
	struct endpoint fresh = {};

	if (found)
		return found;
	__builtin_memcpy(fresh.comm, owner->comm, sizeof(fresh.comm));
	bpf_map_update_elem(&endpoints, &owner->key, &fresh, BPF_NOEXIST);
	found = bpf_map_lookup_elem(&endpoints, &owner->key);
	if (!found)
		COUNT(counters.endpoints_lost);
	return found;
}

static __always_inline void note_latency(struct endpoint *endpoint, __u64 ns)
{
	__u32 bucket = 0;

	for (int i = 0; i < SOCKET_EDGES; i++)
		bucket += ns > config.edges[i];
	if (bucket < SOCKET_BUCKETS)
		ADD(endpoint->latency[bucket], 1);
	ADD(endpoint->latency_sum, ns);
	RAISE(endpoint->latency_max, ns);
}

static __always_inline struct owner *make_owner(const struct sock *sk)
{
	struct owner *owner = MAKE_RECORD(owners, sk);

	if (!owner) {
		COUNT(counters.owners_lost);
		return NULL;
	}
	__builtin_memset(owner, 0, sizeof(*owner));
	owner->key.net = net_namespace(sk);
	return owner;
}

/* What the walk over all descriptors is told. */
volatile struct {
	/* Its number. */
	__u32 walk;
	/* Listeners are looked at as they are met: no other walk meets those of other network namespaces. */
	__u32 look;
} phase SEC(".bss.phase");

static __always_inline void describe_listener(const struct sock *sk, struct owner *owner)
{
	struct endpoints ends;

	read_endpoints(sk, &ends);
	owner->listener = 1;
	owner->held = phase.walk;
	owner->drops = GET(sk, sk_drops.counter);
	owner->key.role = ENDPOINT_SERVER;
	owner->key.family = ends.family;
	owner->key.server_port = GET(sk, __sk_common.skc_num);
	__builtin_memcpy(owner->key.server, ends.local, 16);
}

static __always_inline void own_by_current(struct owner *owner)
{
	owner->key.tgid = bpf_get_current_pid_tgid() >> 32;
	current_comm(owner->comm);
}

static __always_inline void own_by_task(struct owner *owner, struct task_struct *task)
{
	owner->key.tgid = task->tgid;
	process_comm(task, owner->comm);
}

static __always_inline void connecting(const struct sock *sk)
{
	struct owner *owner = make_owner(sk);
	struct endpoints ends;

	if (!owner)
		return;
	own_by_current(owner);
	read_endpoints(sk, &ends);
	owner->syn_at = bpf_ktime_get_ns();
	owner->key.role = ENDPOINT_CLIENT;
	owner->key.family = ends.family;
	owner->key.server_port = ends.remote_port;
	__builtin_memcpy(owner->key.client, ends.local, 16);
	__builtin_memcpy(owner->key.server, ends.remote, 16);
}

/* Whose an opening connection is: it carries a clone of its listener's record, or has one of its own. */
static __always_inline struct owner *owner_of(const struct sock *sk, int old)
{
	struct owner *owner = RECORD_OF(owners, sk);

#ifdef BY_ADDRESS
	if (!owner && old == TCP_SYN_RECV)
		owner = listeners_record(&listening, &owners, sk);
#endif
	return owner && owner->key.role != ENDPOINT_NONE ? owner : NULL;
}

/* Counted; nothing of it is wanted again. */
static __always_inline void disown(const struct sock *sk)
{
	struct owner *owner = RECORD_OF(owners, sk);

	if (!owner)
		return;
	owner->listener = 0;
	owner->key.role = ENDPOINT_NONE;
}

/* A handshake is over, this way or that. */
static __always_inline void opened(const struct sock *sk, int old, bool well)
{
	struct owner *owner = owner_of(sk, old);
	struct tcp_sock *tp = tcp_sock_of(sk);
	struct endpoint *endpoint;
	int error;
	__u32 srtt;

	if (!owner || !tp)
		return;
	endpoint = endpoint_of(owner);
	disown(sk);
	if (!endpoint)
		return;
	if (old == TCP_SYN_RECV) {
		/* The connection takes over how often its SYN/ACK was sent again. */
		if (GET(tp, total_retrans))
			ADD(endpoint->repeated_opened, 1);
		else
			ADD(endpoint->synacks, 1);
	}
	error = GET(sk, sk_err);
	if (well)
		ADD(endpoint->opened, 1);
	else
		ADD(endpoint->failed, 1);
	if (old == TCP_SYN_SENT) {
		ADD(endpoint->retransmitted, GET(tp, total_retrans));
		if (well)
			note_latency(endpoint, bpf_ktime_get_ns() - owner->syn_at);
		else if (error == ECONNREFUSED)
			ADD(endpoint->refused, 1);
		else if (error == ETIMEDOUT)
			ADD(endpoint->timed_out, 1);
	} else if (well) {
		/* SYN/ACK to ACK: the first sample of the round trip, kept eight times as large. */
		srtt = GET(tp, srtt_us);
		if (srtt)
			note_latency(endpoint, (srtt >> 3) * 1000ULL);
	}
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, const struct sock *sk, int old, int new)
{
	struct owner *owner;

	if (!is_tcp(sk))
		return 0;
	if (new == TCP_SYN_SENT) {
		connecting(sk);
	} else if (new == TCP_LISTEN) {
		owner = make_owner(sk);
		if (owner) {
			own_by_current(owner);
			describe_listener(sk, owner);
			LISTENER_BORN(listening, sk);
		}
	} else if (old == TCP_SYN_SENT || old == TCP_SYN_RECV) {
		if (new == TCP_ESTABLISHED || new == TCP_CLOSE)
			opened(sk, old, new == TCP_ESTABLISHED);
	}
	return 0;
}

#ifdef BY_ADDRESS
SEC("?tp_btf/tcp_destroy_sock")
int BPF_PROG(socket_gone, const struct sock *sk)
{
	forget_listener(&listening, sk);
	forget_record(&owners, sk);
	return 0;
}
#endif

SEC("?tp_btf/tcp_retransmit_synack")
int BPF_PROG(socket_synack, const struct sock *sk, const struct request_sock *req)
{
	struct owner *owner = RECORD_OF(owners, sk);
	struct endpoint *endpoint;

	if (!owner || !owner->listener)
		return 0;
	endpoint = endpoint_of(owner);
	if (!endpoint)
		return 0;
	ADD(endpoint->retransmitted, 1);
	ADD(endpoint->synacks, 1);
	if (GET(req, num_retrans) == 0) {
		ADD(endpoint->synacks, 1);
		ADD(endpoint->repeated, 1);
	}
	return 0;
}

static __always_inline bool found_no_neighbour(int reason)
{
	return (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_NEIGH_FAILED) &&
		reason == (int)bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NEIGH_FAILED)) ||
	       (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_NEIGH_QUEUEFULL) &&
		reason == (int)bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NEIGH_QUEUEFULL));
}

/* A packet goes no further than here, for nobody answered for its next hop. */
static __always_inline void unreachable(struct sk_buff *skb)
{
	struct sock *sk = GET(skb, sk);
	struct endpoint *endpoint;
	struct owner *owner;

	if (!sk || GET(sk, __sk_common.skc_state) != TCP_SYN_SENT || !is_tcp(sk))
		return;
	owner = RECORD_OF(owners, sk);
	if (!owner || owner->key.role != ENDPOINT_CLIENT)
		return;
	endpoint = endpoint_of(owner);
	if (endpoint)
		ADD(endpoint->unreachable, 1);
}

SEC("?tp_btf/kfree_skb")
int BPF_PROG(socket_dropped, struct sk_buff *skb, void *location, int reason)
{
	if (found_no_neighbour(reason))
		unreachable(skb);
	return 0;
}

/* Before 5.17 a drop tells no reason; what is told of each packet of a neighbour that does not answer is as good. */
SEC("?fentry/arp_error_report")
int BPF_PROG(socket_arp_failed, struct neighbour *neighbour, struct sk_buff *skb)
{
	unreachable(skb);
	return 0;
}

SEC("?fentry/ndisc_error_report")
int BPF_PROG(socket_ndisc_failed, struct neighbour *neighbour, struct sk_buff *skb)
{
	unreachable(skb);
	return 0;
}

#ifdef BY_ADDRESS
SEC("?kprobe/arp_error_report")
int BPF_KPROBE(socket_arp_fails, struct neighbour *neighbour, struct sk_buff *skb)
{
	unreachable(skb);
	return 0;
}

SEC("?kprobe/ndisc_error_report")
int BPF_KPROBE(socket_ndisc_fails, struct neighbour *neighbour, struct sk_buff *skb)
{
	unreachable(skb);
	return 0;
}
#endif

static __always_inline int walk(const struct sock *sk)
{
	struct inet_connection_sock *icsk;
	struct endpoint *endpoint;
	struct owner *owner;
	__u32 drops, requests, young;

	if (!sk || GET(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	owner = RECORD_OF(owners, sk);
	if (!owner || !owner->listener)
		return 0;
	endpoint = endpoint_of(owner);
	if (!endpoint)
		return 0;
	drops = GET(sk, sk_drops.counter);
	ADD(endpoint->drops, drops - owner->drops);
	owner->drops = drops;
	/* Several sockets may share the port (SO_REUSEPORT): their queues add up. */
	ADD(endpoint->queue, GET(sk, sk_ack_backlog));
	ADD(endpoint->queue_limit, GET(sk, sk_max_ack_backlog));
	icsk = (struct inet_connection_sock *)sk;
	requests = BPF_CORE_READ(icsk, icsk_accept_queue.qlen.counter);
	young = BPF_CORE_READ(icsk, icsk_accept_queue.young.counter);
	ADD(endpoint->requests, requests);
	if (requests > young)
		ADD(endpoint->repeated_waiting, requests - young);
	return 0;
}

/* Several processes may hold it, and two walks meet it. */
static __always_inline void look_once(const struct sock *sk, struct owner *owner)
{
	if (owner->looked_at == phase.walk)
		return;
	owner->looked_at = phase.walk;
	walk(sk);
}

SEC(WALK)
int socket_walk(WALK_CONTEXT *ctx)
{
	return walk(WALKED_SOCKET(ctx));
}

#ifndef BY_ADDRESS
static const char end_of_listeners = '.';

/* Where the kernel keeps programs from walking over maps: what no descriptor holds. Listeners come first, and what is printed
 * ends the walk: the many places for connections are left out. */
SEC("?iter/tcp")
int socket_walk_own(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	const struct sock *sk = common ? (const struct sock *)bpf_skc_to_tcp_sock(common) : NULL;
	struct owner *owner = sk ? RECORD_OF(owners, sk) : NULL;

	if (sk && GET(sk, __sk_common.skc_state) != TCP_LISTEN)
		bpf_seq_write(ctx->meta->seq, &end_of_listeners, sizeof(end_of_listeners));
	else if (owner)
		look_once(sk, owner);
	return 0;
}
#endif

SEC("?iter/task_file")
int socket_files(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = tcp_socket_of(ctx);
	struct task_struct *task = ctx->task;
	struct owner *owner;

	if (!sk || !task || GET(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	owner = RECORD_OF(owners, sk);
	if (owner) {
		if (!owner->listener)
			return 0;
		if (is_orphaned(owner->key.tgid, &owner->held, phase.walk, task))
			own_by_task(owner, task);
		if (phase.look)
			look_once(sk, owner);
		return 0;
	}
	owner = make_owner(sk);
	if (!owner)
		return 0;
	own_by_task(owner, task);
	describe_listener(sk, owner);
	LISTENER_BORN(listening, sk);
	return 0;
}
