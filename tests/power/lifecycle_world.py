"""A whole device as one value, on which the product's real lifecycle, policy and obligations run, and a power cut anywhere.

`explore` searches every power cut exhaustively: from each durable situation in which the power can come back, the agent runs
until each of its effects in turn and is cut there. Situations that were seen are not searched twice.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tests.power.boot_loader_models import Ours
from usbupdate.core import recordform
from usbupdate.core.authorisation import Authorisation, check_of
from usbupdate.core.lifecycle import Boot
from usbupdate.core.manifest import Artifact, Blob, Kind, Manifest
from usbupdate.core.policy import Insertion, Offer, Recipient, choose, with_authorisations
from usbupdate.core.receipt import (
    OUTCOMES,
    BundleRef,
    Check,
    CheckResult,
    ClockQuality,
    Draft,
    Event,
    Moment,
    Traffic,
)
from usbupdate.core.record import Activating, Attempt, DeviceRecord, Installed, KnownRoot, Leaving, Recording, Trial
from usbupdate.core.words import BootId, BundleName, DeviceId, Digest, ReceiptId, Slot, SlotClass
from usbupdate.device.obligations import Obligations, Ports, Rest
from usbupdate.errors import BootLoaderError, LedgerError, MediumUnreadableError, RefusedError, SlotWriteError, StoreFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.power.boot_loader_models import Memory
    from usbupdate.core.lifecycle import Tried
    from usbupdate.device.ports import Progressed

ROOTFS: Final = SlotClass("rootfs")
CHUNKS: Final = 2
BOOTS_TO_REST: Final = 6
FIRMWARE_RESETS_MAX: Final = 20
BEFORE, RUNNING, OFFERED, NEWER = 1, 2, 3, 4
"""The releases, by sequence: what a used device has in its other slot, what it runs, what the stick brings, and what a device
runs that is ordered back to it."""
ORDINARY_CYCLES: Final = 10
RECIPIENT: Final = Recipient(DeviceId("model"), frozenset(), "acme,gw", Digest("f" * 64))


class Behaviour(StrEnum):
    """How a release behaves."""

    GOOD = "good"
    NEVER_COMES_UP = "never-comes-up"
    FAILS_CHECKS = "fails-checks"
    STOPS_LATER = "stops-later"


class Fault(StrEnum):
    """What else is broken, besides the power."""

    NONE = "none"
    LEDGER = "ledger"
    MEDIUM = "medium"
    SLOT = "slot"
    LOADER_IGNORES_BAD = "loader-ignores-bad"
    ENVIRONMENT_LOST = "environment-lost"
    STORE = "store"
    """Each time that the record is saved this may fail, as often as the power may be cut; it works again afterwards."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is broken any more once the device rests."""
        return self in {Fault.NONE, Fault.STORE}


class Failure(StrEnum):
    """What ends a run of the agent."""

    POWER = "power"
    STORE = "the record cannot be saved"
    STORE_AFTERWARDS = "the record is saved, and whoever saved it is told that it is not"


@dataclass(frozen=True, slots=True)
class Situation:
    """A world in which an agent starts; `running` is the slot and the boot that go on, or None after a power cycle."""

    world: World
    cuts: int
    insertion: Insertion | None
    running: tuple[Slot, BootId] | None = None

    def key(self) -> tuple[object, ...]:
        return self.world.key(), self.cuts, self.insertion, self.running


class PowerCutError(Exception):
    """The power went."""


@dataclass(frozen=True)
class World:
    """Everything durable, and what is plugged in."""

    record: DeviceRecord
    memory: Memory
    contents: tuple[tuple[int, int], tuple[int, int]]
    """For slot a and b: which release, and how many of its chunks."""
    ledger: tuple[tuple[str, Event], ...] = ()
    stick: int = 0
    """Which release the stick that is in offers; 0: none is in."""
    boots: int = 0
    """Boots in which an agent ran since the last cut."""

    def key(self) -> tuple[object, ...]:
        return (
            recordform.encode(self.record),
            self.memory,
            self.contents,
            self.ledger,
            self.stick,
            self.boots,
        )


@dataclass(frozen=True)
class Scenario:
    """What is true of one search."""

    memory: Memory
    behaviour: Behaviour
    fault: Fault = Fault.NONE
    cuts: int = 2
    is_stick_left_in: bool = True
    is_pulled_at_cut: bool = False
    is_used: bool = False
    """Whether the other slot holds an older whole release, which the boot loader would start."""
    is_ordered_back: bool = False
    """Whether the device runs a newer release than the stick brings, and an authorisation is on the stick."""

    @property
    def running(self) -> int:
        return NEWER if self.is_ordered_back else RUNNING


@dataclass
class Findings:
    """What a search saw."""

    situations: int = 0
    runs: int = 0
    rests: int = 0
    violations: list[str] = field(default_factory=list)


MOMENT: Final = Moment(BootId("0"), 0, "2026-01-01T00:00:00Z", ClockQuality.FLOOR)


def image(release: int) -> Blob:
    return Blob(Digest(f"{release:064x}"), CHUNKS)


def installed(slot: Slot, release: int) -> Installed:
    return Installed(slot, f"1.{release}", release, {ROOTFS: image(release)})


def offer(release: int) -> Offer:
    artifact = Artifact(ROOTFS, image(release), 1 << 18, Blob(Digest("1" * 64), 1), ())
    compatible = (RECIPIENT.compatible,)
    manifest = Manifest(BundleName("gw"), f"1.{release}", release, compatible, Kind.FEATURE, MOMENT.wall, (artifact,))
    return Offer(manifest, Digest(f"{release + 1000:064x}"))


ORDER: Final = Authorisation(
    RECIPIENT.id, RECIPIENT.fingerprint, 1, offer(OFFERED).manifest_sha256, NEWER, "CHG-1", "2027-01-01T00:00:00Z"
)


def new_world(scenario: Scenario) -> World:
    running = scenario.running
    first = installed(Slot.A, running)
    record = DeviceRecord(committed=first, whole={Slot.A: first}, floor=running, root=KnownRoot(1, Digest("2" * 64)))
    if not scenario.is_used:
        return World(record, scenario.memory, ((running, CHUNKS), (0, 0)), stick=OFFERED)
    memory = scenario.memory
    for slot in (Slot.B, Slot.A):
        *_, memory = memory.mark_active(slot)
        *_, memory = memory.mark_good(slot)
    record = replace(record, whole={Slot.A: first, Slot.B: installed(Slot.B, BEFORE)})
    return World(record, memory, ((running, CHUNKS), (BEFORE, CHUNKS)), stick=OFFERED)


class Machine:
    """Runs one boot of the agent on a world; implements every port that the obligations need.

    Each durable effect is preceded by a chance for the cut; `effects` counts them, and `saves` says which are the store's.
    """

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        slot: Slot,
        boot_id: BootId,
        cut_at: int | None,
        failure: Failure = Failure.POWER,
    ) -> None:
        self.world = world
        self.scenario = scenario
        self.slot = slot
        self.boot_id = boot_id
        self.effects = 0
        self.saves: list[int] = []
        self.seen_floor = world.record.floor
        self.violations: list[str] = []
        self._cut_at = cut_at
        self._failure = failure

    def run(self, insertion: Insertion | None) -> Rest:
        """Run the agent until it rests; offers of the stick are taken as the agent takes them."""
        ports = Ports(self, self, self, self, self, self, self, self)
        obligations = Obligations(self.world.record, Boot(self.slot, self.boot_id), ports)
        obligations.resume()
        rest = obligations.settle()
        tried: set[int] = set()
        while rest is Rest.IDLE and insertion is not None and self.world.stick and self.world.stick not in tried:
            tried.add(self.world.stick)
            try:
                orders = [ORDER] if self.scenario.is_ordered_back else []
                offers = with_authorisations([offer(self.world.stick)], orders)
                chosen = choose(offers, RECIPIENT, obligations.record, insertion, MOMENT.wall)
            except RefusedError:
                break
            if chosen is None:
                break
            obligations.install(self._attempt(obligations.record, chosen, insertion), _Installation(self))
            rest = obligations.settle()
        return rest

    def _attempt(self, record: DeviceRecord, chosen: Offer, insertion: Insertion) -> Attempt:
        earlier = record.outcomes.get(chosen.manifest_sha256)
        retakes = earlier.retakes + 1 if earlier is not None and insertion is Insertion.FOUND else 0
        target = installed(self.slot.other, chosen.manifest.sequence)
        bundle = BundleRef(chosen.manifest.name, chosen.manifest_sha256)
        checks = () if chosen.authorisation is None else (check_of(chosen.authorisation),)
        draft = replace(self.blank(), event=Event.INTERRUPTED, bundle=bundle, checks=checks)
        return Attempt(target, draft, retakes)

    def _effect(self) -> None:
        if self._cut_at == self.effects and self._failure is Failure.POWER:
            raise PowerCutError
        self.effects += 1

    def run_installation(self, attempt: Attempt, progressed: Progressed) -> Traffic:
        release = attempt.target.sequence
        index = 0 if attempt.slot is Slot.A else 1
        has_begun = False
        while self.world.contents[index] != (release, CHUNKS):
            if self.scenario.fault is Fault.MEDIUM:
                raise MediumUnreadableError(name="pack", problem="pulled")
            if self.scenario.fault is Fault.SLOT:
                raise SlotWriteError(slot_class="rootfs", problem="worn out")
            held, chunks = self.world.contents[index]
            self._effect()
            written = (release, chunks + 1 if held == release else 1)
            contents = (written, self.world.contents[1]) if index == 0 else (self.world.contents[0], written)
            self.world = replace(self.world, contents=contents)
            if not has_begun:
                has_begun = True
                progressed()
        return Traffic()

    # Store
    def save(self, record: DeviceRecord) -> None:
        is_failing = self._cut_at == self.effects and self._failure is not Failure.POWER
        self.saves.append(self.effects)
        self._effect()
        if is_failing and self._failure is Failure.STORE:
            raise StoreFailedError(path="state.json", problem="full")
        is_used_up = record.downgrade_number > self.world.record.downgrade_number
        if record.floor < self.seen_floor and not (is_used_up and record.committed != self.world.record.committed):
            self.violations.append("the floor fell")
        if record.floor < record.committed.sequence or record.downgrade_number < self.world.record.downgrade_number:
            self.violations.append("the floor is below what is committed, or an authorisation counts again")
        self.seen_floor = record.floor
        self.violations += _receipt_that_disagrees(record, self.slot)
        assert recordform.decode(recordform.encode(record)) == record
        self.world = replace(self.world, record=record)
        if is_failing:
            raise StoreFailedError(path="state.json", problem="the folder could not be synced")

    # BootLoader
    def booted(self) -> Slot:
        return self.slot

    def mark_good(self, slot: Slot) -> None:
        self._remember(self.world.memory.mark_good(slot))

    def mark_bad(self, slot: Slot) -> None:
        if slot is self.world.record.committed.slot:
            self.violations.append("the committed slot was marked bad")
        if self.scenario.fault is Fault.LOADER_IGNORES_BAD:
            if self.world.memory.can_choose(slot):
                raise BootLoaderError(problem="the slot could still be chosen")
            return
        self._remember(self.world.memory.mark_bad(slot))

    def mark_active(self, slot: Slot) -> None:
        self._remember(self.world.memory.mark_active(slot))

    def was_tried(self, slot: Slot) -> Tried:
        return self.world.memory.was_tried(slot)

    def is_on_trial(self, slot: Slot) -> bool | None:
        raise AssertionError("asked only where the state is gone")

    # DeadMan
    def stand_down(self) -> None:
        pass

    def _remember(self, steps: Iterator[Memory]) -> None:
        for memory in steps:
            self._effect()
            self.world = replace(self.world, memory=memory)

    # Ledger
    def append(self, draft: Draft) -> None:
        if self.scenario.fault is Fault.LEDGER:
            raise LedgerError(problem="full")
        if not self.holds(draft.id):
            self._effect()
            self.world = replace(self.world, ledger=(*self.world.ledger, (draft.id, draft.event)))

    def holds(self, receipt: ReceiptId) -> bool:
        return any(held == receipt for held, _ in self.world.ledger)

    def count(self) -> int:
        return len(self.world.ledger)

    def require_at_least(self, count: int) -> None:
        if self.count() < count:
            raise LedgerError(problem="lost")

    # Judge, Gate, Rebooter, Blanks
    def judge(self) -> tuple[Check, ...]:
        result = CheckResult.FAILED if self.scenario.behaviour is Behaviour.FAILS_CHECKS else CheckResult.PASSED
        self._effect()
        return (Check("self-test", result),)

    def is_open(self) -> bool:
        return True

    def reboot(self) -> None:
        self._effect()

    def blank(self) -> Draft:
        # The next id that nothing durable names: equal situations then look equal.
        named = re.findall(rb'"id":"([0-9a-f]{32})"', recordform.encode(self.world.record))
        newest = max([0, *(int(each, 16) for each in named), *(int(each, 16) for each, _ in self.world.ledger)])
        return Draft(ReceiptId(f"{newest + 1:032x}"), Event.REFUSED, MOMENT)

    def moment(self) -> Moment:
        return MOMENT


class _Installation:
    """Gives the machine's installation its port's name."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    moved = None

    def run(self, attempt: Attempt, progressed: Progressed) -> Traffic:
        return self._machine.run_installation(attempt, progressed)


def power_on(world: World, scenario: Scenario) -> tuple[World, Slot | None, list[str]]:
    """Let the firmware choose until an agent runs; return the world then, the slot, and what was violated on the way."""
    for _ in range(FIRMWARE_RESETS_MAX):
        memory, slot = world.memory.choose()
        world = replace(world, memory=memory)
        if slot is None:
            continue
        release, chunks = world.contents[0 if slot is Slot.A else 1]
        if chunks != CHUNKS:
            return world, None, [f"a half-written slot was booted: {slot}"]
        if not _hangs(release, world, scenario):
            return world, slot, []
    return world, None, ["no slot comes up any more"]


def _hangs(release: int, world: World, scenario: Scenario) -> bool:
    if release != OFFERED:
        return False
    if scenario.behaviour is Behaviour.NEVER_COMES_UP:
        return True
    was_committed = any(event is Event.COMMITTED for _, event in world.ledger)
    return scenario.behaviour is Behaviour.STOPS_LATER and was_committed


def explore(scenario: Scenario) -> Findings:
    """Search every way in which up to `scenario.cuts` power cuts, or failures of the store, can fall, and judge each rest."""
    findings = Findings()
    start = new_world(scenario)
    seen: set[object] = set()
    waiting = deque([Situation(start, 0, Insertion.NEW, (Slot.A, other_boot_id(start)))])
    while waiting:
        situation = waiting.popleft()
        if situation.key() in seen:
            continue
        seen.add(situation.key())
        findings.situations += 1
        world = situation.world
        if situation.running is None:
            world, slot, problems = power_on(world, scenario)
            findings.violations += [f"{problem} ({scenario})" for problem in problems]
            if slot is None:
                continue
            situation = replace(situation, world=world, running=(slot, other_boot_id(world)))
        _explore_boot(findings, scenario, situation, waiting)
    return findings


def _explore_boot(findings: Findings, scenario: Scenario, situation: Situation, waiting: deque[Situation]) -> None:
    assert situation.running is not None
    (slot, boot_id), cuts, insertion = situation.running, situation.cuts, situation.insertion
    world = replace(situation.world, boots=situation.world.boots + 1)
    whole = Machine(world, scenario, slot, boot_id, None)
    rest = whole.run(insertion)
    findings.runs += 1
    found = Insertion.FOUND if insertion is not None and scenario.is_stick_left_in else None
    if rest is Rest.REBOOTING:
        waiting.append(Situation(whole.world, cuts, found))
    else:
        findings.rests += 1
        findings.violations += [f"{problem} ({scenario}, {cuts} cuts)" for problem in judge_rest(whole, scenario, cuts, rest)]
    if whole.world.boots > BOOTS_TO_REST:
        findings.violations.append(f"no rest within {BOOTS_TO_REST} boots ({scenario})")
        return
    if cuts == scenario.cuts:
        return
    # The last of these is the cut at rest, or while the restart that was asked for is under way.
    for cut_at in range(whole.effects + 1):
        machine = Machine(world, scenario, slot, boot_id, cut_at)
        findings.runs += 1
        with contextlib.suppress(PowerCutError):
            machine.run(insertion)
        findings.violations += machine.violations
        after = replace(machine.world, boots=0)
        if scenario.fault is Fault.ENVIRONMENT_LOST and isinstance(after.memory, Ours):
            after = replace(after, memory=after.memory.lose())
        waiting.append(Situation(after, cuts + 1, None if scenario.is_pulled_at_cut else found))
    if scenario.fault is Fault.STORE:
        _fail_each_save(findings, scenario, replace(situation, world=world), whole.saves, waiting)


def _fail_each_save(
    findings: Findings, scenario: Scenario, situation: Situation, saves: list[int], waiting: deque[Situation]
) -> None:
    """Let each save fail in turn, before and after it is done: the agent ends, and another starts at once or in a new boot."""
    assert situation.running is not None
    slot, boot_id = situation.running
    found = None if situation.insertion is None else Insertion.FOUND
    for failure, at in itertools.product((Failure.STORE, Failure.STORE_AFTERWARDS), saves):
        machine = Machine(situation.world, scenario, slot, boot_id, at, failure)
        findings.runs += 1
        try:
            machine.run(situation.insertion)
            findings.violations.append(f"the agent went on although its record was not saved ({scenario})")
        except StoreFailedError:
            pass
        findings.violations += machine.violations
        after = replace(machine.world, boots=0)
        for running, insertion in ((None, found), (situation.running, found), (situation.running, Insertion.NEW)):
            waiting.append(Situation(after, situation.cuts + 1, insertion if situation.insertion else None, running))


def other_boot_id(world: World) -> BootId:
    """Return a boot id that the record does not know; two are enough, so that equal situations look equal."""
    match world.record.state:
        case Activating(_, boot_id, _) | Trial(_, boot_id) | Leaving(boot_id, _):
            return BootId("1" if boot_id == "0" else "0")
        case _:
            return BootId("0")


def judge_rest(machine: Machine, scenario: Scenario, cuts: int, rest: Rest) -> Iterator[str]:
    """Yield what is wrong with a device at rest: the invariants of design, section 6."""
    world, record = machine.world, machine.world.record
    yield from machine.violations
    if rest is Rest.IDLE and machine.slot is not record.committed.slot:
        yield "at rest outside the committed slot"
    if rest is Rest.DEGRADED and scenario.fault.is_over:
        yield "degraded without a fault"
    release, chunks = world.contents[0 if machine.slot is Slot.A else 1]
    if chunks != CHUNKS or (rest is Rest.IDLE and release != record.committed.sequence):
        yield "the running slot does not hold what is committed"
    told = [*world.ledger, *((draft.id, draft.event) for draft in record.pending)]
    outcomes = [receipt for receipt, event in told if event in OUTCOMES]
    if len(outcomes) != len(set(outcomes)):
        yield "an attempt has two outcomes"
    attempts = sum(outcome.attempts for outcome in record.outcomes.values())
    if len(outcomes) != attempts:
        yield f"{attempts} attempts have {len(outcomes)} outcomes"
    commits = [event for _, event in told if event is Event.COMMITTED]
    if record.downgrade_number != (len(commits) if scenario.is_ordered_back else 0):
        yield f"the authorisation {record.downgrade_number} is used up after {len(commits)} commits"
    if rest is Rest.IDLE and not world.memory.can_choose(record.committed.slot):
        yield "the committed slot cannot be booted"
    if rest is Rest.IDLE and scenario.behaviour is not Behaviour.STOPS_LATER:
        yield from _stays(machine, scenario)
    is_good = scenario.behaviour is Behaviour.GOOD and scenario.fault.is_over
    if is_good and rest is Rest.IDLE:
        yield from _good_bundle_goes_in(machine, scenario)
    if is_good and commits and cuts <= 1 and record.committed.sequence != OFFERED and _keeps(scenario.memory):
        yield "one power cut lost a committed good release"


def _receipt_that_disagrees(record: DeviceRecord, running: Slot) -> Iterator[str]:
    """Yield what is wrong when a receipt is owed that the same record does not bear out."""
    match record.state:
        case Recording(Draft(event=Event.COMMITTED)):
            if record.committed.slot is not running or not record.is_committed_whole:
                yield "a commit is to be recorded that did not happen"
        case Recording(Draft(event=event)) if event in OUTCOMES:
            if record.committed.sequence == OFFERED:
                yield f"{event} is to be recorded of what is committed"
        case _:
            pass


def _stays(machine: Machine, scenario: Scenario) -> Iterator[str]:
    """Switch the device off and on again, often, each time long enough for the agent: nothing may change."""
    world = machine.world
    for _ in range(ORDINARY_CYCLES):
        world, slot, problems = power_on(world, scenario)
        if slot is None or slot is not machine.slot:
            yield from problems or [f"an ordinary power cycle changed the slot to {slot}"]
            return
        cycle = Machine(world, scenario, slot, other_boot_id(world), None)
        if cycle.run(None) is not Rest.IDLE:
            yield "an ordinary power cycle left the device busy or degraded"
            return
        world = cycle.world
    if world.record != machine.world.record:
        yield "an ordinary power cycle changed the record"


def _keeps(memory: Memory) -> bool:
    """RAUC's GRUB script drops a good release at one cut between boot loader and mark-good: inherent, documented."""
    return type(memory).__name__ != "RaucGrub"


def _good_bundle_goes_in(machine: Machine, scenario: Scenario) -> Iterator[str]:
    """Put the stick in again, with no further cut: a good bundle must be committed, whatever happened before."""
    world, slot = machine.world, machine.slot
    if world.record.downgrade_number and world.record.committed.sequence != OFFERED:
        # It went back and its boot loader left that: another way back takes another authorisation.
        return
    last = world.record.outcomes.get(offer(OFFERED).manifest_sha256)
    # After a failure of the slot only a person may try again.
    insertion: Insertion | None = Insertion.PERSON if last is not None and last.event is Event.FAILED else Insertion.NEW
    for _ in range(BOOTS_TO_REST):
        again = Machine(replace(world, stick=OFFERED), replace(scenario, cuts=0), slot, other_boot_id(world), None)
        rest = again.run(insertion)
        world, insertion = again.world, Insertion.FOUND
        if rest is not Rest.REBOOTING:
            break
        world, chosen, problems = power_on(world, scenario)
        if chosen is None:
            yield from problems
            return
        slot = chosen
    if world.record.committed.sequence != OFFERED:
        yield f"a good bundle is refused or lost afterwards: {world.record.outcomes}"
