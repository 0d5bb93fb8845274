/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The kernel's functions of single system calls, which are called through a table and so never inlined. */
#ifndef GALA_SYSCALL_H
#define GALA_SYSCALL_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Name of the function of a system call; its one argument are the caller's registers. */
#if defined(__TARGET_ARCH_x86)
#define SYSCALL_FUNCTION(name) "__x64_sys_" #name
#elif defined(__TARGET_ARCH_arm64)
#define SYSCALL_FUNCTION(name) "__arm64_sys_" #name
#endif

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} __attribute__((preserve_access_index));

struct files_struct___table {
	struct fdtable *fdt;
} __attribute__((preserve_access_index));

/* The open file that the first argument of the system call names; NULL when it names none. */
static __always_inline struct file *file_of_call(struct pt_regs *registers)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct files_struct___table *files = (void *)BPF_CORE_READ(task, files);
	struct fdtable *table = BPF_CORE_READ(files, fdt);
	__u32 number = PT_REGS_PARM1_CORE(registers);
	struct file **files_by_number = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (number < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), files_by_number + number);
	return file;
}

#endif
