"""One installation measured: seconds with the slot durable, memory, and what was read from the stick."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from installs.contenders import Run
from installs.images import mounted, run
from installs.rauc import SECONDS_MARK
from installs.throttle import throttled

if TYPE_CHECKING:
    from installs.contenders import Contender

_SECTOR: Final = 512
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """How fast stick and slot are, in bytes a second; None is as fast as the disk beneath."""

    name: str
    stick: int | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What one installation took."""

    seconds: float
    memory_bytes: int
    stick_bytes: int


@dataclass(frozen=True, slots=True)
class Task:
    """What has to be installed: the image that the slot shall hold, and the one that the device runs."""

    new: Path
    old: Path


def install(contender: Contender, stick: Path, task: Task, setting: Setting, scratch: Path) -> Measured:
    """Let a contender install once, into a slot that is empty, and hold that the slot has the image then.

    Args:
        contender: who installs.
        stick: an image file of what `contender.prepare` wrote for `task`.
        task: what it has to install.
        setting: how fast stick and slot are.
        scratch: a folder that this installation has for itself.
    """
    slot = scratch / "slot"
    _empty(slot, task.new.stat().st_size)
    running = scratch / "running"
    if not running.exists():
        run("cp", "--sparse=never", task.old, running)
    with ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
        shown = stack.enter_context(throttled(slot, setting.slot)) if setting.slot else slot
        beneath = stack.enter_context(throttled(stick, setting.stick)) if setting.stick else stick
        mount = stack.enter_context(mounted(beneath, "ro"))
        command = contender.command(Run(mount, shown, running, own))
        loop = _loop_of(mount)
        run("sync")
        Path("/proc/sys/vm/drop_caches").write_text("3\n", "ascii")
        before = _read_bytes(loop)
        seconds, memory = _timed(command, shown)
        read = _read_bytes(loop) - before
    _require_installed(contender, slot, task.new)
    return Measured(seconds, memory, read)


def _timed(command: list[str], slot: Path) -> tuple[float, int]:
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, env={**os.environ, **_KEEPING})  # noqa: S603 - the contenders' own
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        descriptor = os.open(slot, os.O_RDONLY)
        os.fsync(descriptor)
        seconds = time.perf_counter() - start
        os.close(descriptor)
        output.seek(0)
        said = output.read().decode()
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said}")
    own = [line for line in said.splitlines() if line.startswith(SECONDS_MARK)]
    return (float(own[-1].removeprefix(SECONDS_MARK)) if own else seconds), used.ru_maxrss << 10


_KEEPING: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "33554432"}
"""As in systemd/usbupdate@.service; for everybody."""


def _empty(slot: Path, size: int) -> None:
    """Make a slot of zeros that has its place on the disk, as a partition has."""
    with slot.open("r+b" if slot.exists() else "wb") as file:
        for _ in range(size // _PIECE):
            file.write(bytes(_PIECE))
        os.fsync(file.fileno())


def _require_installed(contender: Contender, slot: Path, new: Path) -> None:
    """Hold that the slot has the image; where a contender leaves out what a file system does not use, both are zeros."""
    with slot.open("rb") as held, new.open("rb") as wanted:
        while piece := wanted.read(_PIECE):
            if held.read(_PIECE) != piece:
                raise RuntimeError(f"{contender.name} did not install the image")


def _loop_of(mount: Path) -> str:
    device = mount.stat().st_dev
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name


def _read_bytes(loop: str) -> int:
    return int(Path(f"/sys/block/{loop}/stat").read_text("ascii").split()[2]) * _SECTOR


def stick_image(contender: Contender, task: Task, target: Path) -> None:
    """Write the stick of a contender as an image file."""
    folder = target.with_name(f"{target.name}.folder")
    folder.mkdir()
    contender.prepare(folder, task.new, task.old)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    run("mke2fs", "-q", "-t", "ext4", "-d", folder, target, f"{(size >> 20) * 17 // 16 + 64}M")
    run("rm", "-rf", folder)
