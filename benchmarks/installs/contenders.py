"""Who installs: what each has on its stick, and the command with which it writes a slot."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from installs import rauc
from installs.images import run

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL: Final = 12
"""The level of zstd, for everybody who asks for one: the one that usbupdate takes by default."""

_OURS: Final = Path(__file__).with_name("ours.py")
_USBUPDATE: Final = (sys.executable, "-m", "usbupdate")
_XDELTA_WINDOW: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Run:
    """Where one installation finds everything: the mounted stick, the slot to write, and the one that the device runs."""

    stick: Path
    slot: Path
    running: Path
    scratch: Path


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to install.

    `prepare` writes into the folder of a stick what installs `new` where `old` runs; it is shared by all with one `stick` name.
    """

    name: str
    stick: str
    prepare: Callable[[Path, Path, Path], None]
    command: Callable[[Run], list[str]]
    known_base: bool = False
    verifies: bool = True
    reads_back: bool = False
    writes_all: bool = True


def _ours(*options: str) -> Callable[[Run], list[str]]:
    return lambda at: [sys.executable, str(_OURS), str(at.stick), str(at.slot), *options]


def _ours_on_base(*options: str) -> Callable[[Run], list[str]]:
    return lambda at: [sys.executable, str(_OURS), str(at.stick), str(at.slot), "--running", str(at.running), *options]


def _write_stick(folder: Path, new: Path, *bundle: str | Path, stick: tuple[str, ...] = ()) -> None:
    office = folder.with_name("office")
    run(*_USBUPDATE, "repo", "init", office)
    order = ("--name", "bench", "--version", "2", "--sequence", "2", "--compatible", "bench,bench")
    run(*_USBUPDATE, "bundle", "create", new, "--repo", office, *order, *bundle)
    run(*_USBUPDATE, "stick", "write", office, folder, *stick)
    run("rm", "-rf", office)


def _full_stick(folder: Path, new: Path, _old: Path) -> None:
    _write_stick(folder, new)


def _delta_stick(folder: Path, new: Path, old: Path) -> None:
    _write_stick(folder, new, "--base", old, stick=("--only-delta",))


def _bmap_stick(folder: Path, new: Path, _old: Path) -> None:
    run("zstd", "-q", f"-{LEVEL}", "-T0", new, "-o", folder / "image.zst")
    run("bmaptool", "create", "-o", folder / "image.bmap", new)


def _bmap(at: Run) -> list[str]:
    return ["bmaptool", "-q", "copy", "--bmap", str(at.stick / "image.bmap"), str(at.stick / "image.zst"), str(at.slot)]


def _shell(script: str) -> list[str]:
    return ["bash", "-c", f"set -euo pipefail; {script}"]


def _dd(at: Run) -> list[str]:
    return _shell(f"zstd -dcq {at.stick}/image.zst | dd of={at.slot} bs=1M iflag=fullblock conv=notrunc,fsync status=none")


def _xdelta_stick(folder: Path, new: Path, old: Path) -> None:
    run("xdelta3", "-e", "-9", "-B", str(_XDELTA_WINDOW), "-s", old, new, folder / "image.xdelta")


def _xdelta(at: Run) -> list[str]:
    source = f"xdelta3 -d -c -B {_XDELTA_WINDOW} -s {at.running} {at.stick}/image.xdelta"
    return _shell(f"{source} | dd of={at.slot} bs=1M iflag=fullblock conv=notrunc,fsync status=none")


def _rauc_stick(folder: Path, new: Path, _old: Path, *, adaptive: bool) -> None:
    rauc.write_stick(folder, new, level=LEVEL, adaptive=adaptive)


CONTENDERS: Final = (
    Contender("usbupdate", "full", _full_stick, _ours(), reads_back=True),
    Contender("usbupdate, not read back", "full", _full_stick, _ours("--no-read-back")),
    Contender("bmaptool, with checksums", "bmap", _bmap_stick, _bmap, writes_all=False),
    Contender("zstd and dd", "bmap", _bmap_stick, _dd, verifies=False),
    Contender("RAUC, plain bundle", "rauc", partial(_rauc_stick, adaptive=False), rauc.command),
    Contender("usbupdate, delta", "delta", _delta_stick, _ours_on_base(), known_base=True, reads_back=True),
    Contender("usbupdate, delta, not read back", "delta", _delta_stick, _ours_on_base("--no-read-back"), known_base=True),
    Contender("RAUC, adaptive", "rauc-adaptive", partial(_rauc_stick, adaptive=True), rauc.command, known_base=True),
    Contender("xdelta3", "xdelta", _xdelta_stick, _xdelta, known_base=True, verifies=False),
)
