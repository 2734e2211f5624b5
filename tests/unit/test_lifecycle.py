"""The table of the lifecycle, transition by transition; the searches in tests/power hold what it is good for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from usbupdate.core import lifecycle
from usbupdate.core.authorisation import Authorisation, check_of
from usbupdate.core.lifecycle import Boot, Tried
from usbupdate.core.manifest import Blob
from usbupdate.core.receipt import (
    OUTCOMES,
    BundleRef,
    Check,
    CheckResult,
    ClockQuality,
    Draft,
    Event,
    Moment,
    Problem,
    Traffic,
)
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
    KnownRoot,
    Leaving,
    Ready,
    Recording,
    State,
    Trial,
)
from usbupdate.core.words import BootId, BundleName, DeviceId, Digest, ReceiptId, Slot, SlotClass

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, SECOND, THIRD = BootId("1"), BootId("2"), BootId("3")
THEN = Moment(FIRST, 1, "2026-01-01T00:00:00Z", ClockQuality.FLOOR)
NOW = Moment(SECOND, 2, "2026-02-02T00:00:00Z", ClockQuality.SYSTEM)
BUNDLE = BundleRef(BundleName("gw"), Digest("b" * 64))
PASSED = Check("self-test", CheckResult.PASSED)
SCRATCHED = Problem("scratched", "The stick is scratched.")


def release(slot: Slot, sequence: int) -> Installed:
    return Installed(slot, f"1.{sequence}", sequence, {SlotClass("rootfs"): Blob(Digest(f"{sequence:064x}"), 10)})


OLD, NEW = release(Slot.A, 3), release(Slot.B, 4)
DRAFT = Draft(ReceiptId("a" * 32), Event.INTERRUPTED, THEN, before=OLD.release(), after=NEW.release(), bundle=BUNDLE)
BLANK = Draft(ReceiptId("c" * 32), Event.REFUSED, NOW)
ATTEMPT = Attempt(NEW, DRAFT)
BEFORE = release(Slot.B, 2)
RECORD = DeviceRecord(OLD, {Slot.A: OLD}, 3, KnownRoot(1, Digest("0" * 64)))


def owing(state: State) -> DeviceRecord:
    return replace(RECORD, state=state)


def condemning(outcome: Event, problem: Problem, attempt: Attempt = ATTEMPT) -> DeviceRecord:
    return owing(Condemning(replace(attempt, draft=replace(attempt.draft, event=outcome, moment=NOW, problem=problem))))


def never(slot: Slot) -> Tried:
    raise AssertionError("only about a slot that was to be activated and is not running")


def says(answer: Tried) -> Callable[[Slot], Tried]:
    def was_tried(slot: Slot) -> Tried:
        assert slot is Slot.B
        return answer

    return was_tried


def resumed(state: State, slot: Slot, boot_id: BootId = SECOND, was_tried: Callable[[Slot], Tried] = never) -> DeviceRecord:
    return lifecycle.resumed(owing(state), Boot(slot, boot_id), was_tried, NOW)


# --- After a restart -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", list(Slot))
def test_a_device_at_rest_owes_nothing_after_a_restart(slot: Slot) -> None:
    assert resumed(Idle(), slot) == owing(Idle())


def test_a_stuck_device_is_free_again_once_it_runs_its_committed_slot() -> None:
    assert resumed(Idle(stuck=True), Slot.A) == owing(Idle())
    assert resumed(Idle(stuck=True), Slot.B) == owing(Idle(stuck=True))


@pytest.mark.parametrize("slot", list(Slot))
def test_an_installation_that_a_restart_cut_is_interrupted(slot: Slot) -> None:
    assert resumed(Installing(ATTEMPT), slot) == condemning(Event.INTERRUPTED, lifecycle.RESTARTED)


def test_a_release_that_waits_for_its_gate_waits_on_in_the_committed_slot_alone() -> None:
    assert resumed(Ready(ATTEMPT), Slot.A) == owing(Ready(ATTEMPT))
    assert resumed(Ready(ATTEMPT), Slot.B) == condemning(Event.ROLLED_BACK, lifecycle.NEVER_CAME_UP)


def test_the_agent_restarted_in_the_boot_that_activates_activates_again() -> None:
    state = Activating(ATTEMPT, SECOND, 1)
    assert resumed(state, Slot.A) == owing(state)
    assert resumed(state, Slot.B) == owing(state)


def test_a_new_boot_in_the_activated_slot_is_its_trial() -> None:
    assert resumed(Activating(ATTEMPT, FIRST, 1), Slot.B) == owing(Trial(ATTEMPT, SECOND))


@pytest.mark.parametrize("answer", [Tried.YES, Tried.UNKNOWN])
@pytest.mark.parametrize("tries", [1, 3])
def test_a_slot_that_may_have_been_tried_and_does_not_run_is_rolled_back(answer: Tried, tries: int) -> None:
    after = resumed(Activating(ATTEMPT, FIRST, tries), Slot.A, was_tried=says(answer))
    assert after == condemning(Event.ROLLED_BACK, lifecycle.NEVER_CAME_UP)


def test_a_slot_that_was_not_tried_is_activated_three_times_in_all() -> None:
    for tries in (1, 2):
        after = resumed(Activating(ATTEMPT, FIRST, tries), Slot.A, was_tried=says(Tried.NO))
        assert after == owing(Activating(ATTEMPT, SECOND, tries + 1))
    after = resumed(Activating(ATTEMPT, FIRST, 3), Slot.A, was_tried=says(Tried.NO))
    assert after == condemning(Event.NOT_ACTIVATED, lifecycle.NEVER_CHOSEN)


def test_a_trial_begins_again_in_its_slot_and_is_over_elsewhere() -> None:
    assert resumed(Trial(ATTEMPT, FIRST), Slot.B) == owing(Trial(ATTEMPT, SECOND))
    assert resumed(Trial(ATTEMPT, FIRST), Slot.A) == condemning(Event.ROLLED_BACK, lifecycle.NEVER_CAME_UP)


def test_a_commit_goes_on_in_its_slot_and_is_over_elsewhere() -> None:
    assert resumed(Committing(ATTEMPT), Slot.B) == owing(Committing(ATTEMPT))
    assert resumed(Committing(ATTEMPT), Slot.A) == condemning(Event.ROLLED_BACK, lifecycle.NEVER_CAME_UP)


@pytest.mark.parametrize("state", [Condemning(ATTEMPT, 2), Recording(DRAFT)])
@pytest.mark.parametrize("slot", list(Slot))
def test_a_slot_to_condemn_and_a_receipt_to_append_are_still_owed(state: State, slot: Slot) -> None:
    assert resumed(state, slot) == owing(state)


def test_a_device_that_left_owes_nothing_in_its_committed_slot_and_goes_on_elsewhere() -> None:
    assert resumed(Leaving(FIRST, 1), Slot.A) == owing(Idle())
    assert resumed(Leaving(FIRST, 1), Slot.B) == owing(Leaving(FIRST, 1))


# --- From Idle -------------------------------------------------------------------------------------------------------


def test_a_slot_that_is_written_is_no_longer_whole() -> None:
    used = replace(RECORD, whole={Slot.A: OLD, Slot.B: BEFORE})
    assert lifecycle.begun(used, ATTEMPT) == replace(RECORD, state=Installing(ATTEMPT), whole={Slot.A: OLD})


def test_what_the_ledger_could_not_take_is_kept() -> None:
    full = replace(RECORD, pending=(DRAFT, BLANK))
    assert lifecycle.pending_appended(full, (BLANK,), 7) == replace(RECORD, pending=(BLANK,), ledger_count=7)


@pytest.mark.parametrize(("floor", "after"), [(5, 5), (1, 2)])
def test_a_device_that_fell_back_is_meant_to_run_what_runs_and_its_floor_never_lies_below_that(floor: int, after: int) -> None:
    told = replace(BLANK, event=Event.FELL_BACK, before=OLD.release(), after=BEFORE.release(), problem=lifecycle.FELL_BACK)
    fallen = lifecycle.fallen_back(replace(RECORD, floor=floor), BEFORE, BLANK)
    assert fallen == replace(RECORD, state=Recording(told), committed=BEFORE, floor=after)


def test_a_device_leaves_a_slot_that_it_must_not_run_in_two_boots_and_is_stuck_in_the_third() -> None:
    record = RECORD
    for tries, boot_id in enumerate((FIRST, SECOND), start=1):
        record = lifecycle.leaving(record, Boot(Slot.B, boot_id), BLANK)
        assert record == owing(Leaving(boot_id, tries))
        assert lifecycle.leaving(record, Boot(Slot.B, boot_id), BLANK) == record, "the same boot counts once"
    stuck = replace(BLANK, event=Event.STUCK, before=OLD.release(), problem=lifecycle.STUCK_OUTSIDE)
    assert lifecycle.leaving(record, Boot(Slot.B, THIRD), BLANK) == owing(Recording(stuck))


# --- Along an attempt ------------------------------------------------------------------------------------------------


def test_a_chunk_that_was_written_makes_taking_up_again_worth_while() -> None:
    assert lifecycle.progressed(owing(Installing(Attempt(NEW, DRAFT, 2)))) == owing(Installing(ATTEMPT))
    assert lifecycle.progressed(owing(Ready(Attempt(NEW, DRAFT, 2)))) == owing(Ready(Attempt(NEW, DRAFT, 2)))


def test_what_an_installation_moved_stands_in_its_receipt_however_it_ended() -> None:
    moved = Attempt(NEW, replace(DRAFT, traffic=Traffic(read=5), duration_ms=6))
    assert lifecycle.installed(owing(Installing(ATTEMPT)), Traffic(read=5), 6) == owing(Ready(moved))
    assert lifecycle.stopped(owing(Installing(ATTEMPT)), Traffic(read=5), 6) == owing(Installing(moved))
    nothing = Attempt(NEW, replace(DRAFT, traffic=None, duration_ms=6))
    assert lifecycle.stopped(owing(Installing(moved)), None, 6) == owing(Installing(nothing))


def test_the_gate_that_lets_go_begins_the_first_activation() -> None:
    assert lifecycle.released(owing(Ready(ATTEMPT)), Boot(Slot.A, FIRST)) == owing(Activating(ATTEMPT, FIRST, 1))


def test_the_checks_of_a_trial_join_what_the_receipt_holds_already() -> None:
    order = Check("allow-gw-1-1.json", CheckResult.PASSED)
    on_trial = owing(Trial(Attempt(NEW, replace(DRAFT, checks=(order,))), FIRST))
    checked = Attempt(NEW, replace(DRAFT, checks=(order, PASSED)))
    assert lifecycle.passed(on_trial, (PASSED,)) == owing(Committing(checked))
    assert lifecycle.failed_checks(on_trial, (PASSED,), SCRATCHED, NOW) == condemning(Event.CHECK_FAILED, SCRATCHED, checked)


@pytest.mark.parametrize(("floor", "after"), [(3, 4), (9, 9)])
def test_a_commit_makes_the_new_release_what_the_device_is_meant_to_run_in_one_replace(floor: int, after: int) -> None:
    attempt = Attempt(NEW, replace(DRAFT, problem=SCRATCHED))
    record = replace(owing(Committing(attempt)), floor=floor, downgrade_number=7)
    assert lifecycle.committed(record, NOW) == replace(
        record,
        state=Recording(replace(DRAFT, event=Event.COMMITTED, moment=NOW)),
        committed=NEW,
        whole={Slot.A: OLD, Slot.B: NEW},
        floor=after,
        outcomes={BUNDLE.manifest_sha256: BundleOutcome(Event.COMMITTED, 1)},
    )


@pytest.mark.parametrize(("used_before", "number", "after"), [(0, 5, 5), (5, 4, 5)])
def test_a_commit_by_an_authorisation_lowers_the_floor_and_uses_it_up(used_before: int, number: int, after: int) -> None:
    order = Authorisation(DeviceId("gw-1"), Digest("f" * 64), number, BUNDLE.manifest_sha256, 9, "T-1", NOW.wall)
    attempt = Attempt(NEW, replace(DRAFT, checks=(check_of(order), PASSED)))
    committed = lifecycle.committed(replace(owing(Committing(attempt)), floor=9, downgrade_number=used_before), NOW)
    assert (committed.floor, committed.downgrade_number) == (4, after)


def test_the_committed_slot_is_never_condemned_as_long_as_it_is_whole() -> None:
    assert not lifecycle.may_condemn(RECORD, Slot.A)
    assert lifecycle.may_condemn(RECORD, Slot.B)
    assert lifecycle.may_condemn(replace(RECORD, whole={}), Slot.A)


def test_a_condemned_slot_is_no_longer_whole_and_its_outcome_is_remembered() -> None:
    record = replace(condemning(Event.FAILED, SCRATCHED), whole={Slot.A: OLD, Slot.B: BEFORE})
    told = replace(DRAFT, event=Event.FAILED, moment=NOW, problem=SCRATCHED)
    assert lifecycle.slot_condemned(record) == replace(
        RECORD, state=Recording(told), outcomes={BUNDLE.manifest_sha256: BundleOutcome(Event.FAILED, 1)}
    )


def test_the_committed_slot_stays_whole_whatever_an_attempt_into_it_comes_to() -> None:
    # A device that fell back in the middle of an attempt is meant to run the slot that was being written.
    record = replace(condemning(Event.FAILED, SCRATCHED), committed=NEW, whole={Slot.A: OLD, Slot.B: NEW})
    assert lifecycle.slot_condemned(record).whole == {Slot.A: OLD, Slot.B: NEW}


def test_condemning_is_tried_three_times_and_then_stands_in_the_receipt() -> None:
    deaf = Problem("boot-loader", "The boot loader is deaf.")
    record = condemning(Event.FAILED, SCRATCHED)
    attempt = record.state.attempt if isinstance(record.state, Condemning) else ATTEMPT
    for failures in (1, 2):
        record = lifecycle.condemning_failed(record, deaf)
        assert record == owing(Condemning(attempt, failures))
    text = "The stick is scratched. And the slot could not be marked bad: The boot loader is deaf."
    told = replace(attempt.draft, problem=Problem("scratched", text))
    assert lifecycle.condemning_failed(record, deaf) == replace(
        RECORD, state=Recording(told), outcomes={BUNDLE.manifest_sha256: BundleOutcome(Event.FAILED, 1)}
    )


def test_an_outcome_without_a_reason_takes_that_of_the_boot_loader() -> None:
    deaf = Problem("boot-loader", "The boot loader is deaf.")
    record = lifecycle.condemning_failed(owing(Condemning(ATTEMPT, 2)), deaf)
    assert record.state == Recording(replace(DRAFT, problem=deaf))


def test_a_slot_that_is_not_being_condemned_yet_has_failed_once() -> None:
    deaf = Problem("boot-loader", "The boot loader is deaf.")
    assert lifecycle.condemning_failed(owing(Installing(ATTEMPT)), deaf) == owing(Condemning(ATTEMPT, 1))


@pytest.mark.parametrize("state", [Idle(), Recording(DRAFT), Leaving(FIRST, 1)])
def test_without_an_attempt_nothing_can_be_condemned(state: State) -> None:
    with pytest.raises(AssertionError, match=f"^no attempt in {type(state).__name__}$"):
        lifecycle.condemned(owing(state), Event.FAILED, SCRATCHED, NOW)


# --- Recording -------------------------------------------------------------------------------------------------------


def test_after_its_receipt_a_device_rests_in_a_whole_slot_and_leaves_any_other() -> None:
    record = replace(owing(Recording(DRAFT)), pending=(BLANK, DRAFT))
    owed = Recording(DRAFT)
    rested = lifecycle.recorded(record, owed, Boot(Slot.A, FIRST), (DRAFT,), 8)
    assert rested == replace(RECORD, state=Idle(), pending=(DRAFT,), ledger_count=8)
    left = lifecycle.recorded(record, owed, Boot(Slot.B, FIRST), (), 9)
    assert left == replace(RECORD, state=Leaving(FIRST, 1), ledger_count=9)


@pytest.mark.parametrize("slot", list(Slot))
def test_after_the_receipt_that_it_is_stuck_a_device_stays_where_it_is(slot: Slot) -> None:
    owed = Recording(replace(BLANK, event=Event.STUCK))
    assert lifecycle.recorded(owing(owed), owed, Boot(slot, FIRST), (), 1).state == Idle(stuck=True)


# --- What is remembered of a bundle ----------------------------------------------------------------------------------


def outcome_after(record: DeviceRecord, event: Event, problem: Problem | None, attempt: Attempt = ATTEMPT) -> DeviceRecord:
    ended = replace(attempt, draft=replace(attempt.draft, event=event, problem=problem))
    return lifecycle.slot_condemned(replace(record, state=Condemning(ended)))


def test_an_install_cut_by_a_restart_remembers_how_often_it_was_taken_up_again() -> None:
    retaken = Attempt(NEW, DRAFT, retakes=2)
    key = BUNDLE.manifest_sha256
    cut = outcome_after(RECORD, Event.INTERRUPTED, lifecycle.RESTARTED, retaken)
    assert cut.outcomes == {key: BundleOutcome(Event.INTERRUPTED, 1, by_restart=True, retakes=2)}
    told_more = Problem(lifecycle.RESTARTED.reason, "And the slot could not be marked bad.")
    assert outcome_after(RECORD, Event.INTERRUPTED, told_more, retaken).outcomes == cut.outcomes
    for event, problem in (
        (Event.INTERRUPTED, SCRATCHED),
        (Event.INTERRUPTED, None),
        (Event.ROLLED_BACK, lifecycle.RESTARTED),
    ):
        assert outcome_after(RECORD, event, problem, retaken).outcomes == {key: BundleOutcome(event, 1)}


def test_the_attempts_of_a_bundle_are_counted() -> None:
    record = RECORD
    for attempts in (1, 2, 3):
        record = outcome_after(record, Event.FAILED, SCRATCHED)
        assert record.outcomes == {BUNDLE.manifest_sha256: BundleOutcome(Event.FAILED, attempts)}


def test_only_outcomes_of_a_bundle_are_remembered() -> None:
    known = {Digest("d" * 64): BundleOutcome(Event.FAILED, 1)}
    record = replace(RECORD, outcomes=known)
    assert outcome_after(record, Event.FAILED, None, Attempt(NEW, replace(DRAFT, bundle=None))).outcomes == known
    for event in set(Event) - OUTCOMES:
        assert outcome_after(record, event, None).outcomes == known
    for event in OUTCOMES:
        assert list(outcome_after(record, event, None).outcomes) == [*known, BUNDLE.manifest_sha256]


def test_the_oldest_outcome_is_forgotten_first_and_only_when_there_are_too_many() -> None:
    known = {Digest(f"{number:064x}"): BundleOutcome(Event.FAILED, 1) for number in range(OUTCOMES_MAX - 1)}
    full = outcome_after(replace(RECORD, outcomes=known), Event.FAILED, None)
    assert list(full.outcomes) == [*known, BUNDLE.manifest_sha256]
    more = {**full.outcomes, Digest("e" * 64): BundleOutcome(Event.FAILED, 1)}
    again = outcome_after(replace(RECORD, outcomes=more), Event.FAILED, None)
    assert list(again.outcomes) == [*list(known)[1:], Digest("e" * 64), BUNDLE.manifest_sha256]


def test_a_stick_that_ended_an_install_in_this_boot_is_told_apart_from_a_restart() -> None:
    cut = replace(DRAFT, problem=SCRATCHED)
    assert lifecycle.is_cut_by_medium(cut, FIRST)
    assert lifecycle.is_cut_by_medium(replace(cut, problem=None), FIRST)
    assert not lifecycle.is_cut_by_medium(cut, SECOND)
    assert not lifecycle.is_cut_by_medium(replace(cut, problem=lifecycle.RESTARTED), FIRST)
    assert not lifecycle.is_cut_by_medium(replace(cut, event=Event.FAILED), FIRST)
