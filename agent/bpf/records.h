/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Records at sockets, and the walks that find them.
 *
 * One source, two objects. Since 5.11 tracing programs may keep a record at a socket (socket storage), and fields of typed
 * arguments are read like memory. For older kernels, and for kprobes, whose arguments are plain numbers, a source is compiled
 * once more with BY_ADDRESS: records lie in a hash by the socket's address until it is destroyed, an accepted connection
 * finds its listener by the port, and fields are read by probe reads. The programs are the same, but the walk sees the
 * sockets of the agent's own network namespace only.
 */
#ifndef GALA_RECORDS_H
#define GALA_RECORDS_H

#include "kernel.h"
#include "maps.h"
#include "sock.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct port_key {
	__u32 net;
	__u32 port;
};

/* Address of the listener of a port: of one of them where several share it. */
struct listeners {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct port_key);
	__type(value, __u64);
};

static __always_inline struct port_key port_of(const struct sock *sk)
{
	struct port_key key = { .net = net_namespace(sk), .port = GET(sk, __sk_common.skc_num) };

	return key;
}

static __always_inline void note_listener(void *listeners, const struct sock *sk)
{
	struct port_key port = port_of(sk);
	__u64 address = (__u64)sk;

	bpf_map_update_elem(listeners, &port, &address, BPF_ANY);
}

/*
 * Whose a listener is. The process that called listen() may end while others go on with the socket (a daemon opens it and
 * then leaves the work to a child): a listener whose owner was not met in two walks over all descriptors running is that of
 * the one met with it. `held` is the number of the walk that met its owner last, `walk` that of the one going on.
 */
static __always_inline bool is_orphaned(__u32 tgid, __u32 *held, __u32 walk, const struct task_struct *met)
{
	if (tgid != (__u32)met->tgid && *held + 1 >= walk)
		return false;
	*held = walk;
	return tgid != (__u32)met->tgid;
}

#ifndef BY_ADDRESS

/* Declares `name`, which holds a `struct record` at each socket. */
#define SOCKET_RECORDS(name, record, flags)                     \
	struct {                                                \
		__uint(type, BPF_MAP_TYPE_SK_STORAGE);          \
		__uint(map_flags, BPF_F_NO_PREALLOC | (flags)); \
		__type(key, int);                               \
		__type(value, struct record);                   \
	} name SEC(".maps")

#define RECORD_OF(name, sk) bpf_sk_storage_get(&name, (void *)(sk), 0, 0)
#define MAKE_RECORD(name, sk) bpf_sk_storage_get(&name, (void *)(sk), 0, BPF_SK_STORAGE_GET_F_CREATE)

/* An accepted connection has a clone of its listener's record: nobody asks for the port. */
#define LISTENER_BORN(listeners, sk)

/* NULL for what is no full TCP socket. */
static __always_inline struct tcp_sock *tcp_sock_of(const struct sock *sk)
{
	return bpf_skc_to_tcp_sock((void *)sk);
}

static __always_inline struct sock *socket_of_file(struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);

	return socket ? socket->sk : NULL;
}

/* The record in the context will not do: before 6.2 it may not serve as a key. */
#define WALK "?iter/bpf_sk_storage_map"
#define WALK_CONTEXT struct bpf_iter__bpf_sk_storage_map
#define WALKED_SOCKET(context) ((context)->sk)

#else

#define SOCKET_RECORDS(name, record, flags)            \
	static const struct record empty_##name;       \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_HASH);       \
		__uint(map_flags, BPF_F_NO_PREALLOC);  \
		__uint(max_entries, 16384);            \
		__type(key, __u64);                    \
		__type(value, struct record);          \
	} name SEC(".maps")

#define RECORD_OF(name, sk) record_by_address(&name, sk)
#define MAKE_RECORD(name, sk) new_record_by_address(&name, sk, &empty_##name)

static __always_inline void *record_by_address(void *records, const struct sock *sk)
{
	__u64 address = (__u64)sk;

	return bpf_map_lookup_elem(records, &address);
}

static __always_inline void *new_record_by_address(void *records, const struct sock *sk, const void *empty)
{
	__u64 address = (__u64)sk;

	bpf_map_update_elem(records, &address, empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(records, &address);
}

#define LISTENER_BORN(listeners, sk) note_listener(&listeners, sk)

/* The record of the listener whose port a connection has. */
static __always_inline void *listeners_record(void *listeners, void *records, const struct sock *sk)
{
	struct port_key port = port_of(sk);
	__u64 *address = bpf_map_lookup_elem(listeners, &port);

	return address ? bpf_map_lookup_elem(records, address) : NULL;
}

/* The socket goes, and its address may soon be another's. */
static __always_inline void forget_record(void *records, const struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(records, &address);
}

static __always_inline void forget_listener(void *listeners, const struct sock *sk)
{
	struct port_key port = port_of(sk);
	__u64 *address = bpf_map_lookup_elem(listeners, &port);

	if (address && *address == (__u64)sk)
		bpf_map_delete_elem(listeners, &port);
}

static __always_inline struct tcp_sock *tcp_sock_of(const struct sock *sk)
{
	__u8 state = GET(sk, __sk_common.skc_state);

	return state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV ? NULL : (struct tcp_sock *)sk;
}

#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* bpf_sock_from_file() came with 5.11. */
static __always_inline struct sock *socket_of_file(struct file *file)
{
	struct socket *socket;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return socket && BPF_CORE_READ(socket, file) == file ? BPF_CORE_READ(socket, sk) : NULL;
}

#define WALK "?iter/tcp"
#define WALK_CONTEXT struct bpf_iter__tcp
#define WALKED_SOCKET(context) ((struct sock *)(context)->sk_common)

#endif

/* The TCP socket behind a descriptor as a walk over them meets it, NULL when there is none. */
static __always_inline struct sock *tcp_socket_of(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct sock *sk;

	if (!task || !file)
		return NULL;
	sk = socket_of_file(file);
	return sk && is_tcp(sk) ? sk : NULL;
}

#endif
