"""usbupdate's whole insertion as a contender: all that goes on from a stick's being plugged in until the device restarts.

What follows, the trial and the receipts that are written to the stick, depends on how fast a board boots.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from installs.contender import Contender, Proof, Run, shell
from installs.office import COMPATIBLE, USBUPDATE
from installs.product import DELTA, FULL
from installs.programs import run
from refdevice.cache import cached, digest_of

_SOURCE: Final = Path(__file__).parents[2] / "src/usbupdate"
_INSERT: Final = """\
device=$1 slot=$2 running=$3 stick=$4
shift 4
mount --bind "$slot" "$device/slots/b.img"
mount --bind "$running" "$device/slots/a.img"
exec "$@" device insert "$stick" --config "$device/device.toml"
"""


def make_device(folder: Path, *, running: Path, stick: Path) -> None:
    """Make a simulated device that trusts the office of a stick; other files are to be mounted where its slots are.

    Args:
        folder: where; it is not there yet.
        running: the image that it runs.
        stick: the mounted stick.
    """
    root = stick / "usbupdate/metadata/1.root.json"
    run(*USBUPDATE, "simulate", "new", folder, "--image", running, "--compatible", COMPATIBLE, "--root", root)
    for slot in folder.joinpath("slots").iterdir():
        slot.write_bytes(b"")


def insert(at: Run, device: Path) -> list[str]:
    """Return what makes a device take the stick, a device from `make_device`, with its slots where they are measured."""
    return shell(_INSERT, device, at.slot, at.running, at.stick, *USBUPDATE)


def _command(at: Run) -> list[str]:
    # One device for each office, as it was made: the next insertion finds no trace of the last.
    key = digest_of(at.stick / "usbupdate/metadata/1.root.json", _SOURCE)
    made = cached("bench-device", key, partial(make_device, running=at.running, stick=at.stick))
    device = at.scratch / "device"
    run("cp", "-a", made, device)
    return insert(at, device)


CONTENDERS: Final = (
    Contender("usbupdate, whole insertion", FULL, _command, Proof.BEFORE, reads_back=True),
    Contender("usbupdate, delta, whole insertion", DELTA, _command, Proof.BEFORE, known_base=True, reads_back=True),
)
