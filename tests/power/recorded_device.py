"""The real agent, started on what a power cut left of the reference device, until it rests; and what must be true then.

The boot script is the model in `grub_scripts`. The slots' contents are not here, only when the slot that was written became
whole.
"""

from __future__ import annotations

import uuid
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tests.power import grub_scripts
from tests.power.recorded_disk import Left
from usbupdate.audit.chain import examine
from usbupdate.audit.copies import LogCopy
from usbupdate.audit.findings import Flaw
from usbupdate.core import identity as identity_form
from usbupdate.core.chunks import unpack_here
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
from usbupdate.errors import UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from securesystemslib.signer import Signer

    from tests.power.recorded_disk import RecordedDisk
    from tests.vm.blockrecord import Cut
    from usbupdate.core.receipt import Receipt
    from usbupdate.device.signals import Signal

BOOTS_TO_REST: Final = 6
_BOOTNAMES: Final = {Slot.A: "A", Slot.B: "B"}
_SLOT_OF: Final = {name: slot for slot, name in _BOOTNAMES.items()}
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
        self._left = Left(folder)
        self._problems: list[str] = []
        (folder / "device.toml").write_text(_SETTINGS.format(here=folder))

    def rest_after(self, cut: Cut) -> Rested:
        """Cut the power, start the device again and again until it rests, and judge it."""
        self._problems = []
        try:
            self._left = self._disk.lay(cut, self._folder)
            before = self._left.record()
            slots = self._come_to_rest(cut)
            committed, last_event = self._judge(before)
        except (UsbupdateError, OSError, AssertionError, ValueError, LookupError) as error:
            return Rested("?", (), 0, "", (*self._problems, f"{type(error).__name__}: {error}"))
        return Rested(type(before.state).__name__, slots, committed, last_event, tuple(self._problems))

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
        start = grub_scripts.usbupdate(grub_scripts.Disk(self._left.block("grubenv"), self._left.block("committed")))
        assert start.slot is not None, "no slot can be started"
        if start.variables is not None:
            (self._folder / "esp/grubenv").write_bytes(grubenv.encode(grubenv.Environment(start.variables)))
        return _SLOT_OF[start.slot]

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
            unpacking=lambda: nullcontext(unpack_here),
        )

    # --- What must be true --------------------------------------------------------------------------------------------

    def _judge(self, before: DeviceRecord) -> tuple[int, str]:
        record, receipts = self._left.record(), self._receipts()
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
        memory, named = self._left.block("grubenv") or {}, self._left.block("committed") or {}
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


def _no_signer() -> Signer:
    message = "nothing is signed while judging"
    raise AssertionError(message)
