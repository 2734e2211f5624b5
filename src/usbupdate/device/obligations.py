"""Does what the lifecycle says is owed, one idempotent action after the other, until the device is at rest or must wait.

The record is saved before each action; a restart at any point finds its way from there. Nothing here imports tuf, cryptography
or typer: boot confirmation must work when everything else is broken.

Source: design, section 6.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from usbupdate.core import lifecycle
from usbupdate.core.lifecycle import Tried
from usbupdate.core.receipt import PROVOKED, CheckResult, Draft, Event, Problem
from usbupdate.core.record import (
    Activating,
    Attempt,
    Committing,
    Condemning,
    DeviceRecord,
    Idle,
    Installing,
    Leaving,
    Ready,
    Recording,
    Trial,
)
from usbupdate.errors import (
    BootLoaderError,
    ContentsDifferError,
    FrameBrokenError,
    ImageDiffersError,
    LedgerShareError,
    MediumError,
    NotReadyError,
    RejectedError,
    StoreFailedError,
    UsbupdateError,
)

if TYPE_CHECKING:
    from usbupdate.core.lifecycle import Boot
    from usbupdate.core.receipt import Moment
    from usbupdate.core.words import ReceiptId, Slot
    from usbupdate.device.ports import BootLoader, DeadMan, Drafts, Installation, Judge, Rebooter, RebootGate, ReceiptLog, Store


class Rest(Enum):
    """Why the agent has nothing more to do for now."""

    IDLE = auto()
    """At rest in the committed slot; offers are welcome."""
    DEGRADED = auto()
    """At rest, but offers are refused until the next start: the boot loader or the ledger failed, or the device is stuck."""
    WAITING = auto()
    """Installed; the reboot waits for its gate or a person."""
    REBOOTING = auto()
    """A restart was asked for."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What the obligations need from the machine."""

    store: Store
    loader: BootLoader
    ledger: ReceiptLog
    judge: Judge
    reboot_gate: RebootGate
    rebooter: Rebooter
    drafts: Drafts
    dead_man: DeadMan


class Obligations:
    """The agent's inner loop over one record.

    `resume` comes first, once. Between calls, `record` is what is saved; `told` are the receipts that were owed and recorded.
    """

    def __init__(self, record: DeviceRecord, boot: Boot, ports: Ports) -> None:
        self.record = record
        self.boot = boot
        self.loader_problem: BootLoaderError | None = None
        self.ledger_problem: NotReadyError | None = None
        self.told: list[Draft] = []
        self._ports = ports
        self._is_blessed = False

    def resume(self) -> None:
        """Confirm the committed slot and work out what is owed after a restart; call `settle` to do it."""
        self._bless()
        try:
            self._ports.ledger.require_at_least(self.record.ledger_count)
        except NotReadyError as error:
            self.ledger_problem = error
        self.change(lifecycle.resumed(self.record, self.boot, self._was_tried, self._moment()))

    def settle(self) -> Rest:
        """Do what is owed until the device is at rest, waits or restarts."""
        while True:
            rest = self._step()
            if rest is not None:
                return rest

    def install(self, attempt: Attempt, installation: Installation) -> UsbupdateError | None:
        """Install an attempt into its slot, which becomes Ready, or Condemning with the error that is returned.

        Call `settle` afterwards.

        Raises:
            StoreFailedError: the record cannot be saved; nothing more may be done before a restart of the agent.
        """
        self.change(lifecycle.begun(self.record, attempt))
        try:
            if lifecycle.may_condemn(self.record, attempt.slot):
                self._ports.loader.mark_bad(attempt.slot)
        except BootLoaderError as error:
            self._condemn(Event.LOADER_FAILED, error)
            return error
        started_ms = self._moment().monotonic_ms
        try:
            traffic = installation.run(attempt, lambda: self.change(lifecycle.progressed(self.record)))
        except StoreFailedError:
            # No fault of the slot or the stick, and what is owed stands in what was saved before.
            raise
        except UsbupdateError as error:
            told = lifecycle.stopped(self.record, installation.moved, self._moment().monotonic_ms - started_ms)
            self.change(lifecycle.condemned(told, fault_of(error), problem_of(error), self._moment()))
            return error
        self.change(lifecycle.installed(self.record, traffic, self._moment().monotonic_ms - started_ms))
        return None

    def activate(self) -> Rest:
        """Let an installed release go without its gate: a person asked for it."""
        self.change(lifecycle.released(self.record, self.boot))
        return self.settle()

    def withdraw(self, problem: Problem) -> Rest:
        """Give the present attempt up: a person asked for it."""
        self.change(lifecycle.condemned(self.record, Event.WITHDRAWN, problem, self._moment()))
        return self.settle()

    def confirm(self) -> Rest:
        """Commit what is on trial without waiting for its checks: a person asked for it."""
        self.change(lifecycle.passed(self.record, ()))
        return self.settle()

    def holds(self, receipt: ReceiptId) -> bool:
        """Tell whether a receipt with this id is in the ledger."""
        return self._ports.ledger.holds(receipt)

    def append(self, record: DeviceRecord, *drafts: Draft) -> None:
        """Save a changed record together with receipts that are no attempt's outcome, and append them when the ledger can."""
        self.change(replace(record, pending=(*record.pending, *drafts)))
        self._flush()

    def change(self, record: DeviceRecord) -> None:
        """Save the record if it differs from what is saved."""
        if record != self.record:
            self._ports.store.save(record)
            self.record = record

    def _step(self) -> Rest | None:
        state = self.record.state
        match state:
            case Idle():
                return self._idle(state)
            case Installing():
                message = "an install is resumed by a restart only"
                raise AssertionError(message)
            case Ready():
                if not self._ports.reboot_gate.is_open():
                    return Rest.WAITING
                self.change(lifecycle.released(self.record, self.boot))
            case Activating(attempt):
                return self._activating(attempt)
            case Trial():
                self._trial()
            case Committing(attempt):
                self._committing(attempt)
            case Condemning(attempt):
                self._condemning(attempt)
            case Recording():
                self._recording(state)
            case Leaving():
                return self._leaving()
            case _:
                assert_never(state)
        return None

    def _idle(self, state: Idle) -> Rest | None:
        is_flushed = self._flush()
        if self.boot.slot is not self.record.committed.slot and not state.stuck:
            running = self.record.whole.get(self.boot.slot)
            blank = self._ports.drafts.blank()
            if running is None:
                self.change(lifecycle.leaving(self.record, self.boot, blank))
            else:
                self.change(lifecycle.fallen_back(self.record, running, blank))
            return None
        # A device that fell back is committed to where it runs since a moment ago.
        self._bless()
        if state.stuck or not is_flushed or self.loader_problem is not None:
            return Rest.DEGRADED
        return Rest.IDLE

    def _activating(self, attempt: Attempt) -> Rest | None:
        try:
            if self.boot.slot in self.record.whole:
                self._ports.loader.mark_good(self.boot.slot)
            self._ports.loader.mark_active(attempt.slot)
        except BootLoaderError as error:
            self._condemn(Event.LOADER_FAILED, error)
            return None
        self._ports.rebooter.reboot()
        return Rest.REBOOTING

    def _trial(self) -> None:
        checks = self._ports.judge.judge()
        failed = next((check for check in checks if check.result is not CheckResult.PASSED), None)
        if failed is None:
            self.change(lifecycle.passed(self.record, checks))
            return
        problem = Problem(failed.reason or "check-failed", f"The check {failed.name} {failed.result}.")
        self.change(lifecycle.failed_checks(self.record, checks, problem, self._moment()))

    def _committing(self, attempt: Attempt) -> None:
        try:
            self._ports.loader.mark_good(attempt.slot)
        except BootLoaderError as error:
            self._condemn(Event.ROLLED_BACK, error)
            return
        self._is_blessed = True
        # The trial is passed, whether or not that can be saved now.
        self._ports.dead_man.stand_down()
        self.change(lifecycle.committed(self.record, self._moment()))

    def _condemning(self, attempt: Attempt) -> None:
        try:
            if lifecycle.may_condemn(self.record, attempt.slot):
                self._ports.loader.mark_bad(attempt.slot)
        except BootLoaderError as error:
            self.change(lifecycle.condemning_failed(self.record, problem_of(error)))
            return
        self.change(lifecycle.slot_condemned(self.record))

    def _recording(self, owed: Recording) -> None:
        self.told.append(owed.draft)
        left = self._append((*self.record.pending, owed.draft))
        self.change(lifecycle.recorded(self.record, owed, self.boot, left, self._ledger_count()))

    def _leaving(self) -> Rest | None:
        self.change(lifecycle.leaving(self.record, self.boot, self._ports.drafts.blank()))
        if not isinstance(self.record.state, Leaving):
            return None
        # A slot that must not run and can still be chosen is why the device is here; a boot loader may have come to its senses.
        if lifecycle.may_condemn(self.record, self.boot.slot):
            with suppress(BootLoaderError):
                self._ports.loader.mark_bad(self.boot.slot)
        self._ports.rebooter.reboot()
        return Rest.REBOOTING

    def _flush(self) -> bool:
        """Append what is pending; tell whether the ledger took all but refusals beyond their share."""
        left = self._append(self.record.pending)
        self.change(lifecycle.pending_appended(self.record, left, self._ledger_count()))
        return self.ledger_problem is None and all(draft.event in PROVOKED for draft in left)

    def _append(self, drafts: tuple[Draft, ...]) -> tuple[Draft, ...]:
        """Append what the ledger takes, and return the rest: one receipt that it refuses never holds up the others."""
        left = []
        for draft in drafts:
            try:
                self._ports.ledger.require_at_least(self.record.ledger_count)
                self._ports.ledger.append(draft)
            except LedgerShareError:
                left.append(draft)
            except NotReadyError as error:
                self.ledger_problem = error
                left.append(draft)
        return tuple(left)

    def _ledger_count(self) -> int:
        return max(self.record.ledger_count, self._ports.ledger.count())

    def _bless(self) -> None:
        """Mark the committed slot good when it is the one that runs; health never withholds this."""
        is_due = self.boot.slot is self.record.committed.slot and self.record.is_committed_whole
        if self._is_blessed or self.loader_problem is not None or not is_due:
            return
        try:
            self._ports.loader.mark_good(self.boot.slot)
            self._is_blessed = True
            self._ports.dead_man.stand_down()
        except BootLoaderError as error:
            self.loader_problem = error

    def _was_tried(self, slot: Slot) -> Tried:
        """Ask the boot loader; one that has lost its memory does not know, and must not keep an attempt open for ever."""
        try:
            return self._ports.loader.was_tried(slot)
        except BootLoaderError as error:
            self.loader_problem = error
            return Tried.UNKNOWN

    def _condemn(self, outcome: Event, error: UsbupdateError) -> None:
        self.change(lifecycle.condemned(self.record, outcome, problem_of(error), self._moment()))

    def _moment(self) -> Moment:
        return self._ports.drafts.moment()


def problem_of(error: UsbupdateError) -> Problem:
    """Return what a receipt says about an error."""
    return Problem(error.reason, str(error))


def fault_of(error: UsbupdateError) -> Event:
    """Return the outcome of an install that an error ended: the stick's fault can be tried again, the slot's cannot.

    A release that was packed wrongly and signed all the same is no fault of the stick: trying again is of no use.
    """
    if isinstance(error, ImageDiffersError | ContentsDifferError | FrameBrokenError):
        return Event.FAILED
    return Event.INTERRUPTED if isinstance(error, MediumError | RejectedError) else Event.FAILED
