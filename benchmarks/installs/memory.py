"""How much memory a whole insertion takes at its peak, for an image that is much larger than what memory may be."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from installs.contender import Run
from installs.insertion import insert, make_device
from installs.office import Office
from installs.programs import run
from installs.slot import holds
from installs.timing import timed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from installs.contender import Task
    from installs.timing import Timed

SIZE: Final = 8 << 30
LIMIT: Final = 64 << 20
_STICKS: Final[dict[str, tuple[str, ...]]] = {"whole image": (), "delta": ("--only-delta",)}


def insertions(task: Task, scratch: Path) -> Iterator[tuple[str, Timed]]:
    """Yield what each way to bring a release takes, on a device with slots of `SIZE`.

    The images are those of the task, followed by zeros, and the slot is full of them before: an index of that many chunks, and
    that much to read back, is what could need memory.
    """
    new, running = (_enlarged(image, scratch / name) for image, name in ((task.new, "new"), (task.old, "running")))
    office = Office(scratch / "office")
    office.release(new, "--base", running)
    for name, options in _STICKS.items():
        folder = scratch / name
        stick, slot = folder / "stick", folder / "slot"
        stick.mkdir(parents=True)
        office.write_stick(stick, *options)
        with slot.open("wb") as file:
            file.truncate(SIZE)
        make_device(folder / "device", running=running, stick=stick)
        yield name, timed(insert(Run(stick, slot, running, folder), folder / "device"), slot)
        if not holds(slot, new):
            raise RuntimeError(f"The slot does not hold the image: {name}")
        shutil.rmtree(folder)


def _enlarged(image: Path, target: Path) -> Path:
    run("cp", "--sparse=always", image, target)
    with target.open("r+b") as file:
        file.truncate(SIZE)
    return target
