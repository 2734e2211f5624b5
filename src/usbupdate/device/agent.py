"""The agent: what happens when a device starts, when a stick is put in, and when a person asks.

It orders the parts and decides nothing itself: what is owed is `core.lifecycle`, what is genuine `core.trust`, what is taken
`core.policy`. Every stick is answered: by a signal, and by a receipt where the design asks for one.

Source: design, sections 5, 6, 7 and 9.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from usbupdate.core import lifecycle
from usbupdate.core.eventwords import next_step
from usbupdate.core.policy import Insertion
from usbupdate.core.receipt import Event, Problem
from usbupdate.core.record import Idle, Ready, Trial
from usbupdate.device.media import opened
from usbupdate.device.obligations import Obligations, Ports, Rest
from usbupdate.device.patience import Patience, PatientMedium, opened_patiently
from usbupdate.device.refusals import Learned, Refusals
from usbupdate.device.signals import Signal
from usbupdate.device.taking import Taking
from usbupdate.errors import (
    BusyError,
    ForeignStickError,
    InputError,
    LedgerError,
    MediumError,
    NothingInstalledError,
    NothingOnTrialError,
    NotReadyError,
    StoreFailedError,
    TriedBeforeError,
    UsbupdateError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.receipt import Draft
    from usbupdate.device.installer import Advance
    from usbupdate.device.machine import Machine
    from usbupdate.device.ports import Rebooter


_SLOW: Final = "The stick is slow to answer. If that does not change, it is given up within minutes."


class Agent:
    """One run of the agent under the device's lock.

    Args:
        machine: the device, joined.
        progress: is told how far an installation is.
    """

    def __init__(self, machine: Machine, progress: Advance) -> None:
        self._machine = machine
        self._progress = progress
        self._said: Signal | None = None
        self._learned = Learned()
        record = machine.store.load()
        ports = Ports(
            store=machine.store,
            loader=machine.loader,
            ledger=machine.ledger,
            judge=machine.judge,
            reboot_gate=machine.reboot_gate,
            rebooter=_AnnouncedRebooter(machine.rebooter, self._say),
            drafts=machine.drafts,
            dead_man=machine.dead_man,
        )
        boot = lifecycle.Boot(machine.loader.booted(), machine.clock.boot_id())
        self.obligations = Obligations(record, boot, ports)
        self._refusals = Refusals(self.obligations, machine.drafts)
        self.rest = Rest.IDLE

    @property
    def told(self) -> list[Draft]:
        """The receipts that were owed and were recorded in this run, oldest first."""
        return self.obligations.told

    def start(self, confirmed: Callable[[], None] | None = None) -> Rest:
        """Confirm the running slot and do what is owed after a restart; `take` a stick or `announce` afterwards.

        Args:
            confirmed: is called as soon as the running slot is marked good, or found not to be ours to mark: before a trial.

        Raises:
            NotReadyError: the state cannot be saved; it is signalled.
        """
        try:
            self.obligations.resume()
            if confirmed is not None:
                confirmed()
            # What came before the restart stands before its outcome.
            self._refusals.close_earlier_boot()
            self.rest = self.obligations.settle()
            self._record_log_export()
        except NotReadyError as problem:
            self._say(Signal.REFUSED, f"{problem} {problem.hint}")
            raise
        return self.rest

    def announce(self) -> None:
        """Signal how things stand where no stick was looked at; a device at rest stays silent, for nobody asked it anything.

        What became of a release is not said while a stick is in: that stick's turn comes, and "done" has to mean that the
        outcome is on it (design, section 5).
        """
        is_told = bool(self.told) and not self._machine.has_stick()
        if is_told or self.rest in {Rest.REBOOTING, Rest.WAITING}:
            self._say(*self._answer(None))

    def take(self, source: Path, insertion: Insertion, connected_ms: int | None = None) -> Rest:
        """Look at a stick and do what it is for; call `start` before.

        Args:
            source: a mounted directory, a block device or an image file.
            insertion: how it came.
            connected_ms: when it was plugged in, in milliseconds since the start of this boot, where the kernel tells.

        Raises:
            InputError: it is none of these.
            UsbupdateError: why nothing was installed, or why the installation failed; it is signalled and recorded already.
        """
        if self.rest is Rest.REBOOTING and insertion is Insertion.FOUND:
            # It is looked at after the restart, which must not wait for it.
            self.announce()
            return self.rest
        if insertion is Insertion.FOUND and connected_ms is not None and self._was_cut_before(connected_ms):
            # Soon after the start of a boot the time alone cannot tell a new stick from one that stayed in.
            insertion = Insertion.NEW
        self._say(Signal.BUSY)
        with ExitStack() as stack:
            patience = stack.enter_context(Patience(lambda: self._say(Signal.BUSY, _SLOW)))
            medium: PatientMedium | None = None
            taking = Taking(self._machine, self.obligations, self._refusals, self._progress)
            self._learned = taking.learned
            try:
                opening = opened(source, self._machine.configuration)
                medium = stack.enter_context(opened_patiently(source, opening, patience))
                with medium.reader.kept_open():
                    prepared = taking.prepare(medium, insertion, self.rest, stack)
                    failure = None if prepared is None else taking.install(prepared)
            except InputError as error:
                # No stick at all, so no receipt; but the person must not be left with "busy, do not remove".
                self._say(*self._answer(error))
                raise
            except StoreFailedError as problem:
                # As if the power had gone: what is saved is what counts, and the next start finds its way from there.
                is_untouched = isinstance(self.obligations.record.state, Idle)
                self._say(Signal.REFUSED if is_untouched else Signal.FAILED, f"{problem} {problem.hint}")
                raise
            except UsbupdateError as error:
                self._refused(error, taking, medium, insertion)
                if insertion is Insertion.FOUND and isinstance(error, TriedBeforeError):
                    return self.rest
                raise
            self._settled(failure)
            self._finish(medium, *self._answer(failure))
        if failure is not None:
            raise failure
        return self.rest

    def _was_cut_before(self, connected_ms: int) -> bool:
        """Tell whether the newest receipt is of an install that its stick ended in this boot, before a certain moment."""
        try:
            newest = self._machine.ledger.newest()
        except LedgerError:
            return False
        if newest is None or not lifecycle.is_cut_by_medium(newest, self.obligations.boot.boot_id):
            return False
        return newest.moment.monotonic_ms < connected_ms

    def _refused(self, error: UsbupdateError, taking: Taking, medium: PatientMedium | None, insertion: Insertion) -> None:
        """Record and answer why nothing was installed."""
        self._settled(error)
        if insertion is Insertion.FOUND and isinstance(error, TriedBeforeError):
            # A stick that merely stayed in had its receipt before. What the person wants to know is how it ended.
            earlier = Signal.FAILED, f"{error} {next_step(Event(error.outcome))}"
            self._finish(medium, *(self._answer(None) if self.told else earlier))
            return
        try:
            self._refusals.record(error, taking.learned)
        except NotReadyError as problem:
            # The state partition is full or read-only: nothing can be remembered, and that is the answer.
            self._say(Signal.REFUSED, f"{error} {problem} {problem.hint}")
            raise
        self._finish(medium, *self._answer(error))

    def _settled(self, error: UsbupdateError | None) -> None:
        """Do what is owed after a stick was looked at; a device that cannot save its state says so before it gives up."""
        try:
            self.rest = self.obligations.settle()
        except NotReadyError as problem:
            why = "" if error is None else f"{error} "
            self._say(Signal.FAILED, f"{why}{problem} {problem.hint}")
            raise

    def activate(self) -> Rest:
        """Start an installed release without waiting for its gate.

        Raises:
            NothingInstalledError: none waits.
        """
        self._require_installed()
        self.rest = self.obligations.activate()
        self.announce()
        return self.rest

    def ask_again(self) -> Rest:
        """Ask the gate again on behalf of an installed release that waits, if one does; the person hears only of a restart."""
        self.obligations.resume()
        if isinstance(self.obligations.record.state, Ready):
            self.rest = self.obligations.settle()
            if self.rest is not Rest.WAITING:
                self.announce()
        return self.rest

    def withdraw(self) -> Rest:
        """Give up an installed release that waits for its restart.

        Raises:
            NothingInstalledError: none waits.
        """
        self._require_installed()
        self.rest = self.obligations.withdraw(Problem("withdrawn-by-person", "A person withdrew the installed release."))
        return self.rest

    def commit(self) -> Rest:
        """Commit the release on trial without waiting for its checks.

        Raises:
            NothingOnTrialError: none is.
        """
        self._require_trial()
        self.rest = self.obligations.confirm()
        return self.rest

    def roll_back(self) -> Rest:
        """Give up the release on trial and go back.

        Raises:
            NothingOnTrialError: none is.
        """
        self._require_trial()
        self.rest = self.obligations.withdraw(Problem("rolled-back-by-person", "A person rolled the trial back."))
        return self.rest

    def _require_installed(self) -> None:
        self.obligations.resume()
        if not isinstance(self.obligations.record.state, Ready):
            raise NothingInstalledError

    def _require_trial(self) -> None:
        self.obligations.resume()
        if not isinstance(self.obligations.record.state, Trial):
            raise NothingOnTrialError

    def _say(self, signal: Signal, why: str = "") -> None:
        """Give a signal; that of a restart once, for it was given before the restart was asked for."""
        if signal is not Signal.RESTARTING or self._said is not Signal.RESTARTING:
            self._machine.announcer.announce(signal, why)
        self._said = signal

    def _finish(self, medium: PatientMedium | None, signal: Signal, why: str) -> None:
        """Write the log, then signal: `done` comes when the outcome is on the stick, or says that it is not (ADR 0007)."""
        if self._learned.aside and self.rest is not Rest.REBOOTING:
            why = f"{why} {self._learned.aside}".strip()
        if medium is not None and self.rest is not Rest.REBOOTING and self._machine.configuration.export_logs:
            try:
                medium.use(lambda inner: self._machine.export(inner, self.obligations, signal, why))
            except (MediumError, ForeignStickError, NotReadyError) as problem:
                # The receipts are safe on the device; the result of an update never depends on its log.
                # Of a stick that was pulled this is said already.
                why = why if str(problem) in why else f"{why} {problem} {problem.hint}"
        self._say(signal, why.strip())

    def _answer(self, error: UsbupdateError | None) -> tuple[Signal, str]:
        """Return the signal that tells a person how things stand, and why.

        What became of a release comes first, then what is wrong with the stick that is in.
        """
        if self.rest is Rest.REBOOTING:
            return Signal.RESTARTING, ""
        if self.rest is Rest.WAITING and error is None:
            return Signal.INSTALLED, ""
        outcome = self.told[-1] if self.told else None
        also = "" if error is None else f"{error} {error.hint}"
        if outcome is not None and outcome.event is Event.COMMITTED:
            return Signal.DONE, f"The new release is installed. About what else is on the stick: {also}" if also else ""
        if outcome is not None and outcome.problem is not None:
            is_this_attempt = error is None or outcome.problem.reason == error.reason
            ended = f"{outcome.problem.text} {next_step(outcome.event)}"
            return Signal.FAILED, ended if is_this_attempt else f"{also} Before that: {outcome.problem.text}"
        if error is None:
            return Signal.DONE, ""
        return Signal.BUSY if isinstance(error, BusyError) else Signal.REFUSED, also

    def _record_log_export(self) -> None:
        """A change of the owner's right to keep the log to himself is itself a receipt."""
        record = self.obligations.record
        if self._machine.configuration.export_logs is not record.exports_logs:
            blank = self._machine.drafts.blank()
            says = "allowed" if self._machine.configuration.export_logs else "forbidden"
            draft = replace(
                blank, event=Event.LOG_EXPORT_CHANGED, problem=Problem(says, f"Writing the log to sticks is {says}.")
            )
            self.obligations.append(replace(record, exports_logs=not record.exports_logs), draft)


class _AnnouncedRebooter:
    """Says that the device restarts while somebody can still say it: the system ends us as soon as it is asked.

    Implements `device.ports.Rebooter`.
    """

    def __init__(self, rebooter: Rebooter, say: Callable[[Signal], None]) -> None:
        self._rebooter = rebooter
        self._say = say

    def reboot(self) -> None:
        """Announce the restart and ask for it; see `device.ports.Rebooter`."""
        self._say(Signal.RESTARTING)
        self._rebooter.reboot()
