"""What an earlier usbupdate, frozen at its release, makes of what this one writes: they share a device's state and its log."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from tests.attack.test_downgrade import order, put_order
from tests.field import NEXT, OFFERED
from tests.receipts import device, draft
from tests.source import CHECKOUT
from usbupdate.core import envelope, recordform
from usbupdate.core.authorisation import Authorisation, check_of
from usbupdate.core.manifest import Blob
from usbupdate.core.receipt import NO_PREVIOUS, Receipt
from usbupdate.core.record import Attempt, DeviceRecord, Installed, KnownRoot, Trial
from usbupdate.core.words import BootId, Digest, Slot, SlotClass

if TYPE_CHECKING:
    from pathlib import Path

    from tests.field import Field

(WHEEL,) = (CHECKOUT / "tests/vm/frozen").glob("*.whl")
IDENTITY, SIGNER = device("gw-0001")
ORDER: Final = Authorisation(
    IDENTITY.device, IDENTITY.fingerprint, 1, Digest("0" * 64), 9, "CHG-1", "2099-01-01T00:00:00Z"
)  # fmt: skip
READ: Final = """
import sys
from pathlib import Path
sys.path.insert(0, {wheel!r})
from usbupdate.core import {module}
from usbupdate.errors import UsbupdateError
try:
    print({call}(Path({file!r}).read_bytes()))
except UsbupdateError as error:
    print(type(error).__name__)
"""


def read_by_the_earlier(folder: Path, raw: bytes, module: str, call: str) -> str:
    file = folder / "what"
    file.write_bytes(raw)
    code = READ.format(wheel=str(WHEEL), module=module, call=f"{module}.{call}", file=str(file))
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_the_earlier(*arguments: str | Path) -> str:
    """Run a command of the earlier usbupdate and return what it said."""
    argv = ["usbupdate", *(str(each) for each in arguments)]
    code = f"import sys; sys.path.insert(0, {str(WHEEL)!r}); sys.argv = {argv!r}; from usbupdate.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr


def going_back() -> DeviceRecord:
    """Return the state of a device that goes back, while the older release is on trial."""
    newer = Installed(Slot.A, "2.0", 2, {SlotClass("rootfs"): Blob(Digest("2" * 64), 10)})
    older = Installed(Slot.B, "1.0", 1, {SlotClass("rootfs"): Blob(Digest("1" * 64), 10)})
    attempt = Attempt(older, replace(draft(7), checks=(check_of(ORDER),)))
    return DeviceRecord(newer, {Slot.A: newer}, 2, KnownRoot(1, Digest("0" * 64)), Trial(attempt, BootId("b")))


def test_the_older_release_may_bring_an_earlier_agent_which_judges_its_own_trial(tmp_path: Path) -> None:
    assert "Trial" in read_by_the_earlier(tmp_path, recordform.encode(going_back()), "recordform", "decode")


def test_an_earlier_agent_stops_where_a_used_authorisation_would_be_forgotten(tmp_path: Path) -> None:
    record = replace(going_back(), downgrade_number=1)
    assert read_by_the_earlier(tmp_path, recordform.encode(record), "recordform", "decode").strip() == "NewerFormatError"


@pytest.mark.parametrize("checks", [(), (check_of(ORDER),)])
def test_an_earlier_auditor_reads_the_receipt_of_a_way_back(checks: tuple[object, ...], tmp_path: Path) -> None:
    receipt = Receipt(IDENTITY.device, 1, NO_PREVIOUS, replace(draft(1), checks=checks))  # type: ignore[arg-type] # of checks
    line = envelope.sign(receipt, SIGNER)
    assert read_by_the_earlier(tmp_path, line, "envelope", "peek_unproven").startswith("Receipt(")


def test_a_release_with_an_earlier_agent_is_gone_back_to_and_cannot_use_the_authorisation_up(field: Field) -> None:
    rig = field.rig
    rig.update(field.good)
    rig.update(field.cure)
    put_order(field, order(field, rig))
    rig.insert(field.good)
    assert "up and at rest" in run_the_earlier("simulate", "boot", rig.folder)
    for _ in range(2):
        record = rig.record()
        assert (record.committed.sequence, record.floor, record.downgrade_number) == (OFFERED, NEXT, 0)
        assert rig.last().checks == ()
        assert "up and at rest" in run_the_earlier("simulate", "boot", rig.folder)
    rig.remove()
    rig.update(field.cure)
    assert rig.record().committed.sequence == NEXT

    # Used up only where the agent of the release gone back to knows how.
    rig.update(field.good)
    record = rig.record()
    assert (record.committed.sequence, record.floor, record.downgrade_number) == (OFFERED, OFFERED, 1)
    assert "format 2" in run_the_earlier("simulate", "insert", rig.folder, field.cure)
    assert rig.record() == record
