from __future__ import annotations

import errno
import io
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.receipts import device, draft
from usbupdate import plainfile
from usbupdate.core import checkpoint, envelope, merkle
from usbupdate.core.receipt import NO_PREVIOUS, Event
from usbupdate.device import ledger as module
from usbupdate.device.ledger import Ledger
from usbupdate.device.ledgercontents import RECEIPTS_FILE
from usbupdate.errors import LedgerError, LedgerShareError

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.device import ports

IDENTITY, SIGNER = device("gw-0001")


def opened(folder: Path, size_max: int = module.SIZE_MAX) -> Ledger:
    return Ledger.open(folder, IDENTITY, lambda: SIGNER, size_max=size_max)


def filled(folder: Path, count: int) -> Ledger:
    ledger = opened(folder)
    for number in range(1, count + 1):
        ledger.append(draft(number))
    return ledger


def receipts_file(folder: Path) -> Path:
    return folder / RECEIPTS_FILE


def test_ledger_is_the_ledger_that_the_agent_asks_for(tmp_path: Path) -> None:
    ledger: ports.Ledger = opened(tmp_path)
    assert (ledger.count(), ledger.newest()) == (0, None)


def test_receipts_are_numbered_chained_and_signed(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger", 3)
    lines = list(ledger.lines())
    receipts = [envelope.open_line(line, IDENTITY) for line in lines]
    assert [receipt.number for receipt in receipts] == [1, 2, 3]
    assert [receipt.draft for receipt in receipts] == [draft(1), draft(2), draft(3)]
    assert [receipt.previous for receipt in receipts] == [NO_PREVIOUS, *map(envelope.line_digest, lines[:-1])]


def test_receipts_that_cannot_be_read_any_more_are_not_passed_over(tmp_path: Path) -> None:
    """Else a stick would get a checkpoint over receipts that are not on it, which accuses somebody of having removed them."""
    ledger = filled(tmp_path, 3)
    whole = receipts_file(tmp_path).read_bytes()
    for kept, missing in ((b"", 1), (whole[:-1], 3)):
        receipts_file(tmp_path).write_bytes(kept)
        with pytest.raises(LedgerError, match=f"receipt {missing} cannot be read"):
            list(ledger.lines())


def test_receipts_outlive_the_process(tmp_path: Path) -> None:
    before = filled(tmp_path, 3)
    after = opened(tmp_path)
    assert (after.count(), after.newest(), after.holds(draft(2).id)) == (3, draft(3), True)
    assert list(after.lines()) == list(before.lines())
    assert after.checkpoint() == before.checkpoint()


def test_a_receipt_is_appended_once_however_often_it_is_owed(tmp_path: Path) -> None:
    filled(tmp_path, 2).append(draft(2))
    ledger = opened(tmp_path)
    ledger.append(draft(1))
    assert ledger.count() == 2
    assert not ledger.holds(draft(3).id)


def test_checkpoint_is_over_all_receipts(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 5)
    head = checkpoint.open_note(ledger.checkpoint(), IDENTITY)
    assert (head.size, head.root) == (5, merkle.root(map(merkle.leaf_hash, ledger.lines())))


def test_looking_at_a_ledger_changes_nothing(tmp_path: Path) -> None:
    opened(tmp_path / "none").count()
    assert not (tmp_path / "none").exists()
    filled(tmp_path, 2)
    with receipts_file(tmp_path).open("ab") as file:
        file.write(b"0000")
    before = receipts_file(tmp_path).read_bytes()
    assert opened(tmp_path).count() == 2
    assert receipts_file(tmp_path).read_bytes() == before


@pytest.mark.parametrize("kind", ["cut", "zeros", "noise"])
def test_a_torn_append_is_as_if_it_had_not_happened(tmp_path: Path, kind: str) -> None:
    filled(tmp_path / "whole", 2)
    before = receipts_file(tmp_path / "whole").read_bytes()
    filled(tmp_path / "whole", 3)
    after = receipts_file(tmp_path / "whole").read_bytes()
    wanted = list(opened(tmp_path / "whole").lines())
    for kept in range(len(before) + 1, len(after), 37):
        folder = tmp_path / str(kept)
        folder.mkdir()
        rest = {"cut": 0, "zeros": len(after) - kept, "noise": len(after) - kept}[kind]
        receipts_file(folder).write_bytes(after[:kept] + (b"\x00" if kind == "zeros" else b"\xa5") * rest)
        ledger = opened(folder)
        assert ledger.count() == 2
        ledger.append(draft(3))
        assert list(ledger.lines()) == list(opened(folder).lines()) == wanted


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("place", [0, 10, 80, 120, 700, -1])
def test_a_damaged_earlier_receipt_is_named_and_nothing_is_reset(tmp_path: Path, number: int, place: int) -> None:
    filled(tmp_path, 3)
    path = receipts_file(tmp_path)
    rows = path.read_bytes().splitlines(keepends=True)
    damaged = bytearray(rows[number - 1])
    damaged[place] ^= 1
    rows[number - 1] = bytes(damaged)
    path.write_bytes(b"".join(rows))
    with pytest.raises(LedgerError, match=f"record {number} is damaged"):
        opened(tmp_path)
    assert path.read_bytes() == b"".join(rows)


def test_a_receipt_that_was_vouched_for_is_never_cut_off(tmp_path: Path) -> None:
    # Else the next receipt would get a number that a checkpoint on some stick already covers: a fork of our own making.
    filled(tmp_path, 3).checkpoint()
    path = receipts_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(LedgerError, match="receipt 3 is damaged or gone"):
        opened(tmp_path)
    path.unlink()
    with pytest.raises(LedgerError, match="receipt 1 is damaged or gone"):
        opened(tmp_path)


def test_another_history_than_the_one_vouched_for_is_not_gone_on_with(tmp_path: Path) -> None:
    filled(tmp_path / "one", 2).checkpoint()
    other = opened(tmp_path / "other")
    for number in (2, 1, 3):
        other.append(draft(number))
    shutil.copy(receipts_file(tmp_path / "other"), receipts_file(tmp_path / "one"))
    with pytest.raises(LedgerError, match="not the ones that were vouched for"):
        opened(tmp_path / "one")


def test_a_ledger_belongs_to_one_identity(tmp_path: Path) -> None:
    filled(tmp_path, 1).checkpoint()
    other, signer = device("gw-0001", "another key")
    with pytest.raises(LedgerError, match="belongs to"):
        Ledger.open(tmp_path, other, lambda: signer)


def test_a_full_ledger_keeps_room_for_the_outcome_of_an_attempt(tmp_path: Path) -> None:
    ledger = opened(tmp_path, size_max=module.RESERVE + 20_000)
    assert ledger.has_room()
    while ledger.has_room() and ledger.count() < 8:
        ledger.append(draft(ledger.count() + 1, Event.REJECTED))
    fill = opened(tmp_path, size_max=receipts_file(tmp_path).stat().st_size + module.RESERVE)
    with pytest.raises(LedgerShareError):
        fill.append(draft(100, Event.REJECTED))
    assert fill.has_room()
    fill.append(draft(100, Event.FAILED))
    assert not fill.has_room()


def test_a_full_ledger_appends_nothing_and_says_so(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    ledger = opened(tmp_path, size_max=receipts_file(tmp_path).stat().st_size + 100)
    with pytest.raises(LedgerError, match="it has reached its limit"):
        ledger.append(draft(2))
    assert ledger.count() == opened(tmp_path).count() == 1


def test_a_receipt_that_cannot_be_stated_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 1)
    with pytest.raises(LedgerError, match="cannot be stated"):
        ledger.append(draft(2, Event.FAILED, problem="\x1b[2J"))
    ledger.append(draft(2))
    assert opened(tmp_path).count() == 2


def test_an_unreadable_ledger_is_an_answer(tmp_path: Path) -> None:
    receipts_file(tmp_path).mkdir()
    with pytest.raises(LedgerError, match="not an ordinary file"):
        opened(tmp_path)


class FailsToClose(io.BufferedReader):
    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(errno.EIO, "Input/output error")


def test_a_disk_that_fails_when_a_file_is_closed_takes_no_receipt_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(tmp_path, 3)
    monkeypatch.setattr(plainfile, "opened", lambda path: FailsToClose(io.FileIO(path)))
    assert len(list(ledger.lines())) == 3
    some = ledger.lines()
    next(some)
    some.close()  # type: ignore[attr-defined]  # what lets go of a generator in the middle does the same


def test_boot_confirmation_counts_receipts_without_cryptography(tmp_path: Path) -> None:
    filled(tmp_path, 2).checkpoint()
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('cryptography', 'securesystemslib', 'tuf', 'typer')))\n"
        "from pathlib import Path\n"
        "from usbupdate.core.identity import Identity\n"
        "from usbupdate.device import identity\n"
        "from usbupdate.device.ledger import Ledger\n"
        f"ledger = Ledger.open(Path({str(tmp_path)!r}), Identity('gw-0001', {IDENTITY.public_key!r}), None)\n"
        f"assert (ledger.count(), ledger.newest().event, ledger.holds({draft(1).id!r})) == (2, 'committed', True)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
