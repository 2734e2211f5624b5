"""Programs that write an image and know of no release: bmaptool, dd and xdelta3."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from installs.contender import LEVEL, Contender, Proof, Run, Stick, Task, shell
from installs.programs import run

_RECIPE: Final = (Path(__file__),)
_XDELTA_WINDOW: Final = str(1 << 30)
_TO_SLOT: Final = "iflag=fullblock conv=notrunc,fsync bs=1M status=none"


def _bmap_stick(folder: Path, task: Task) -> None:
    run("zstd", "-q", f"-{LEVEL}", "-T0", task.new, "-o", folder / "image.zst")
    run("bmaptool", "create", "-o", folder / "image.bmap", task.new)


def _bmaptool(at: Run) -> list[str]:
    return ["bmaptool", "-q", "copy", "--bmap", str(at.stick / "image.bmap"), str(at.stick / "image.zst"), str(at.slot)]


def _dd(at: Run) -> list[str]:
    return shell(f'zstd -dcq "$1" | dd of="$2" {_TO_SLOT}', at.stick / "image.zst", at.slot)


def _xdelta_stick(folder: Path, task: Task) -> None:
    run("xdelta3", "-e", "-9", "-B", _XDELTA_WINDOW, "-s", task.old, task.new, folder / "image.xdelta")


def _xdelta(at: Run) -> list[str]:
    script = f'xdelta3 -d -c -B {_XDELTA_WINDOW} -s "$1" "$2" | dd of="$3" {_TO_SLOT}'
    return shell(script, at.running, at.stick / "image.xdelta", at.slot)


BMAP: Final = Stick("bmap", _bmap_stick, _RECIPE)
XDELTA: Final = Stick("xdelta", _xdelta_stick, _RECIPE)

CONTENDERS: Final = (
    Contender("bmaptool, with checksums", BMAP, _bmaptool, Proof.AFTER),
    Contender("zstd and dd", BMAP, _dd, Proof.NONE),
    Contender("xdelta3", XDELTA, _xdelta, Proof.NONE, known_base=True),
)
