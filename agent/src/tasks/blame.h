/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who ran while a thread waited for a CPU. */
#ifndef GALA_BLAME_H
#define GALA_BLAME_H

#include "kernel.h"
#include "kernel_tasks.h"
#include "maps.h"
#include "tasks.h"
#include "watch.h"
#include <bpf/bpf_helpers.h>

/* Who ran on a CPU while others waited for it: slices after which it fell idle kept nobody waiting. */
#define SLICES 16

struct slice {
	__u64 from;
	__u64 until;
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

/*
 * Adds a slice to who ran while the thread waited. When all places are taken the shortest gives way; what it had stays in the
 * newcomer's sum as its unsure part, so that one who runs often and shortly rises above those who run once (Metwally, Agrawal,
 * El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005).
 */
static __noinline int charge(struct watched *watch, struct slice *slice, __u64 ns)
{
	struct culprit *culprit;
	__u64 least_ns = ~0ULL;
	__u32 least = 0;

	if (!watch || !slice)
		return 0;
	for (__u32 i = 0; i < CULPRITS; i++) {
		culprit = &watch->culprits[i];
		if (culprit->tgid == slice->tgid) {
			culprit->ns += ns;
			culprit->count++;
			culprit->cpu = bpf_get_smp_processor_id();
			RAISE(culprit->max_ns, ns);
			return 0;
		}
		if (culprit->ns < least_ns) {
			least_ns = culprit->ns;
			least = i;
		}
	}
	if (least >= CULPRITS)
		return 0;
	culprit = &watch->culprits[least];
	culprit->unsure_ns = culprit->ns;
	culprit->ns += ns;
	culprit->max_ns = ns;
	culprit->tgid = slice->tgid;
	culprit->count = 1;
	culprit->cpu = bpf_get_smp_processor_id();
	culprit->kernel = slice->kernel;
	__builtin_memcpy(culprit->comm, slice->comm, sizeof(culprit->comm));
	return 0;
}

/* Goes back through the CPU's slices until the wait is covered and charges each to who ran in it. */
static __noinline int blame(struct watched *watch, __u64 wait, __u64 now)
{
	__u64 since = now - wait, begin;
	struct slices *recent;
	struct slice *slice;
	__u32 zero = 0;

	recent = bpf_map_lookup_elem(&slices, &zero);
	if (!recent || !watch)
		return 0;
	for (__u32 back = 1; back <= SLICES; back++) {
		slice = &recent->ring[(recent->next - back) % SLICES];
		if (slice->until <= since)
			break;
		begin = slice->from > since ? slice->from : since;
		if (slice->until > begin)
			charge(watch, slice, slice->until - begin);
	}
	return 0;
}

static __always_inline void note_slice(struct task_struct *prev, __u64 from, __u64 until)
{
	__u32 zero = 0;
	struct slices *recent = bpf_map_lookup_elem(&slices, &zero);
	struct slice *slice;

	if (!recent)
		return;
	slice = &recent->ring[recent->next++ % SLICES];
	slice->from = from;
	slice->until = until;
	slice->tgid = prev->tgid;
	slice->kernel = !is_user(prev);
	__builtin_memcpy(slice->comm, prev->comm, sizeof(slice->comm));
}

#endif
