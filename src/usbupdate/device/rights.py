"""Gives up all rights of this process, for ever, before it sees a byte that a stranger chose.

What is left: to compute, to use memory, and to read and write what is open already. No file can be opened, nothing can be
executed, started, signalled or sent. Each way by itself would nearly do; kernels and processors lack one or the other.

Source: prctl(2), seccomp(2), getrlimit(2), credentials(7); docs/adr/0017-what-runs-without-rights.md.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY: Final = 65534
DATA_MAX: Final = 256 << 20
"""Bytes of memory of its own; what it works on is at most a few chunks of 16 MiB."""

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_KILL: Final = 0x8000_0000
_REFUSE: Final = 0x0005_0000 | 1  # EPERM
_ALLOW: Final = 0x7FFF_0000
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_INSTRUCTION: Final = struct.Struct("HBBI")

_GENERIC: Final = {
    "read": 63, "write": 64, "exit": 93, "exit_group": 94, "futex": 98, "clock_gettime": 113, "restart_syscall": 128,
    "rt_sigreturn": 139, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "madvise": 233,
}  # fmt: skip
CALLS: Final[Mapping[str, tuple[int, Mapping[str, int]]]] = {
    "x86_64": (
        0xC000_003E,
        {
            "read": 0, "write": 1, "mmap": 9, "munmap": 11, "brk": 12, "rt_sigreturn": 15, "mremap": 25, "madvise": 28,
            "exit": 60, "futex": 202, "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231,
        },
    ),
    "aarch64": (0xC000_00B7, _GENERIC),
    "riscv64": (0xC000_00F3, _GENERIC),
}  # fmt: skip
"""The system calls that are left, by the processor's own numbers, and the kernel's number of the processor."""


def give_up() -> bool:
    """Give up every right, and tell whether the kernel filters system calls from now on as well.

    Raises:
        OSError: a right could not be given up; the process must not go on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    # Who is not root has nothing to give; nor has root in a user namespace that knows nobody else.
    if os.geteuid() == 0 and _is_known(NOBODY):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        # With root's number go all capabilities.
        os.setresuid(NOBODY, NOBODY, NOBODY)
    for limit, most in (
        (resource.RLIMIT_DATA, DATA_MAX),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    return _filter(libc)


def _filter(libc: ctypes.CDLL) -> bool:
    # A program of 32 bits has other numbers, also on a kernel of 64.
    known = CALLS.get(os.uname().machine) if struct.calcsize("P") * 8 == 64 else None  # noqa: PLR2004 - bits
    if known is None:
        return False
    instructions = _program(*known)
    program = ctypes.create_string_buffer(instructions)
    header = ctypes.create_string_buffer(struct.pack("HP", len(instructions) // _INSTRUCTION.size, ctypes.addressof(program)))
    try:
        _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))
    except OSError:
        # A kernel that was built without it; all other ways are closed already.
        return False
    return True


def _program(architecture: int, calls: Mapping[str, int]) -> bytes:
    """Return the filter as the kernel wants it: what is not listed fails, as if it were forbidden."""
    allowed = sorted(calls.values())
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((_JUMP_IF_EQUAL, len(allowed) - place, 0, number) for place, number in enumerate(allowed)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(_INSTRUCTION.pack(*each) for each in instructions)


def _prctl(libc: ctypes.CDLL, option: int, value: int, pointer: int = 0) -> None:
    arguments = [ctypes.c_ulong(each) for each in (value, pointer, 0, 0)]
    if libc.prctl(ctypes.c_int(option), *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _is_known(user: int) -> bool:
    """Tell whether this user namespace has such a user."""
    lines = Path("/proc/self/uid_map").read_text("ascii").splitlines()
    ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    return any(first <= user < first + count for first, count in ranges)
