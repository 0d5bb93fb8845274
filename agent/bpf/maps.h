/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Small helpers around maps and counters that every probe uses. */
#ifndef GALA_MAPS_H
#define GALA_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* What could not be kept, counted in the object's own .bss; user space turns it into ledger lines. */
#define COUNT(counter) __sync_fetch_and_add(&(counter), 1)

#define ADD(field, value) __sync_fetch_and_add(&(field), (value))

/* Not atomic: a maximum lost to a race on another CPU is the smaller of two values seen in the same nanoseconds. */
#define RAISE(field, value)                \
	do {                               \
		if ((field) < (value))     \
			(field) = (value); \
	} while (0)

#endif
