from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.cutting import cut_at
from tests.matrix import By, On, attack
from tests.receipts import chain, device, draft
from usbupdate import durable
from usbupdate.core import checkpoint, identity, merkle
from usbupdate.core.receipt import NO_PREVIOUS, Check, CheckResult, Event, Receipt
from usbupdate.core.words import Slot
from usbupdate.device.ledger import Ledger
from usbupdate.device.ledgerfile import encode_record
from usbupdate.device.logexport import export_log
from usbupdate.device.signals import Signal
from usbupdate.device.summary import Situation, summarise
from usbupdate.errors import (
    LogConflictError,
    LogFolderHostileError,
    LogNotKeptError,
    LogStickError,
    LogStickFullError,
    MediumError,
    NoPlaceForLogsError,
    StickReadOnlyError,
)

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY, SIGNER = device("gw-0001")
SITUATION = Situation("acme,gw-100", Slot.A, "1.1", 7, Signal.DONE)
NAMES = ("receipts.jsonl", "checkpoint", "identity.json", "summary.txt")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger.open(tmp_path / "state", IDENTITY, lambda: SIGNER)
    for number in range(1, 4):
        ledger.append(draft(number))
    return ledger


@pytest.fixture
def stick(mount: Path) -> Path:
    (mount / "usbupdate").mkdir()
    return mount


@pytest.fixture
def log(stick: Path) -> Path:
    """Return where the device's log is going to lie."""
    return stick / "usbupdate" / "logs" / "gw-0001"


def export(stick: Path, ledger: Ledger) -> None:
    export_log(stick, IDENTITY, ledger, SITUATION)


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_stick_gets_receipts_checkpoint_identity_and_summary(stick: Path, log: Path, ledger: Ledger) -> None:
    export(stick, ledger)
    assert sorted(path.name for path in log.iterdir()) == sorted(NAMES)
    lines = (log / "receipts.jsonl").read_bytes().splitlines()
    head = checkpoint.open_note((log / "checkpoint").read_bytes(), identity.decode((log / "identity.json").read_bytes()))
    assert (head.size, head.root) == (3, merkle.root(map(merkle.leaf_hash, lines)))


def test_a_stick_gets_what_it_lacks(stick: Path, log: Path, ledger: Ledger) -> None:
    export(stick, ledger)
    before = (log / "receipts.jsonl").read_bytes()
    ledger.append(draft(4))
    export(stick, ledger)
    after = (log / "receipts.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(after.splitlines()) == 4


def test_receipts_that_a_newer_agent_stated_go_out_from_an_older_one(stick: Path, log: Path, tmp_path: Path) -> None:
    newer = chain(1)[0].replace(b'"payloadType"', b'"stated":"later","payloadType"')
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "receipts").write_bytes(encode_record(draft(1).id, newer))
    export(stick, Ledger.open(tmp_path / "newer", IDENTITY, lambda: SIGNER))
    assert (log / "receipts.jsonl").read_bytes() == newer + b"\n"


def test_a_stick_that_lacks_nothing_is_not_written_to(stick: Path, log: Path, ledger: Ledger) -> None:
    export(stick, ledger)
    before = [(log / name).stat().st_ino for name in NAMES]
    export(stick, ledger)
    assert [(log / name).stat().st_ino for name in NAMES] == before


def test_a_foreign_stick_is_never_written_to(mount: Path, ledger: Ledger) -> None:
    (mount / "holiday.jpg").write_bytes(b"sea")
    with pytest.raises(NoPlaceForLogsError):
        export(mount, ledger)
    assert everything_under(mount) == {"holiday.jpg": b"sea"}


@attack(By.CHANCE, On.RECORD, "one device damages another one's log", "each writes its own folder only")
def test_other_devices_folders_are_left_alone(stick: Path, ledger: Ledger) -> None:
    other = stick / "usbupdate" / "logs" / "gw-0002"
    other.mkdir(parents=True)
    (other / "receipts.jsonl").write_bytes(b"theirs")
    export(stick, ledger)
    assert everything_under(other) == {"receipts.jsonl": b"theirs"}


@pytest.mark.parametrize(
    "held",
    [
        b"".join(line + b"\n" for line in chain(4, text="another history")),
        b"".join(line + b"\n" for line in chain(4, key="another key")),
        b"\x00" * 100,
        b"".join(line + b"\n" for line in chain(4)),
    ],
    ids=["another history", "another key", "damage", "longer"],
)
def test_receipts_that_are_no_earlier_state_of_ours_are_left(stick: Path, log: Path, ledger: Ledger, held: bytes) -> None:
    log.mkdir(parents=True)
    (log / "receipts.jsonl").write_bytes(held)
    with pytest.raises(LogConflictError):
        export(stick, ledger)
    assert everything_under(log) == {"receipts.jsonl": held}


@attack(By.STICK, On.RECORD, "a log of another key under the device's name", "never overwritten, and told")
def test_another_key_under_our_name_is_left(stick: Path, log: Path, ledger: Ledger) -> None:
    log.mkdir(parents=True)
    (log / "identity.json").write_bytes(identity.encode(device("gw-0001", "another key")[0]))
    with pytest.raises(LogConflictError):
        export(stick, ledger)
    assert [path.name for path in log.iterdir()] == ["identity.json"]


@pytest.mark.parametrize("kept", [0, 1, 500, 100_000])
def test_a_lone_part_of_ours_is_taken_up(stick: Path, log: Path, ledger: Ledger, kept: int) -> None:
    export(stick, ledger)
    whole = (log / "receipts.jsonl").read_bytes()
    (log / "receipts.jsonl").unlink()
    (log / "receipts.jsonl.part").write_bytes(whole[:kept])
    export(stick, ledger)
    assert (log / "receipts.jsonl").read_bytes() == whole
    assert not (log / "receipts.jsonl.part").exists()


def test_a_lone_part_of_another_history_is_left(stick: Path, log: Path, ledger: Ledger) -> None:
    log.mkdir(parents=True)
    held = b"".join(line + b"\n" for line in chain(2, text="another history"))
    (log / "receipts.jsonl.part").write_bytes(held)
    with pytest.raises(LogConflictError):
        export(stick, ledger)
    assert everything_under(log) == {"receipts.jsonl.part": held}


@pytest.mark.parametrize("key", ["", "another key"])
def test_another_history_is_left_where_a_cut_could_have_left_a_part_too(
    stick: Path, log: Path, ledger: Ledger, key: str
) -> None:
    export(stick, ledger)
    held = b"".join(line + b"\n" for line in chain(2, key=key, text="another history"))
    (log / "receipts.jsonl.part").write_bytes(held)
    before = everything_under(log)
    ledger.append(draft(4))
    with pytest.raises(LogConflictError, match=r"receipts\.jsonl\.part"):
        export(stick, ledger)
    assert everything_under(log) == before


def test_an_identity_of_another_key_that_a_cut_left_is_left(stick: Path, log: Path, ledger: Ledger) -> None:
    log.mkdir(parents=True)
    (log / "identity.json.part").write_bytes(identity.encode(device("gw-0001", "another key")[0]))
    with pytest.raises(LogConflictError):
        export(stick, ledger)
    assert [path.name for path in log.iterdir()] == ["identity.json.part"]


@pytest.mark.parametrize("torn", [bytes(900), b"", b"x" * 3000])
def test_what_a_cut_tore_in_its_place_is_mended_while_the_other_one_is_whole(
    stick: Path, log: Path, ledger: Ledger, torn: bytes
) -> None:
    export(stick, ledger)
    receipts = (log / "receipts.jsonl").read_bytes()
    ledger.append(draft(4))
    line = len(next(ledger.lines())) + 1
    (log / "receipts.jsonl").write_bytes(receipts[:line] + torn)
    (log / "receipts.jsonl.part").write_bytes(receipts)
    export(stick, ledger)
    assert (log / "receipts.jsonl").read_bytes().splitlines() == list(ledger.lines())
    assert not (log / "receipts.jsonl.part").exists()


def test_what_is_damaged_in_its_place_is_left_where_no_other_one_is_whole(stick: Path, log: Path, ledger: Ledger) -> None:
    export(stick, ledger)
    receipts = (log / "receipts.jsonl").read_bytes()
    line = len(next(ledger.lines())) + 1
    (log / "receipts.jsonl").write_bytes(receipts[:line] + bytes(900))
    (log / "receipts.jsonl.part").write_bytes(receipts[: line - 1])
    before = everything_under(log)
    with pytest.raises(LogConflictError):
        export(stick, ledger)
    assert everything_under(log) == before


def test_a_stick_that_fills_up_in_the_last_step_holds_all_of_it_all_the_same(
    stick: Path, log: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(stick, ledger)
    ledger.append(draft(4))
    real = durable.rewrite

    def filling(path: Path, contents: bytes, *, begin: int = 0, mode: int = durable.PUBLIC) -> None:
        if path.name == "receipts.jsonl":
            real(path, contents[:-100], begin=begin, mode=mode)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, contents, begin=begin, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "rewrite", filling)
        with pytest.raises(LogStickFullError):
            export(stick, ledger)
    assert (log / "receipts.jsonl.part").read_bytes().splitlines() == list(ledger.lines())
    export(stick, ledger)
    assert sorted(path.name for path in log.iterdir()) == sorted(NAMES)


def test_the_torn_beginning_of_a_first_copy_is_written_anew(stick: Path, log: Path, ledger: Ledger) -> None:
    # FAT may keep the size of a file whose last clusters never arrived.
    log.mkdir(parents=True)
    line = next(ledger.lines())
    (log / "receipts.jsonl.part").write_bytes(line + b"\n" + b"\x00" * 700)
    export(stick, ledger)
    assert (log / "receipts.jsonl").read_bytes().splitlines() == list(ledger.lines())


@pytest.mark.parametrize("where", ["usbupdate", "logs", "gw-0001"])
@pytest.mark.parametrize("kind", ["link", "file", "fifo", "dangling"])
def test_a_trap_in_place_of_a_folder_leads_nowhere(tmp_path: Path, mount: Path, ledger: Ledger, where: str, kind: str) -> None:
    target = tmp_path / "etc"
    target.mkdir()
    trap = mount / {"usbupdate": "usbupdate", "logs": "usbupdate/logs", "gw-0001": "usbupdate/logs/gw-0001"}[where]
    trap.parent.mkdir(parents=True, exist_ok=True)
    plant(trap, kind, target)
    with pytest.raises(LogFolderHostileError):
        export(mount, ledger)
    assert everything_under(target) == {}


@attack(
    By.STICK,
    On.TRUST,
    "a link in place of the log, to a file of the device",
    "written beneath an open folder, without following links",
)
@pytest.mark.parametrize("name", [*NAMES, *(f"{name}.part" for name in NAMES)])
@pytest.mark.parametrize("kind", ["link", "hard link", "folder", "fifo", "dangling"])
def test_a_trap_in_place_of_a_file_leads_nowhere(
    tmp_path: Path, stick: Path, log: Path, ledger: Ledger, name: str, kind: str
) -> None:
    target = tmp_path / "shadow"
    target.write_bytes(b"root")
    log.mkdir(parents=True)
    plant(log / name, kind, target)
    with pytest.raises(LogFolderHostileError):
        export(stick, ledger)
    assert target.read_bytes() == b"root"
    assert [path.name for path in log.iterdir()] == [name]


def plant(trap: Path, kind: str, target: Path) -> None:
    match kind:
        case "link":
            trap.symlink_to(target)
        case "hard link":
            trap.hardlink_to(target)
        case "dangling":
            trap.symlink_to(target.with_name("nowhere"))
        case "fifo":
            os.mkfifo(trap)
        case "file":
            trap.write_bytes(b"")
        case _:
            trap.mkdir()


@attack(By.CHANCE, On.RECORD, "a full stick", "the old log stays until the new one is whole")
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, LogStickFullError),
        (errno.EROFS, StickReadOnlyError),
        (errno.EIO, LogStickError),
        (errno.ENODEV, LogStickError),
    ],
)
def test_a_stick_that_takes_nothing_more_keeps_the_old_log(
    stick: Path, log: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int, error: type[MediumError]
) -> None:
    export(stick, ledger)
    before = everything_under(stick)
    ledger.append(draft(4))

    def failing(descriptor: int, contents: bytes) -> None:
        os.write(descriptor, contents[:10])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_all", failing)
        # The ledger's own checkpoint was kept before the stick began to fail.
        patch.setattr(Ledger, "checkpoint", lambda _: before["usbupdate/logs/gw-0001/checkpoint"])
        with pytest.raises(error):
            export(stick, ledger)
    assert everything_under(stick) == before
    export(stick, ledger)
    assert len((log / "receipts.jsonl").read_bytes().splitlines()) == 4


@attack(By.STICK, On.RECORD, "a counterfeit stick that forgets", "what was written is read back")
def test_a_stick_that_does_not_keep_what_was_written_is_found_out(
    stick: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(stick, ledger)
    before = everything_under(stick)
    ledger.append(draft(4))
    real = durable.rewrite

    def forgetful(path: Path, contents: bytes, *, begin: int = 0, mode: int = durable.PUBLIC) -> None:
        real(path, contents[:-1] + b"\x00" if path.name.startswith("receipts.jsonl") else contents, begin=begin, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "rewrite", forgetful)
        with pytest.raises(LogNotKeptError):
            export(stick, ledger)
    assert everything_under(stick) == before


@attack(
    By.CHANCE, On.RECORD, "a power cut while the log is written", "receipts stay on the device, and the next stick gets them"
)
@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("effect", ["write_all", "sync_directory"])
def test_a_cut_at_any_step_of_the_export_loses_no_receipt(
    stick: Path, log: Path, ledger: Ledger, effect: str, step: int
) -> None:
    export(stick, ledger)
    old = (log / "receipts.jsonl").read_bytes()
    ledger.append(draft(4))
    ledger.checkpoint()
    with cut_at(effect, step):
        export(stick, ledger)
    assert (log / "receipts.jsonl").read_bytes().startswith(old)
    export(stick, ledger)
    assert (log / "receipts.jsonl").read_bytes().splitlines() == list(ledger.lines())
    assert sorted(path.name for path in log.iterdir() if path.suffix != ".part") == sorted(NAMES)


def test_summary_tells_what_happened_and_what_to_do() -> None:
    receipts = [
        envelope_of(1, Event.COMMITTED),
        envelope_of(2, Event.CHECK_FAILED),
    ]
    text = summarise(IDENTITY, receipts, SITUATION).decode()
    assert "Signal:       done, remove" in text
    assert "version 1.1, sequence 7, slot a" in text
    assert text.index("failed its checks") < text.index("is kept")
    assert "check 10-network: failed. no carrier" in text
    assert "What to do: Tell the release office which check failed" in text
    assert "Next step:    Tell the release office which check failed" in text


def test_summary_names_no_next_step_where_all_is_well() -> None:
    text = summarise(IDENTITY, [envelope_of(1, Event.CHECK_FAILED), envelope_of(2, Event.COMMITTED)], SITUATION).decode()
    assert "Next step:    none\n" in text
    assert "2026-03-01 10:20 UTC  installed version 1.1; it passed its trial and is kept" in text


@pytest.mark.parametrize("event", Event)
def test_summary_asks_nobody_without_a_login_to_log_in(event: Event) -> None:
    text = summarise(IDENTITY, [envelope_of(1, event)], SITUATION).decode()
    for line in text.splitlines():
        assert "device check" not in line or "Tell the release office" in line


def test_summary_advises_what_the_error_tree_advises() -> None:
    text = summarise(IDENTITY, [envelope_of(1, Event.REJECTED, problem="bad \x1b stick")], SITUATION).decode()
    assert "What to do: The receipts are safe on the device." in text
    assert text.replace("\n", "").isprintable()


def envelope_of(number: int, event: Event, problem: str = "") -> Receipt:
    stated = draft(number, event, problem=problem)
    if event is Event.CHECK_FAILED:
        stated = replace(stated, checks=(Check("10-network", CheckResult.FAILED, "exit-1", "no carrier"),))
    return Receipt(IDENTITY.device, number, NO_PREVIOUS, stated)
