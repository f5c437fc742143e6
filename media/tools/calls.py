"""The system calls of a tool that is written in Python (``picture_worker.py``, ``pdf_worker.py``), which opens nothing: memory,
its open files, the time, its own signals and ids, its end. By machine, as the kernel numbers them (asm/unistd.h)."""

from __future__ import annotations

import platform
from typing import Final

CALLS: Final = {
    "x86_64": (
        # read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64
        0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
        # writev sched_yield mremap madvise nanosleep getpid exit fcntl getuid getgid geteuid getegid sigaltstack gettid
        20, 24, 25, 28, 35, 39, 60, 72, 102, 104, 107, 108, 131, 186,
        # futex clock_gettime clock_nanosleep exit_group newfstatat getrandom rseq
        202, 228, 230, 231, 262, 318, 334,
    ),
    "aarch64": (
        # fcntl ioctl close lseek read write writev pread64 newfstatat fstat exit exit_group futex nanosleep clock_gettime
        25, 29, 57, 62, 63, 64, 66, 67, 79, 80, 93, 94, 98, 101, 113,
        # clock_nanosleep sched_yield sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn
        115, 124, 132, 134, 135, 139,
        # getpid getuid geteuid getgid getegid gettid brk munmap mremap mmap mprotect madvise getrandom rseq
        172, 174, 175, 176, 177, 178, 214, 215, 216, 222, 226, 233, 278, 293,
    ),
}  # fmt: skip


def of_python() -> tuple[int, ...] | None:
    """On this machine; None where they are not known."""
    return CALLS.get(platform.machine())
