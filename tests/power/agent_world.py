"""An office, its sticks and one simulated device with the real agent, in which the power is cut and everything is judged."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, assert_never

from tests.power.agent_scenarios import Release, Scenario, Tally, Way
from tests.power.standing_in import standing_in
from tests.power.volatile_disk import Cut, Picture, Recorder, lay_down
from usbupdate.audit.chain import examine
from usbupdate.audit.copies import LogCopy, find_copies
from usbupdate.audit.devices import Devices, Enrolment, Trust
from usbupdate.audit.findings import Flaw
from usbupdate.audit.verdict import verify
from usbupdate.core import checkpoint, identity as identity_form, merkle, recordform
from usbupdate.core.acknowledgements import Received
from usbupdate.core.authorisation import used_in
from usbupdate.core.chunks import unpack_here
from usbupdate.core.layout import IDENTITY, RECEIPTS
from usbupdate.core.receipt import OUTCOMES, Event
from usbupdate.core.record import DeviceRecord, Idle, Leaving, Recording
from usbupdate.core.words import DeviceId, Slot
from usbupdate.device import ledger as ledgers
from usbupdate.device.bootloaders import simulated
from usbupdate.device.identity import load_signer
from usbupdate.device.ledger import Ledger
from usbupdate.device.obligations import Rest
from usbupdate.device.truststore import TrustStore
from usbupdate.errors import BusyError, MediumError, RefusedError, RejectedError, UsbupdateError
from usbupdate.packager import acknowledgers, acknowledging, bundle, downgrade, keys, office, stick
from usbupdate.packager.office import Hands
from usbupdate.packager.pack import Packing
from usbupdate.simulate import hardware
from usbupdate.simulate.bench import BOOT_LOADER_FILE, Bench, Mishaps
from usbupdate.simulate.setup import ROOTFS, Plan, create

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from securesystemslib.signer import Signer

    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Receipt
    from usbupdate.packager.office import Office

CHUNK: Final = 256 << 10
CHUNKS: Final = 16
BOOTS_TO_REST: Final = 6
COMPATIBLE: Final = "acme,gw"
BEFORE, FIRST, OFFERED, CURE = 1, 2, 3, 4
"""Releases by sequence: what a used device has in its other slot, what it runs, what the stick of a scenario brings, and a good
one that comes after all."""

_DEVICE: Final = "lab/dev"
CONSTANT: Final = frozenset({"metadata", "targets", "payload"})
_INCOMPLETE: Final = frozenset(
    {
        Flaw.RECEIPTS_MISSING,
        Flaw.IDENTITY_MISSING,
        Flaw.CHECKPOINT_MISSING,
        Flaw.CHECKPOINT_BEHIND,
        Flaw.TORN,
    }
)
"""What an interrupted export may look like: a copy that is older than the device, or not whole yet. Nothing that accuses."""


class Quiet:
    """A person who does not look."""

    def began(self, what: str) -> None:
        """Take no notice."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Take no notice."""


class World:
    """Everything in one folder, at one path: a picture of the device is laid down there, and the agent runs on it.

    Args:
        top: an empty folder, best in memory.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self._contents: dict[int, bytes] = {}
        self.tally = Tally()
        self.boots = 0
        self.problems: list[str] = []
        self._now = datetime.now(UTC)
        self._office, _ = office.create(top / "repo", self._now)
        self._root = top / "repo/metadata/1.root.json"
        self._images = {release: self._image(release) for release in (BEFORE, FIRST, OFFERED, CURE)}
        (top / "lab").mkdir()
        (top / "sticks").mkdir()
        self._make_sticks()
        self._starts: dict[str, Picture] = {}
        self._identity: Identity | None = None
        self._arrived: dict[str, list[bytes]] = {}

    # --- What there is ------------------------------------------------------------------------------------------------

    def _image(self, release: int) -> Path:
        """Make an image of 16 chunks: two of zeros, four the same in every release, the others with a few bytes of its own."""
        noise = random.Random(release)  # noqa: S311 - bytes that look like an image, not a secret
        same = random.Random(99)  # noqa: S311 - the same
        chunks = []
        for number in range(CHUNKS):
            source = same if number % 4 == 0 else noise
            chunks.append(bytes(CHUNK) if number in {3, 9} else source.randbytes(2048).ljust(CHUNK, b"\0"))
        contents = b"".join(chunks)
        path = self.top / f"image-{release}"
        path.write_bytes(contents)
        self._contents[release] = contents
        return path

    def _release(self, made: Office, name: str, sequence: int, compatible: str = COMPATIBLE) -> None:
        order = bundle.Order(name, f"1.{sequence}", sequence, (compatible,), {"rootfs": self._images[sequence]})
        bundle.create(made, order, self._now, how=Packing(level=1, threads=1))

    def _make_sticks(self) -> None:
        keys.create(self._key)
        acknowledgers.name(self._office, str(self._key), None, self._now)
        self._release(self._office, "gw", FIRST)
        self._write("first")
        self._release(self._office, "gw", OFFERED)
        self._write("good")
        self._write("rejected")
        # The last pack or index is another one than the signed manifest names.
        for file in (self.top / "sticks/rejected/usbupdate/payload").rglob("*"):
            if file.is_file():
                raw = bytearray(file.read_bytes())
                raw[-1] ^= 1
                file.write_bytes(bytes(raw))
        self._write("logs", stick.Wishes(log_only=True))
        self._release(self._office, "other", OFFERED, "acme,another")
        self._write("refused", stick.Wishes(("other",)))
        self._office, _ = office.rotate(self._office, self._now, Hands())
        self._write("rotates", stick.Wishes(("gw",)))
        self._release(self._office, "gw", CURE)
        self._write("cure", stick.Wishes(("gw",)))

    def _write(self, name: str, wishes: stick.Wishes | None = None) -> None:
        mount = self.top / "sticks" / name
        mount.mkdir(exist_ok=True)
        stick.write(stick.plan(self._office, self._now, wishes), mount)

    def plan(self, release: int) -> Plan:
        """Return the device that is provisioned with a release."""
        images = {ROOTFS: self._images[release]}
        return Plan(images, COMPATIBLE, self._root, DeviceId("gw-1"), (), f"1.{release}", release)

    def start(self, scenario: Scenario) -> Picture:
        """Return the device and the stick before the first step of a scenario."""
        if scenario.name not in self._starts:
            self.lay(Picture(), scenario)
            create(self.device, self.plan(BEFORE if scenario.is_used or scenario.is_ordered_back else FIRST))
            if scenario.holds_older_log and scenario.is_acknowledged:
                self._write(scenario.stick, stick.Wishes(log_only=True))
            if scenario.holds_older_log:
                self._bench().insert(self.top / "sticks" / scenario.stick)
            if scenario.is_used:
                self._update_from("first")
            if scenario.is_ordered_back:
                self._update_from("good")
                self._order_back(scenario.stick)
            if scenario.is_acknowledged:
                self._acknowledge(scenario.stick)
            if scenario.is_stick_in:
                self._update_from(scenario.stick)
                self._bench().insert(self.top / "sticks" / scenario.stick)
            if scenario.is_installed:
                assert self._bench().insert(self.top / "sticks" / scenario.stick).rest is Rest.REBOOTING
            self._starts[scenario.name] = self.recorder(scenario).picture()
        return self._starts[scenario.name]

    def _order_back(self, name: str) -> None:
        """Write a stick that takes the device back to the first release; only now is its key known."""
        wish = downgrade.Wish("gw-1", self.identity().fingerprint, f"gw-{FIRST}", "CHG-1", floor=OFFERED)
        downgrade.allow(self._office, wish, self._now)
        shutil.rmtree(self.top / "sticks" / name, ignore_errors=True)
        self._write(name, stick.Wishes((f"gw-{FIRST}",)))

    @property
    def _key(self) -> Path:
        return self.top / "repo/keys/audit.pem"

    def _acknowledge(self, name: str) -> None:
        """Write a stick that brings a release and word that all receipts so far have arrived; only now are there some."""
        identity = self.identity()
        lines = list(self._ledger().lines())
        leaves = tuple(map(merkle.leaf_hash, lines))
        note = checkpoint.sign(identity, len(lines), merkle.root(leaves), load_signer(self.device / "state"))
        done = acknowledging.acknowledge(self._office, [Received(identity, note, leaves)], str(self._key), self._now)
        assert done.fresh == (identity.device,)
        self._arrived[identity.fingerprint] = lines
        self._write(name, stick.Wishes((f"gw-{OFFERED}",)))
        # The next device that is acknowledged is another one of the same name.
        (self._office.path / acknowledging.FILE).unlink()

    def _ledger(self) -> Ledger:
        return Ledger.open(self.device / "state/ledger", self.identity(), _no_signer)

    def _seen(self) -> tuple[bytes, ...]:
        """Return the leaf hashes of the receipts that have arrived at the office."""
        return tuple(map(merkle.leaf_hash, self._arrived.get(self.identity().fingerprint, ())))

    def _update_from(self, name: str) -> None:
        self._bench().insert(self.top / "sticks" / name)
        assert self._bench().boot(Mishaps()).rest is Rest.IDLE
        self._bench().remove()

    @property
    def device(self) -> Path:
        """Where the device is."""
        return self.top / _DEVICE

    def lay(self, picture: Picture, scenario: Scenario) -> None:
        """Make device and stick what a picture shows."""
        lay_down(picture, self.top, ("lab", f"sticks/{scenario.stick}/usbupdate/logs"))
        (self.top / "lab").mkdir(exist_ok=True)

    def recorder(self, scenario: Scenario) -> Recorder:
        """Return what sees every change of device and stick."""
        stick_folder = f"sticks/{scenario.stick}/usbupdate"
        return Recorder(self.top, ("lab", stick_folder), CONSTANT, stick_folder)

    # --- What happens -------------------------------------------------------------------------------------------------

    def _bench(self) -> Bench:
        return Bench(self.device, self._hear, Quiet(), workers=1, unpacking=lambda: nullcontext(unpack_here))

    def _hear(self, line: str) -> None:
        """Look at the slot's bytes at every boot that the console tells of."""
        if line.startswith("boot of slot "):
            slot = line.removeprefix("boot of slot ")[0]
            if "kernel panic" not in line:
                self.boots += 1
            if self._held(Slot(slot)) is None:
                self.problems.append(f"a half-written slot was booted: {slot}")

    def _held(self, slot: Slot) -> int | None:
        """Return which release a slot holds, every byte of it, or nothing."""
        held = (self.device / f"slots/{slot}.img").read_bytes()
        return next((release for release, contents in self._contents.items() if contents == held), None)

    def step(self, way: Way, scenario: Scenario, name: str = "", mishaps: Mishaps | None = None) -> None:
        """Do one thing to the device, and note what it should not have answered."""
        mishaps = scenario.mishaps if mishaps is None else mishaps
        self.tally.runs += 1
        try:
            self.perform(way, scenario, name, mishaps)
        except (RefusedError, RejectedError, MediumError, BusyError) as error:
            self.tally.errors[type(error).__name__] += 1
            if not name and scenario.release is Release.GOOD and scenario.is_taken:
                self.problems.append(f"a good stick was answered by {type(error).__name__}: {error}")
        except (UsbupdateError, OSError, AssertionError, ValueError, LookupError, TypeError) as error:
            self.problems.append(f"{way} ended in {type(error).__name__}: {error}")

    def perform(self, way: Way, scenario: Scenario, name: str, mishaps: Mishaps) -> None:
        """Do one thing to the device."""
        with _pressed_for_room() if scenario.is_acknowledged else nullcontext():
            self._perform(way, scenario, name, mishaps)

    def _perform(self, way: Way, scenario: Scenario, name: str, mishaps: Mishaps) -> None:
        match way:
            case Way.INSERT:
                self._bench().insert(self.top / "sticks" / (name or scenario.stick))
            case Way.BOOT:
                self._bench().boot(mishaps)
            case Way.BOOT_WITHOUT:
                self._bench().remove()
                self._bench().boot(mishaps)
            case _:
                assert_never(way)

    def settle(self, way: Way, scenario: Scenario, name: str = "", mishaps: Mishaps | None = None) -> None:
        """Do one thing and take every restart that is asked for."""
        self.boots = 0
        self.step(way, scenario, name, mishaps)
        if way is Way.INSERT and hardware.load(self.device).reboot_requested:
            self.step(Way.BOOT, scenario, name, mishaps)
        if self.boots > BOOTS_TO_REST:
            self.problems.append(f"no rest within {BOOTS_TO_REST} boots, but {self.boots}")

    def recorded(self, way: Way, scenario: Scenario) -> list[Cut]:
        """Do one thing, take every restart that is asked for, and return every cut that can fall meanwhile."""
        recorder = self.recorder(scenario)
        with recorder.recording():
            self.settle(way, scenario)
        return recorder.cuts

    # --- What must be true --------------------------------------------------------------------------------------------

    def record(self) -> DeviceRecord:
        """Return the device's state."""
        return recordform.decode((self.device / "state/state.json").read_bytes())

    def receipts(self) -> list[Receipt]:
        """Return the device's receipts, and note every flaw of their chain."""
        identity = self.identity()
        raw_identity = (self.device / "state/identity/identity.json").read_bytes()
        ledger = self._ledger()
        given_up = self._arrived.get(identity.fingerprint, [])[: ledger.first() - 1]
        lines = b"".join(line + b"\n" for line in (*given_up, *ledger.lines()))
        examined = examine(LogCopy("ledger", identity.device, {IDENTITY: raw_identity, RECEIPTS: lines}, {}), identity, ())
        self.problems += [
            f"the ledger: {finding.sentence()}" for finding in examined.findings if finding.flaw is not Flaw.CHECKPOINT_MISSING
        ]
        return [each.receipt for _, each in sorted(examined.proven.items())]

    def identity(self) -> Identity:
        """Return who the device is."""
        return identity_form.decode((self.device / "state/identity/identity.json").read_bytes())

    def judge_cut(self, scenario: Scenario) -> None:
        """Note what is wrong at the moment of the cut: a slot that may be booted and is not whole, a log that accuses."""
        self.judge_bootable_slots()
        self._judge_stick(scenario)

    def judge_bootable_slots(self) -> None:
        """Note every slot that may be booted and is not whole."""
        for slot, found in simulated.status(self.device / BOOT_LOADER_FILE).items():
            if found.good and self._held(slot) is None:
                self.problems.append(f"slot {slot} could be booted half-written")

    def _judge_stick(self, scenario: Scenario) -> None:
        logs = self.top / "sticks" / scenario.stick / "usbupdate/logs"
        if not logs.is_dir() or not any(logs.iterdir()):
            return
        identity = self.identity()
        for place in find_copies([self.top / "sticks" / scenario.stick]):
            for finding in examine(place.read(), identity, self._seen()).findings:
                self.tally.flaws[finding.flaw] += 1
                if finding.flaw not in _INCOMPLETE:
                    self.problems.append(f"the stick after the cut: {finding.sentence()}")

    def judge_rest(self, before: DeviceRecord | None) -> None:
        """Note what is wrong with a device at rest; `before` is its state at the last cut."""
        record, receipts, here = self.record(), self.receipts(), hardware.load(self.device)
        running = self._held(here.booted)
        if not isinstance(record.state, Idle) or record.state.stuck or record.pending:
            self.problems.append(f"not at rest: {record.state}, {len(record.pending)} pending")
        if here.booted is not record.committed.slot or running != record.committed.sequence:
            self.problems.append(f"slot {here.booted} runs release {running}, committed is {record.committed}")
        for slot, installed in record.whole.items():
            if self._held(slot) != installed.sequence:
                self.problems.append(f"slot {slot} is believed whole and is not")
        self.judge_boot_loader(record)
        if TrustStore(self.device / "state/trust").newest_root()[0] < record.root.version:
            self.problems.append("the trust store forgot a root that the state remembers")
        self._judge_receipts(record, receipts, before)

    def judge_boot_loader(self, record: DeviceRecord) -> None:
        """Note where the boot loader remembers otherwise than the device."""
        for slot, found in simulated.status(self.device / BOOT_LOADER_FILE).items():
            if found.good is not (slot in record.whole):
                self.problems.append(f"slot {slot} can be booted: {found.good}, believed whole: {slot in record.whole}")

    def judge_status(self) -> None:
        """Note where `status` says otherwise than the device's own files."""
        told, record = self._bench().status(), self.record()
        expected = (record.committed.sequence, "idle", str(record.committed.slot), len(self.receipts()), False)
        if tuple(told[key] for key in ("sequence", "state", "booted", "receipts", "reboot_pending")) != expected:
            self.problems.append(f"status says {told} and not {expected}")

    def _judge_receipts(self, record: DeviceRecord, receipts: list[Receipt], before: DeviceRecord | None) -> None:
        ids = Counter(receipt.draft.id for receipt in receipts)
        if any(count > 1 for count in ids.values()):
            self.problems.append("a receipt stands there twice")
        outcomes = [receipt for receipt in receipts if receipt.event in OUTCOMES]
        attempts = sum(outcome.attempts for outcome in record.outcomes.values())
        if len(outcomes) != attempts:
            self.problems.append(f"{attempts} attempts have {len(outcomes)} outcomes")
        kept = [receipt for receipt in receipts if receipt.event in {Event.PROVISIONED, Event.COMMITTED, Event.FELL_BACK}]
        if not kept or kept[-1].draft.after != record.committed.release():
            self.problems.append("the receipts do not say what is committed")
        highest, used = 0, 0
        for receipt in kept:
            by, sequence = used_in(receipt.draft.checks), receipt.draft.after.sequence if receipt.draft.after else 0
            highest, used = (max(highest, sequence), used) if by is None else (sequence, by.number)
        if record.downgrade_number != used:
            self.problems.append(f"the authorisation {record.downgrade_number} is used up, and the receipts say {used}")
        if record.floor != highest:
            self.problems.append(f"the floor is {record.floor}, and {highest} was committed")
        if highest != record.committed.sequence:
            self.problems.append("a committed good release was lost")
        if before is not None:
            if record.floor < before.floor and record.downgrade_number == before.downgrade_number:
                self.problems.append("the floor fell")
            missing = [owed for owed in _owed(before) if owed not in ids]
            if missing:
                self.problems.append(f"receipts that were owed at the cut are missing: {missing}")

    def judge_cure(self, scenario: Scenario) -> None:
        """Put a good stick in, with no further cut: it must end committed, and the auditor must find nothing."""
        brought = FIRST if scenario.is_ordered_back else OFFERED
        name, sequence = (scenario.stick, brought) if scenario.ends_committed else ("cure", CURE)
        mount = self.top / "sticks" / name
        if name == "cure":
            shutil.rmtree(mount / "usbupdate/logs", ignore_errors=True)
        self._bench().remove()
        self.settle(Way.INSERT, scenario, "" if name == scenario.stick else name, Mishaps())
        self.judge_rest(None)
        if self.record().committed.sequence != sequence:
            self.problems.append(f"a good stick is refused afterwards: {self.record().committed}")
        folder = self.top / "auditor"
        shutil.rmtree(folder, ignore_errors=True)
        devices = Devices(folder)
        devices.save(Enrolment(self.identity(), Trust.FINGERPRINT, self._seen()))
        for verdict in verify(find_copies([mount]), devices):
            if verdict.findings or verdict.count != len(self.receipts()):
                found = [finding.sentence() for finding in verdict.findings]
                self.problems.append(f"the auditor finds {len(verdict.receipts)} receipts and {found}")

    def judged(self, what: str) -> None:
        """Put down everything that was noted since the last time, with what led to it."""
        self.tally.violations += [f"{what}: {problem}" for problem in self.problems]
        self.problems.clear()


def _pressed_for_room() -> AbstractContextManager[None]:
    """Let the ledger give up whatever has arrived, but for its last receipt."""
    return standing_in(ledgers, {"TRIM_ABOVE": 0, "TRIM_TO": 0, "LINES_KEPT": 1})


def state_in(picture: Picture) -> DeviceRecord | None:
    """Return the device's state in a picture."""
    found = picture.get(f"{_DEVICE}/state/state.json")
    return None if found is None else recordform.decode(found.contents)


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
