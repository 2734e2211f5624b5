"""What scenarios do again and again: hear the device's answer, and read what it wrote down."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice.guest import BOOT_S, Guest
from refdevice.machine import JOURNAL
from refdevice.stickimage import read_stick
from tests.vm import testbed
from usbupdate.audit.chain import examine
from usbupdate.audit.copies import find_copies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.core.receipt import Draft

_SIGNAL: Final = r"usbupdate\[\d+\]: ((?:busy, do not remove|done, remove|refused, nothing changed|failed)(?:: .*)?)$"
_ANSWER: Final = r"usbupdate\[\d+\]: ((?:done, remove|refused, nothing changed|failed)(?:: .*)?)$"
_SLOTS: Final = ("vda2", "vda3")
_WRITTEN, _DISCARDED = 6, 13
"""Fields of a block device's `stat`: sectors written, sectors discarded."""


def answer(guest: Guest) -> str:
    """Wait for the next signal that ends the wait of the person at the device, and return its sentence."""
    return guest.transcript.expect(_ANSWER, limit_s=BOOT_S, channel=JOURNAL)[1]


def require_no_other_answer(guest: Guest) -> None:
    """Hold that the person hears one answer, once every service of what was plugged in has ended."""
    working = "systemctl list-units --no-legend --state=active,activating,deactivating 'usbupdate@*' | grep -q ."
    guest.run(f"udevadm settle; while {working}; do sleep 0.2; done")
    assert len(guest.transcript.heard(_ANSWER)) == 1


def signal(guest: Guest) -> str:
    """Wait for the next signal, busy or not, and return its sentence."""
    return guest.transcript.expect(_SIGNAL, limit_s=BOOT_S, channel=JOURNAL)[1]


def await_commit(guest: Guest) -> str:
    """Wait until the release on the stick has passed its trial, and return what the person is told."""
    guest.expect("restarting, leave it in")
    guest.expect_boot("B, on trial")
    said = answer(guest)
    guest.expect_shell()
    return said


def receipts_on(image: Path, *, partition: int = 1) -> list[Draft]:
    """Return the device's receipts on a stick in their order, each proven by an auditor who finds nothing wrong."""
    with tempfile.TemporaryDirectory() as folder:
        read_stick(image, Path(folder), partition=partition)
        (place,) = find_copies([Path(folder)])
        examined = examine(place.read(), None, ())
    assert examined.findings == []
    return [examined.proven[number].receipt.draft for number in range(1, examined.last_number() + 1)]


def audit(image: Path, folder: Path) -> None:
    """Let an auditor enroll the device of a stick and verify what it brought; the folder, which is made, takes all files."""
    read_stick(image, folder)
    known = ("--devices", str(folder / "known"))
    testbed.usbupdate("audit", "enroll", folder, *known)
    testbed.usbupdate("audit", "verify", folder, *known)


def events(receipts: list[Draft]) -> list[str]:
    """Return what the receipts report."""
    return [str(receipt.event) for receipt in receipts]


def reason(receipt: Draft) -> str:
    """Return the reason code of a receipt's problem."""
    assert receipt.problem is not None
    return receipt.problem.reason


def boot_memory(guest: Guest) -> dict[str, str]:
    """Return what the boot loader remembers of the slots, by its own names."""
    return dict(line.split("=", 1) for line in guest.run("grep = /boot/efi/grub/grubenv").splitlines())


@contextmanager
def nothing_changed(guest: Guest) -> Iterator[None]:
    """Hold that meanwhile nothing is written to a slot, that the other slot keeps its bytes, and the boot loader its memory."""
    before = _traces(guest)
    yield
    assert _traces(guest) == before


def _traces(guest: Guest) -> tuple[list[list[str]], str]:
    guest.run("sync")
    stats = [guest.run(f"cat /sys/class/block/{slot}/stat").split() for slot in _SLOTS]
    sums = guest.run("md5sum </dev/vda3; md5sum </boot/efi/grub/grubenv")
    return [[each[_WRITTEN], each[_DISCARDED]] for each in stats], sums
