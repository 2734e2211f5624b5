"""usbupdate as a contender: the installation alone, as a device does it once it trusts the manifest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from installs.contender import Contender, Proof, Run, Stick, Task
from installs.office import Office

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE: Final = Path(__file__).parent
_INSTALLATION: Final = _HERE / "ours.py"
_RECIPE: Final = (_HERE / "office.py", _HERE.parents[1] / "src/usbupdate/packager")


def _full_stick(folder: Path, task: Task) -> None:
    office = Office(folder.with_name("office"))
    office.release(task.new)
    office.write_stick(folder)
    office.close()


def _delta_stick(folder: Path, task: Task) -> None:
    office = Office(folder.with_name("office"))
    office.release(task.new, "--base", task.old)
    office.write_stick(folder, "--only-delta")
    office.close()


FULL: Final = Stick("full", _full_stick, _RECIPE)
DELTA: Final = Stick("delta", _delta_stick, _RECIPE)


def _installation(*options: str) -> Callable[[Run], list[str]]:
    return lambda at: [sys.executable, str(_INSTALLATION), str(at.stick), str(at.slot), *options]


def _installation_on_base(*options: str) -> Callable[[Run], list[str]]:
    return lambda at: [*_installation(*options)(at), "--running", str(at.running)]


CONTENDERS: Final = (
    Contender("usbupdate", FULL, _installation(), Proof.BEFORE, reads_back=True),
    Contender("usbupdate, not read back", FULL, _installation("--no-read-back"), Proof.BEFORE),
    Contender("usbupdate, delta", DELTA, _installation_on_base(), Proof.BEFORE, known_base=True, reads_back=True),
    Contender(
        *("usbupdate, delta, not read back", DELTA, _installation_on_base("--no-read-back"), Proof.BEFORE), known_base=True
    ),
)
