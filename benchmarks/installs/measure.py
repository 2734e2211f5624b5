"""One installation measured: seconds with the slot durable, memory, and what was read from the stick."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from installs.contender import Run, Seen
from installs.mounts import looped, mounted
from installs.programs import run
from installs.slot import holds, lay_down
from installs.throttle import throttled
from installs.timing import timed
from refdevice.cache import cached

if TYPE_CHECKING:
    from installs.contender import Contender, Stick, Task

REBUILT: Final = "rebuilt"
IN_PLACE: Final = "in place"
SAME_KERNEL: Final = "in place, same kernel"
_SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Setting:
    """How fast stick and slot are, in bytes a second; None is as fast as the disk beneath.

    `forms` are those of the next release that are measured, `left_out` the contenders that are not: slow settings take hours.
    """

    name: str
    stick: int | None = None
    slot: int | None = None
    forms: tuple[str, ...] = (REBUILT, IN_PLACE, SAME_KERNEL)
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Measured:
    """What one installation took."""

    seconds: float
    memory_bytes: int
    stick_bytes: int


def install(contender: Contender, task: Task, setting: Setting, scratch: Path) -> Measured:
    """Let a contender install once, into an erased slot, and hold that the slot has it then.

    Args:
        contender: who installs.
        task: what it has to install.
        setting: how fast stick and slot are.
        scratch: a folder for this and the installations that follow, all of tasks with the same old image.
    """
    stick = stick_image(contender.stick, task)
    slot = scratch / "slot"
    lay_down(slot, task.new.stat().st_size)
    running = scratch / "running"
    if not running.exists():
        run("cp", "--sparse=never", task.old, running)
    with ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
        shown = stack.enter_context(throttled(slot, setting.slot)) if setting.slot else slot
        if contender.slot is Seen.BLOCK_DEVICE:
            shown = stack.enter_context(looped(shown))
        beneath = stack.enter_context(throttled(stick, setting.stick)) if setting.stick else stick
        mount = stack.enter_context(mounted(beneath, "ro"))
        command = contender.command(Run(mount, shown, running, own))
        loop = _loop_of(mount)
        run("sync")
        Path("/proc/sys/vm/drop_caches").write_text("3\n", "ascii")
        before = _read_bytes(loop)
        took = timed(command, shown)
        read = _read_bytes(loop) - before
    if not holds(slot, task.new):
        raise RuntimeError(f"{contender.name} did not install the image")
    return Measured(took.seconds, took.memory_bytes, read)


def stick_image(stick: Stick, task: Task) -> Path:
    """Return a stick that was filled for a task, as an image file."""
    return cached(f"bench-stick-{stick.name}.img", stick.key(task), lambda target: _filled(stick, task, target))


def _filled(stick: Stick, task: Task, target: Path) -> None:
    folder = target.with_name("stick")
    folder.mkdir()
    stick.prepare(folder, task)
    # Blocks and inodes, for a store of chunks is many small files.
    files = [file for file in folder.rglob("*") if file.is_file()]
    size = sum(-(-file.stat().st_size // 4096) * 4096 for file in files)
    inodes, blocks = 2 * len(files) + 1024, f"{(size >> 20) * 17 // 16 + 64}M"
    run("mke2fs", "-q", "-t", "ext4", "-N", str(inodes), "-d", folder, target, blocks)
    run("rm", "-rf", folder)


def _loop_of(mount: Path) -> str:
    device = mount.stat().st_dev
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name


def _read_bytes(loop: str) -> int:
    return int(Path(f"/sys/block/{loop}/stat").read_text("ascii").split()[2]) * _SECTOR
