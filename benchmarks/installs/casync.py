"""casync as a contender: a store of chunks on the stick, and what the device runs as its seed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from installs.contender import Contender, Proof, Run, Stick, Task
from installs.programs import run


def _stick(folder: Path, task: Task) -> None:
    run("casync", "make", f"--store={folder / 'store.castr'}", folder / "image.caibx", task.new)


def _command(at: Run) -> list[str]:
    # What the slot holds is not worth a look, as where RAUC calls it; and a block device has no holes that a file could have.
    options = ("--seed-output=no", "--punch-holes=no", f"--seed={at.running}", f"--store={at.stick / 'store.castr'}")
    return ["casync", "extract", *options, str(at.stick / "image.caibx"), str(at.slot)]


CONTENDERS: Final = (Contender("casync", Stick("casync", _stick, (Path(__file__),)), _command, Proof.BEFORE, known_base=True),)
