"""The lifecycle of an update: which state follows from which, and nothing else.

Every function takes a record and returns the one to be saved next; saving comes before acting on it. `resumed` works out what
is owed after a restart from where the device really booted. Who acts is `device.obligations`.

Source: design, section 6, whose table this is; ADR 0003.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, assert_never

from usbupdate.core.authorisation import used_in
from usbupdate.core.receipt import OUTCOMES, Draft, Event, Moment, Problem
from usbupdate.core.record import (
    OUTCOMES_MAX,
    Activating,
    Attempt,
    BundleOutcome,
    Committing,
    Condemning,
    DeviceRecord,
    Idle,
    Installed,
    Installing,
    Leaving,
    Ready,
    Recording,
    State,
    Trial,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbupdate.core.receipt import Check, Traffic
    from usbupdate.core.words import BootId, Digest, Slot

ACTIVATIONS_MAX: Final = 3
CONDEMN_FAILURES_MAX: Final = 3
LEAVES_MAX: Final = 2
RETAKES_MAX: Final = 3

RESTARTED: Final = Problem("restarted", "The device restarted while the release was being installed.")
NEVER_CAME_UP: Final = Problem("never-came-up", "The new release did not come up; the boot loader went back to the old one.")
NEVER_CHOSEN: Final = Problem("never-chosen", "The boot loader never started the new release.")
STUCK_OUTSIDE: Final = Problem("stuck-outside", "The boot loader does not start the slot that the device is meant to run.")
FELL_BACK: Final = Problem("fell-back", "The boot loader left the committed release and started the one before.")


class Tried(StrEnum):
    """Whether the boot loader has tried a slot since it was last marked active."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Boot:
    """Where and when the device is running."""

    slot: Slot
    boot_id: BootId


def resumed(record: DeviceRecord, boot: Boot, was_tried: Callable[[Slot], Tried], moment: Moment) -> DeviceRecord:
    """Return what a starting agent owes, given what was owed before it stopped and where the device booted.

    Idempotent within one boot. `was_tried` is asked only about a slot that was to be activated and is not running.
    """
    state = record.state
    committed_runs = boot.slot is record.committed.slot
    match state:
        case Idle(stuck):
            return replace(record, state=Idle(stuck and not committed_runs))
        case Installing():
            return condemned(record, Event.INTERRUPTED, RESTARTED, moment)
        case Ready():
            return record if committed_runs else condemned(record, Event.ROLLED_BACK, NEVER_CAME_UP, moment)
        case Activating():
            return _resumed_activation(record, state, boot, was_tried, moment)
        case Trial(attempt):
            if boot.slot is attempt.slot:
                return replace(record, state=Trial(attempt, boot.boot_id))
            return condemned(record, Event.ROLLED_BACK, NEVER_CAME_UP, moment)
        case Committing(attempt):
            return record if boot.slot is attempt.slot else condemned(record, Event.ROLLED_BACK, NEVER_CAME_UP, moment)
        case Condemning() | Recording():
            return record
        case Leaving():
            return record if not committed_runs else replace(record, state=Idle())
        case _:
            assert_never(state)


def _resumed_activation(
    record: DeviceRecord, state: Activating, boot: Boot, was_tried: Callable[[Slot], Tried], moment: Moment
) -> DeviceRecord:
    attempt = state.attempt
    if boot.boot_id == state.boot_id:
        return record
    if boot.slot is attempt.slot:
        return replace(record, state=Trial(attempt, boot.boot_id))
    if was_tried(attempt.slot) is not Tried.NO:
        return condemned(record, Event.ROLLED_BACK, NEVER_CAME_UP, moment)
    if state.tries >= ACTIVATIONS_MAX:
        return condemned(record, Event.NOT_ACTIVATED, NEVER_CHOSEN, moment)
    return replace(record, state=Activating(attempt, boot.boot_id, state.tries + 1))


# --- From Idle -------------------------------------------------------------------------------------------------------


def begun(record: DeviceRecord, attempt: Attempt) -> DeviceRecord:
    """Return the record that owes an install; the slot is no longer believed whole."""
    whole = {slot: installed for slot, installed in record.whole.items() if slot is not attempt.slot}
    return replace(record, state=Installing(attempt), whole=whole)


def pending_appended(record: DeviceRecord, left: tuple[Draft, ...], count: int) -> DeviceRecord:
    """Return the record after the ledger took what it could of what was pending; it now holds `count` receipts."""
    return replace(record, pending=left, ledger_count=count)


def fallen_back(record: DeviceRecord, running: Installed, blank: Draft) -> DeviceRecord:
    """Return the record of a device that was found running its other whole slot: what runs is what it is meant to run now.

    The floor stays, unless the device had gone back by an authorisation: it is never below what runs. The bundle that was
    fallen back from may be tried again at any new insertion.
    """
    fallen = replace(
        blank,
        event=Event.FELL_BACK,
        before=record.committed.release(),
        after=running.release(),
        problem=FELL_BACK,
    )
    return replace(record, state=Recording(fallen), committed=running, floor=max(record.floor, running.sequence))


def leaving(record: DeviceRecord, boot: Boot, blank: Draft) -> DeviceRecord:
    """Return the record of a device that runs in a slot that is neither committed nor whole, at the start of a boot there.

    The third such boot in a row is recorded as `stuck`, after which the device stays where it is.
    """
    tries = 1
    if isinstance(record.state, Leaving):
        if record.state.boot_id == boot.boot_id:
            return record
        tries = record.state.tries + 1
    if tries <= LEAVES_MAX:
        return replace(record, state=Leaving(boot.boot_id, tries))
    stuck = replace(blank, event=Event.STUCK, before=record.committed.release(), problem=STUCK_OUTSIDE)
    return replace(record, state=Recording(stuck))


# --- Along an attempt ------------------------------------------------------------------------------------------------


def progressed(record: DeviceRecord) -> DeviceRecord:
    """Return the record after a chunk was newly verified and written, so that taking up again is worth while."""
    match record.state:
        case Installing(attempt):
            return replace(record, state=Installing(replace(attempt, retakes=0)))
        case _:
            return record


def stopped(record: DeviceRecord, traffic: Traffic | None, duration_ms: int) -> DeviceRecord:
    """Return the record that knows what an installation moved before an error ended it."""
    return replace(record, state=Installing(_moved(_attempt(record.state), traffic, duration_ms)))


def installed(record: DeviceRecord, traffic: Traffic, duration_ms: int) -> DeviceRecord:
    """Return the record after the slot was written and read back."""
    return replace(record, state=Ready(_moved(_attempt(record.state), traffic, duration_ms)))


def released(record: DeviceRecord, boot: Boot) -> DeviceRecord:
    """Return the record after the reboot gate let go."""
    return replace(record, state=Activating(_attempt(record.state), boot.boot_id, 1))


def passed(record: DeviceRecord, checks: tuple[Check, ...]) -> DeviceRecord:
    """Return the record after every check of the trial passed; the one by which the device may go back is among them."""
    attempt = _attempt(record.state)
    # What was checked before the installation stands before what the trial showed.
    draft = replace(attempt.draft, checks=(*attempt.draft.checks, *checks))
    return replace(record, state=Committing(replace(attempt, draft=draft)))


def failed_checks(record: DeviceRecord, checks: tuple[Check, ...], problem: Problem, moment: Moment) -> DeviceRecord:
    """Return the record after a check of the trial failed."""
    return condemned(passed(record, checks), Event.CHECK_FAILED, problem, moment)


def committed(record: DeviceRecord, moment: Moment) -> DeviceRecord:
    """Return, in one replace, the record of a device that is meant to run the new release and owes the receipt of it.

    The authorisation by which it goes back is used up in the same replace, and the floor that it lifts is what runs now.
    """
    attempt = _attempt(record.state)
    used = used_in(attempt.draft.checks)
    draft = replace(attempt.draft, event=Event.COMMITTED, moment=moment, problem=None)
    return replace(
        record,
        state=Recording(draft),
        committed=attempt.target,
        whole={**record.whole, attempt.slot: attempt.target},
        floor=max(record.floor, attempt.target.sequence) if used is None else attempt.target.sequence,
        downgrade_number=record.downgrade_number if used is None else max(record.downgrade_number, used.number),
        outcomes=_outcomes(record, attempt, Event.COMMITTED),
    )


def condemned(record: DeviceRecord, outcome: Event, problem: Problem, moment: Moment) -> DeviceRecord:
    """Return the record that owes making the attempt's slot unbootable, and then the receipt of its outcome."""
    attempt = _attempt(record.state)
    draft = replace(attempt.draft, event=outcome, moment=moment, problem=problem)
    return replace(record, state=Condemning(replace(attempt, draft=draft)))


def may_condemn(record: DeviceRecord, slot: Slot) -> bool:
    """Tell whether a slot may be marked bad: never the committed one, as long as it is whole."""
    return not (record.is_committed_whole and slot is record.committed.slot)


def is_cut_by_medium(receipt: Draft, boot_id: BootId) -> bool:
    """Tell whether a receipt reports an install that its stick ended in this boot, rather than a restart."""
    return receipt.event is Event.INTERRUPTED and not _is_restarted(receipt) and receipt.moment.boot_id == boot_id


def slot_condemned(record: DeviceRecord) -> DeviceRecord:
    """Return the record after the slot was marked bad."""
    attempt = _attempt(record.state)
    whole = {slot: value for slot, value in record.whole.items() if slot is not attempt.slot or not may_condemn(record, slot)}
    return replace(
        record,
        state=Recording(attempt.draft),
        whole=whole,
        outcomes=_outcomes(record, attempt, attempt.draft.event),
    )


def condemning_failed(record: DeviceRecord, problem: Problem) -> DeviceRecord:
    """Return the record after marking the slot bad failed: to be done again, or given up and put into the receipt."""
    state = record.state
    failures = state.failures + 1 if isinstance(state, Condemning) else 1
    attempt = _attempt(state)
    if failures < CONDEMN_FAILURES_MAX:
        return replace(record, state=Condemning(attempt, failures))
    before = attempt.draft.problem
    text = problem.text if before is None else f"{before.text} And the slot could not be marked bad: {problem.text}"
    told = replace(attempt.draft, problem=Problem(problem.reason if before is None else before.reason, text))
    return slot_condemned(replace(record, state=Condemning(replace(attempt, draft=told))))


def recorded(record: DeviceRecord, owed: Recording, boot: Boot, left: tuple[Draft, ...], count: int) -> DeviceRecord:
    """Return the record after the ledger was offered all that was pending, and the receipt that was owed.

    What it did not take is `left`: it is kept here and life goes on. The ledger now holds `count` receipts.
    """
    return _after_recording(pending_appended(record, left, count), owed, boot)


def _after_recording(record: DeviceRecord, owed: Recording, boot: Boot) -> DeviceRecord:
    if owed.draft.event is Event.STUCK:
        return replace(record, state=Idle(stuck=True))
    if boot.slot in record.whole:
        return replace(record, state=Idle())
    return replace(record, state=Leaving(boot.boot_id, 1))


# --- Parts -----------------------------------------------------------------------------------------------------------


def _attempt(state: State) -> Attempt:
    match state:
        case Idle() | Recording() | Leaving():
            message = f"no attempt in {type(state).__name__}"
            raise AssertionError(message)
        case _:
            return state.attempt


def _is_restarted(draft: Draft) -> bool:
    # By its reason: what a boot loader adds to the text changes nothing about it.
    return draft.problem is not None and draft.problem.reason == RESTARTED.reason


def _moved(attempt: Attempt, traffic: Traffic | None, duration_ms: int) -> Attempt:
    return replace(attempt, draft=replace(attempt.draft, traffic=traffic, duration_ms=duration_ms))


def _outcomes(record: DeviceRecord, attempt: Attempt, event: Event) -> dict[Digest, BundleOutcome]:
    if attempt.draft.bundle is None or event not in OUTCOMES:
        return dict(record.outcomes)
    bundle = attempt.draft.bundle.manifest_sha256
    outcomes = dict(record.outcomes)
    earlier = outcomes.pop(bundle, None)
    by_restart = event is Event.INTERRUPTED and _is_restarted(attempt.draft)
    outcomes[bundle] = BundleOutcome(
        event=event,
        attempts=1 if earlier is None else earlier.attempts + 1,
        by_restart=by_restart,
        retakes=attempt.retakes if by_restart else 0,
    )
    for oldest in list(outcomes)[: max(0, len(outcomes) - OUTCOMES_MAX)]:
        del outcomes[oldest]
    return outcomes
