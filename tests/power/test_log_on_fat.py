"""The log while it is written to a stick with FAT: any of the unflushed writes lost, once and twice in a row.

After each cut an auditor looks at what is there, and the device writes its log again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.inmemory import folder_in_memory
from tests.matrix import By, On, attack
from tests.power.fat_image import MISSING, FatImage
from tests.power.reordered_disk import SECTOR, OperationLog
from tests.power.volatile_disk import Picture, lay_down
from tests.receipts import chain, device, draft
from usbupdate import durable
from usbupdate.audit.copies import find_copies
from usbupdate.audit.devices import Devices, Enrolment, Trust
from usbupdate.audit.findings import Severity
from usbupdate.audit.verdict import Standing, Verdict, verify
from usbupdate.core.merkle import leaf_hash
from usbupdate.core.words import Slot
from usbupdate.device import logexport, logfolder
from usbupdate.device.ledger import Ledger
from usbupdate.device.signals import Signal
from usbupdate.device.summary import Situation
from usbupdate.errors import UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTITY, SIGNER = device("gw-0001")
OLD, NEW = 3, 5
EVERY: Final = 6
SAMPLES: Final = 30
AGAIN: Final = 9
"""Every so manieth cut is followed by another one."""
BLANK: Final = b"\0"
OTHERS: Final = b"".join(line + b"\n" for line in chain(3, "gw-0002"))
"""What another device has written there and removed."""
OWN_OF_BEFORE: Final = b"".join(line + b"\n" for line in chain(NEW))[2 * SECTOR :]
"""Blocks of an earlier copy, which lay there otherwise."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the stick holds before, and what lies in its free blocks."""

    name: str
    held: int
    lay_there: bytes = BLANK


STARTS: Final = (
    Start("first copy", 0),
    Start("first copy over another device's blocks", 0, OTHERS),
    Start("first copy over blocks of its own", 0, OWN_OF_BEFORE),
    Start("older copy", OLD),
    Start("older copy over another device's blocks", OLD, OTHERS),
)


class Bench:
    """A device's ledger, a stick, and an auditor who knows the device and what the stick held before."""

    def __init__(self, top: Path) -> None:
        self.stick = top / "stick"
        self.problems: list[str] = []
        self.layouts = 0
        self._top = top
        self._ledger = Ledger.open(top / "ledger", IDENTITY, lambda: SIGNER)

    def grow(self, count: int) -> None:
        """Let the device have so many receipts."""
        for number in range(self._ledger.count() + 1, count + 1):
            self._ledger.append(draft(number))

    def export(self) -> None:
        """Let the device write its log."""
        logexport.export_log(
            self.stick, IDENTITY, self._ledger, Situation("acme,gw-100", Slot.A, f"1.{self._ledger.count()}", 7, Signal.DONE)
        )

    def verdict(self, seen: int) -> Verdict | None:
        """Return what an auditor says who saw so many receipts before; None where no log is there."""
        if not (self.stick / "usbupdate/logs/gw-0001").is_dir():
            return None
        shutil.rmtree(self._top / "auditor", ignore_errors=True)
        devices = Devices(self._top / "auditor")
        devices.save(Enrolment(IDENTITY, Trust.FINGERPRINT, tuple(leaf_hash(line) for line in chain(seen))))
        (verdict,) = verify(find_copies([self.stick]), devices)
        return verdict

    def cuts(self, lay_there: bytes) -> list[Picture]:
        """Let the device write its log, and return what a cut may leave before each flush."""
        log = OperationLog(self._top, ("stick",), frozenset(), "stick", (), every=EVERY, samples=SAMPLES, lay_there=lay_there)
        with log.recording():
            self.export()
        return [cut.picture for cut in log.cuts]

    def judge(self, picture: Picture, held: int, what: str) -> None:
        """Lay down what a cut left, and let the auditor look at it, the device go on, and the auditor look again."""
        lay_down(picture, self._top, ("stick",))
        self.judge_left(held, what)
        try:
            self.export()
        except UsbupdateError as error:
            self.problems.append(f"{what}: the device does not go on: {error}")
            return
        after = self.verdict(held)
        if after is None or after.standing is not Standing.OK or len(after.receipts) != self._ledger.count():
            told = "" if after is None else [finding.sentence() for finding in after.findings]
            self.problems.append(f"{what}: the next log is not in order: {told}")

    def judge_left(self, held: int, what: str) -> None:
        """Let the auditor look at what a cut left."""
        self.layouts += 1
        verdict = self.verdict(held)
        if verdict is None:
            if held:
                self.problems.append(f"{what}: the whole folder is gone")
            return
        accusing = [finding.sentence() for finding in verdict.findings if finding.severity is not Severity.INCOMPLETE]
        if accusing:
            self.problems.append(f"{what}: the auditor accuses: {accusing}")
        numbers = [receipt.number for receipt in verdict.receipts]
        if numbers[:held] != list(range(1, held + 1)):
            self.problems.append(f"{what}: of {held} receipts that were there {numbers} are left")


@pytest.fixture
def top() -> Iterator[Path]:
    with folder_in_memory("fat") as folder:
        yield Path(folder)


def started(top: Path, start: Start) -> Bench:
    """Return a bench whose stick is as a start says, and whose device has more receipts than that."""
    bench = Bench(top)
    (bench.stick / "usbupdate").mkdir(parents=True)
    if start.held:
        bench.grow(start.held)
        bench.export()
    bench.grow(NEW)
    return bench


def swept(top: Path, start: Start) -> Bench:
    """Cut the writing of a log at every flush, and some of them once more, and return what is wrong."""
    bench = started(top, start)
    cuts = bench.cuts(start.lay_there)
    for number, picture in enumerate(cuts):
        bench.judge(picture, start.held, f"{start.name}, cut {number}")
    for number, picture in list(enumerate(cuts))[::AGAIN]:
        lay_down(picture, top, ("stick",))
        for second, again in enumerate(bench.cuts(start.lay_there)):
            bench.judge(again, start.held, f"{start.name}, cut {number} and again {second}")
    return bench


@attack(
    By.CHANCE,
    On.RECORD,
    "a power cut while the log is written to FAT, after which any of the unflushed writes are there, and the others not",
    "the log is written twice, and one of the two is whole at every instant",
)
@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.name)
def test_whatever_a_cut_leaves_of_a_log_nobody_is_accused_and_the_next_one_is_whole(top: Path, start: Start) -> None:
    bench = swept(top, start)
    assert bench.problems[:5] == []
    assert bench.layouts > 100


@pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}")
@pytest.mark.parametrize("start", [STARTS[0], STARTS[3]], ids=lambda start: start.name)
def test_whatever_sectors_of_a_real_fat_a_cut_keeps_nobody_is_accused(
    top: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    bench = swept_on_real_fat(top, start, monkeypatch)
    assert bench.problems == []
    assert bench.layouts > 100


def swept_on_real_fat(top: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Do to a file system in an image what is done to a log, keep any of the sectors of each step, and judge what is left."""
    bench = started(top, start)
    log = bench.stick / "usbupdate/logs/gw-0001"
    image = FatImage(top / "image", ("usbupdate", "logs", "gw-0001"))
    for path in log.iterdir() if start.held else ():
        image.write(path.name, path.read_bytes())
    steps: list[tuple[str, bytes | None]] = []
    rewrite, remove = durable.rewrite, durable.remove

    def rewriting(path: Path, contents: bytes, *, begin: int = 0) -> None:
        steps.append((path.name, contents))
        rewrite(path, contents, begin=begin)

    def removing(path: Path) -> None:
        steps.append((path.name, None))
        remove(path)

    monkeypatch.setattr(durable, "rewrite", rewriting)
    monkeypatch.setattr(durable, "remove", removing)
    bench.export()
    for seed, (name, contents) in enumerate(steps):
        before = image.contents()
        if contents is None:
            image.remove(name)
        else:
            image.write(name, contents)
        for number in image.torn(before, image.contents(), SAMPLES, seed):
            image.copy_out(log)
            bench.judge_left(start.held, f"step {seed}, {name}, layout {number}")
    return bench


def test_the_sweep_finds_a_log_that_gets_its_name_by_a_rename(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(log: object, name: str, contents: bytes) -> None:
        durable.save(log._folder / name, contents)  # type: ignore[attr-defined]

    monkeypatch.setattr(logfolder.LogFolder, "save", save)
    assert swept(top, STARTS[3]).problems


def write_once(log: object, name: str, contents: bytes) -> None:
    durable.rewrite(log._folder / name, contents)  # type: ignore[attr-defined]


def test_the_sweep_finds_a_log_that_is_written_once_only(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfolder.LogFolder, "save", write_once)
    assert swept(top, STARTS[3]).problems


@pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}")
def test_on_a_real_fat_too_the_sweep_finds_a_log_that_is_written_once_only(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfolder.LogFolder, "save", write_once)
    assert swept_on_real_fat(top, STARTS[3], monkeypatch).problems
