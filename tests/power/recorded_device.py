"""The reference device from what a power cut left on its disk, and the real agent started on it until it rests.

Two parts of the disk count here: the file system with the device's state and the one with the boot loader's memory. They are
recovered as the device itself would, by a replay of the journal; the boot script is the model in `grub_scripts`. The slots'
contents are not here, only when the slot that was written became whole.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from refdevice.fat32 import open_fat32
from refdevice.partitiontable import Extent
from refdevice.volume import find
from tests.power import grub_scripts
from usbupdate.audit.chain import examine
from usbupdate.audit.copies import LogCopy
from usbupdate.audit.findings import Flaw
from usbupdate.core import identity as identity_form, recordform
from usbupdate.core.layout import IDENTITY, RECEIPTS
from usbupdate.core.receipt import OUTCOMES, Check, CheckResult, Event
from usbupdate.core.record import Committing, DeviceRecord, Idle, Leaving, Recording
from usbupdate.core.words import BootId, Slot
from usbupdate.device.bootloaders import grubenv
from usbupdate.device.bootloaders.grubtries import GrubTriesLoader
from usbupdate.device.configuration import load_configuration
from usbupdate.device.confirm import awaken
from usbupdate.device.ledger import Ledger
from usbupdate.device.machine import ConfiguredGate, Machine, device_drafts, open_ledger
from usbupdate.device.slotfiles import FileSlots
from usbupdate.device.statestore import StateStore
from usbupdate.device.truststore import TrustStore
from usbupdate.errors import BootLoaderError, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from securesystemslib.signer import Signer

    from tests.vm.blockrecord import Cut, Part, Record
    from usbupdate.core.receipt import Receipt
    from usbupdate.device.signals import Signal

BOOTS_TO_REST: Final = 6
_BOOTNAMES: Final = {Slot.A: "A", Slot.B: "B"}
_SLOT_OF: Final = {name: slot for slot, name in _BOOTNAMES.items()}
_BLOCKS: Final = ("grubenv", "committed")
_SETTINGS: Final = """\
[device]
compatible = "usbupdate,reference"
state_dir = "{here}/state"
[trust]
root = "{here}/root.json"
[slots.a]
bootname = "A"
rootfs = "{here}/slot-a"
[slots.b]
bootname = "B"
rootfs = "{here}/slot-b"
[bootloader]
type = "grub"
script = "usbupdate"
environment = "{here}/esp/grubenv"
"""
_RECOVERED: Final = 1
"""The highest exit code of e2fsck with which a device's boot goes on."""


@dataclass(frozen=True, slots=True)
class RecordedDisk:
    """What was done to the parts of a disk that count here.

    `esp` and `state` are where they lie, `esp_before` and `state_before` what they held before; `whole_from` is the number of
    the flush with which the slot that was written became whole, `is_good` whether the release in it passes its checks.
    """

    record: Record
    esp: Part
    state: Part
    esp_before: bytes
    state_before: bytes
    whole_from: int
    is_good: bool

    def cuts(self) -> Iterator[int]:
        """Yield the flushes that made something durable in these parts, and before them the beginning."""
        writes = sorted({entry.number for part in (self.esp, self.state) for entry in self.record.writes_to(part)})
        last = -1
        for flush in self.record.flushes():
            if any(last < number < flush for number in writes):
                yield flush
            last = flush

    def is_other_slot_whole(self, cut: Cut) -> bool:
        """Tell whether all of the release is sure to be in the slot that was written, after a cut."""
        return self.record.last_flush(cut.after) >= self.whole_from


@dataclass(frozen=True, slots=True)
class Rested:
    """How it ended: in which state the cut fell, which slots were started until it rested, and what is wrong."""

    state: str
    slots: tuple[str, ...]
    committed: int
    last_event: str
    problems: tuple[str, ...]


class RecordedDevice:
    """The device of one recording, in a folder, at one path for every cut.

    Args:
        disk: what was recorded.
        folder: an empty one, best in memory.
    """

    def __init__(self, disk: RecordedDisk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._problems: list[str] = []
        (folder / "device.toml").write_text(_SETTINGS.format(here=folder))

    def rest_after(self, cut: Cut) -> Rested:
        """Cut the power, start the device again and again until it rests, and judge it."""
        self._problems = []
        self._lay(cut)
        try:
            before = self._record()
            slots = self._come_to_rest(cut)
            committed, last_event = self._judge(before)
        except (UsbupdateError, OSError, AssertionError, ValueError, LookupError) as error:
            return Rested("?", (), 0, "", (*self._problems, f"{type(error).__name__}: {error}"))
        return Rested(type(before.state).__name__, slots, committed, last_event, tuple(self._problems))

    # --- What a cut leaves --------------------------------------------------------------------------------------------

    def _lay(self, cut: Cut) -> None:
        esp = self._surviving(self._disk.esp_before, cut, self._disk.esp)
        blocks = self._folder / "esp"
        blocks.mkdir(exist_ok=True)
        volume = open_fat32(io.BytesIO(esp), Extent(0, len(esp)))
        for name in _BLOCKS:
            (blocks / name).write_bytes(b"".join(volume.heap.pieces(find(volume, ("grub", name)))))

        image = self._folder / "state.img"
        image.write_bytes(self._surviving(self._disk.state_before, cut, self._disk.state))
        self._recover(image)
        state = self._folder / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(mode=0o700)
        _run("debugfs", "-R", f"rdump / {state}", str(image))

    def _surviving(self, before: bytes, cut: Cut, part: Part) -> bytes:
        contents = bytearray(before)
        for start, data in self._disk.record.surviving(cut, part):
            contents[start : start + len(data)] = data
        return bytes(contents)

    def _recover(self, image: Path) -> None:
        """Do what the device's own `fsck` does before it mounts: what that cannot mend by itself, nobody mends."""
        said, exit_code = _run("e2fsck", "-p", str(image))
        if exit_code > _RECOVERED:
            self._problems.append(f"the state's file system is broken: {said}")
        # And nothing is left that a mount would stumble over.
        said, exit_code = _run("e2fsck", "-f", "-n", str(image))
        if exit_code:
            self._problems.append(f"the state's file system is damaged: {said}")

    # --- What happens then --------------------------------------------------------------------------------------------

    def _come_to_rest(self, cut: Cut) -> tuple[str, ...]:
        booted: list[str] = []
        while len(booted) < BOOTS_TO_REST:
            slot = self._start_boot_loader()
            booted.append(_BOOTNAMES[slot])
            if slot is Slot.B and not self._disk.is_other_slot_whole(cut):
                self._problems.append("a half-written slot was booted")
            rebooter = _Rebooter()
            agent = awaken(self._machine(slot, rebooter), _Silent())
            agent.start()
            agent.announce()
            if not rebooter.was_asked:
                return tuple(booted)
        self._problems.append(f"no rest within {BOOTS_TO_REST} boots")
        return tuple(booted)

    def _start_boot_loader(self) -> Slot:
        """Do what GRUB does with these blocks, and return the slot that it starts."""
        blocks = {name: self._block(name) for name in _BLOCKS}
        start = grub_scripts.usbupdate(grub_scripts.Disk(blocks["grubenv"], blocks["committed"]))
        assert start.slot is not None, "no slot can be started"
        if start.variables is not None:
            (self._folder / "esp/grubenv").write_bytes(grubenv.encode(grubenv.Environment(start.variables)))
        return _SLOT_OF[start.slot]

    def _block(self, name: str) -> dict[str, str] | None:
        try:
            return dict(grubenv.read(self._folder / "esp" / name).variables)
        except BootLoaderError as error:
            self._problems.append(f"{name}: {error}")
            return None

    def _machine(self, slot: Slot, rebooter: _Rebooter) -> Machine:
        configuration = load_configuration(self._folder / "device.toml")
        store = StateStore(configuration.state_dir)
        clock = _Clock(BootId(str(uuid.uuid4())))
        return Machine(
            configuration=configuration,
            store=store,
            loader=GrubTriesLoader(self._folder / "esp/grubenv", _BOOTNAMES, lambda: slot),
            slots=FileSlots(self._folder, {}),
            ledger=open_ledger(configuration),
            clock=clock,
            drafts=device_drafts(configuration, clock, store, "unattended"),
            judge=_Judge(CheckResult.PASSED if self._disk.is_good else CheckResult.FAILED),
            reboot_gate=ConfiguredGate(configuration),
            rebooter=rebooter,
            announcer=_Unheard(),
        )

    # --- What must be true --------------------------------------------------------------------------------------------

    def _judge(self, before: DeviceRecord) -> tuple[int, str]:
        record, receipts = self._record(), self._receipts()
        if not isinstance(record.state, Idle) or record.state.stuck or record.pending:
            self._problems.append(f"not at rest: {record.state}, {len(record.pending)} pending")
        if record.floor < before.floor:
            self._problems.append("the floor fell")
        if record.committed.sequence < before.committed.sequence:
            self._problems.append("a committed release was lost")
        if isinstance(before.state, Committing) and record.committed.slot is not before.state.attempt.slot:
            self._problems.append("a release that had passed was lost")
        if TrustStore(self._folder / "state/trust").newest_root()[0] < record.root.version:
            self._problems.append("the trust store forgot a root that the state remembers")
        self._judge_boot_loader(record)
        self._judge_receipts(record, receipts, before)
        return record.committed.sequence, str(receipts[-1].event) if receipts else ""

    def _judge_boot_loader(self, record: DeviceRecord) -> None:
        memory, named = self._block("grubenv") or {}, self._block("committed") or {}
        for slot, name in _BOOTNAMES.items():
            state = memory.get(f"usbupdate_{name}_state")
            if state != ("good" if slot in record.whole else "bad"):
                self._problems.append(f"slot {slot} is {state}, believed whole: {slot in record.whole}")
        starts = grub_scripts.usbupdate(grub_scripts.Disk(memory, named)).slot
        if {starts, named.get("usbupdate_committed")} != {_BOOTNAMES[record.committed.slot]}:
            self._problems.append(f"slot {starts} would start, {named} is noted, committed is slot {record.committed.slot}")

    def _judge_receipts(self, record: DeviceRecord, receipts: list[Receipt], before: DeviceRecord) -> None:
        ids = Counter(receipt.draft.id for receipt in receipts)
        if any(count > 1 for count in ids.values()):
            self._problems.append("a receipt stands there twice")
        outcomes = sum(receipt.event in OUTCOMES for receipt in receipts)
        attempts = sum(outcome.attempts for outcome in record.outcomes.values())
        if outcomes != attempts:
            self._problems.append(f"{attempts} attempts have {outcomes} outcomes")
        kept = [receipt.draft.after for receipt in receipts if receipt.event in {Event.PROVISIONED, Event.COMMITTED}]
        if not kept or kept[-1] != record.committed.release():
            self._problems.append("the receipts do not say what is committed")
        missing = [owed for owed in _owed(before) if owed not in ids]
        if missing:
            self._problems.append(f"receipts that were owed at the cut are missing: {missing}")

    def _record(self) -> DeviceRecord:
        return recordform.decode((self._folder / "state/state.json").read_bytes())

    def _receipts(self) -> list[Receipt]:
        raw = (self._folder / "state/identity/identity.json").read_bytes()
        identity = identity_form.decode(raw)
        ledger = Ledger.open(self._folder / "state/ledger", identity, _no_signer)
        lines = b"".join(line + b"\n" for line in ledger.lines())
        examined = examine(LogCopy("ledger", identity.device, {IDENTITY: raw, RECEIPTS: lines}, {}), identity, ())
        self._problems += [
            f"the ledger: {finding.sentence()}" for finding in examined.findings if finding.flaw is not Flaw.CHECKPOINT_MISSING
        ]
        return [each.receipt for _, each in sorted(examined.proven.items())]


class _Rebooter:
    def __init__(self) -> None:
        self.was_asked = False

    def reboot(self) -> None:
        self.was_asked = True


class _Silent:
    def began(self, what: str) -> None:
        """Take no notice."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Take no notice."""


class _Unheard:
    def announce(self, signal: Signal, why: str = "") -> None:
        """Nobody is there."""


@dataclass(frozen=True, slots=True)
class _Judge:
    result: CheckResult

    def judge(self) -> tuple[Check, ...]:
        return (Check("recorded", self.result, "" if self.result is CheckResult.PASSED else "exit-1"),)


@dataclass(frozen=True, slots=True)
class _Clock:
    boot: BootId

    def boot_id(self) -> BootId:
        return self.boot

    def monotonic_ms(self) -> int:
        return 1000

    def utc(self) -> datetime:
        return datetime.now(UTC)


def _owed(record: DeviceRecord) -> Iterator[str]:
    """Yield the ids of the receipts that a state obliges to."""
    yield from (draft.id for draft in record.pending)
    match record.state:
        case Idle() | Leaving():
            return
        case Recording(draft):
            yield draft.id
        case state:
            yield state.attempt.draft.id


def _run(*command: str) -> tuple[str, int]:
    finished = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return " ".join(finished.stdout.split()), finished.returncode


def _no_signer() -> Signer:
    message = "nothing is signed while judging"
    raise AssertionError(message)
