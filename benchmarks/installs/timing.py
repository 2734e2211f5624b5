"""One command, with its seconds and the memory that it took at its peak."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from installs.programs import started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECONDS_MARK: Final = "seconds: "
"""Begins a line in which a command says itself how long it took: its service is there before a device sees a stick."""

_KEEPING: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "33554432", "MALLOC_ARENA_MAX": "2"}
"""As in systemd/usbupdate@.service; for everybody."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What one command took; of its processes, `memory_bytes` is that of the largest."""

    seconds: float
    memory_bytes: int


def timed(command: Sequence[str], written: Path) -> Timed:
    """Run a command until what it wrote is durable.

    It sees mounts of its own, so that none of them outlives it.

    Args:
        command: what to run.
        written: the file or block device that it writes.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile("r", encoding="ascii") as told:
        # By way of a small program: the kernel counts for a process also the memory of the one that it was forked from.
        measuring = ("/usr/bin/time", "--format=%M", f"--output={told.name}", "unshare", "--mount", *command)
        start = time.perf_counter()
        with started(*measuring, output=output, **_KEEPING) as process:
            process.wait()
        descriptor = os.open(written, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        seconds = time.perf_counter() - start
        output.seek(0)
        said = output.read().decode(errors="replace")
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
        memory_bytes = int(told.read().split()[-1]) << 10
    own = [line for line in said.splitlines() if line.startswith(SECONDS_MARK)]
    return Timed(float(own[-1].removeprefix(SECONDS_MARK)) if own else seconds, memory_bytes)
