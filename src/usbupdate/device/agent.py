"""The agent: what happens when a device starts, when a stick is put in, and when a person asks.

It orders the parts and decides nothing itself: what is owed is `core.lifecycle`, what is genuine `core.trust`, what is taken
`core.policy`. Every stick is answered: by a signal, and by a receipt where the design asks for one.

Source: design, sections 5, 6, 7 and 9.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from usbupdate.core import lifecycle
from usbupdate.core.fit import require_fits
from usbupdate.core.layout import TARGETS, names_or_none, require_no_lost_manifests
from usbupdate.core.policy import Insertion, Offer, Recipient, choose
from usbupdate.core.receipt import BundleRef, Event, MediumFacts, Problem, TrustFacts
from usbupdate.core.record import Activating, Attempt, Idle, Installed, KnownRoot, Ready, Trial
from usbupdate.device.health import Gate as GateAnswer
from usbupdate.device.health import ask_gates
from usbupdate.device.installation import StickInstallation
from usbupdate.device.machine import GATES_LIMIT_S, Machine
from usbupdate.device.media import Medium, opened
from usbupdate.device.obligations import Obligations, Ports, Rest
from usbupdate.device.signals import Signal
from usbupdate.device.summary import next_step
from usbupdate.device.telling import Telling
from usbupdate.device.unit import load_unit
from usbupdate.errors import (
    BusyError,
    DegradedError,
    ForeignStickError,
    GatePostponedError,
    GateRefusedError,
    InputError,
    LedgerError,
    LedgerFullError,
    MediumError,
    NothingInstalledError,
    NothingOnTrialError,
    NotReadyError,
    OlderStickError,
    TriedBeforeError,
    UpdateUnderWayError,
    UsbupdateError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.receipt import Draft
    from usbupdate.core.trust import Trusted
    from usbupdate.device.installer import Advance


class Agent:
    """One run of the agent under the device's lock.

    Args:
        machine: the device, joined.
        progress: is told how far an installation is.
    """

    def __init__(self, machine: Machine, progress: Advance) -> None:
        self._machine = machine
        self._progress = progress
        record = machine.store.load()
        ports = Ports(
            store=machine.store,
            loader=machine.loader,
            ledger=machine.ledger,
            judge=machine.judge,
            reboot_gate=machine.reboot_gate,
            rebooter=machine.rebooter,
            drafts=machine.drafts,
        )
        boot = lifecycle.Boot(machine.loader.booted(), machine.clock.boot_id())
        self.obligations = Obligations(record, boot, ports)
        self._telling = Telling(self.obligations, machine.drafts)
        self.rest = Rest.IDLE

    @property
    def told(self) -> list[Draft]:
        """The receipts that were owed and were recorded in this run, oldest first."""
        return self.obligations.told

    def start(self) -> Rest:
        """Confirm the running slot and do what is owed after a restart; `take` a stick or `announce` afterwards."""
        self.obligations.resume()
        # What came before the restart stands before its outcome.
        self._telling.close_earlier_boot()
        self.rest = self.obligations.settle()
        self._record_log_export()
        return self.rest

    def announce(self) -> None:
        """Signal how things stand where no stick is in; a device at rest stays silent, for nobody has asked it anything."""
        if self.told or self.rest in {Rest.REBOOTING, Rest.WAITING}:
            self._machine.announcer.announce(*self._answer(None))

    def take(self, source: Path, insertion: Insertion) -> Rest:
        """Look at a stick and do what it is for; call `start` before.

        Args:
            source: a mounted directory, a block device or an image file.
            insertion: how it came.

        Raises:
            InputError: it is none of these.
            UsbupdateError: why nothing was installed, or why the installation failed; it is signalled and recorded already.
        """
        if self.rest is Rest.REBOOTING and insertion is Insertion.FOUND:
            # It is looked at after the restart, which must not wait for it.
            self.announce()
            return self.rest
        self._machine.announcer.announce(Signal.BUSY)
        with ExitStack() as stack:
            medium: Medium | None = None
            try:
                medium = stack.enter_context(opened(source, self._machine.configuration))
                self._take(medium, insertion)
            except InputError as error:
                # No stick at all, so no receipt; but the person must not be left with "busy, do not remove".
                self._machine.announcer.announce(*self._answer(error))
                raise
            except UsbupdateError as error:
                self.rest = self.obligations.settle()
                # A stick that merely stayed in has had this answer before; what the person wants to know is the outcome.
                if insertion is Insertion.FOUND and isinstance(error, TriedBeforeError):
                    self._finish(medium, None)
                    return self.rest
                if medium is None:
                    self._telling.refusal(error, MediumFacts(), None, None)
                self._finish(medium, error)
                raise
            self._finish(medium, None)
        return self.rest

    def activate(self) -> Rest:
        """Start an installed release without waiting for its gate.

        Raises:
            NothingInstalledError: none waits.
        """
        self.obligations.resume()
        if not isinstance(self.obligations.record.state, Ready):
            raise NothingInstalledError
        self.rest = self.obligations.activate()
        self.announce()
        return self.rest

    def withdraw(self) -> Rest:
        """Give up an installed release that waits for its restart.

        Raises:
            NothingInstalledError: none waits.
        """
        self.obligations.resume()
        if not isinstance(self.obligations.record.state, Ready):
            raise NothingInstalledError
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

    def _require_trial(self) -> None:
        self.obligations.resume()
        if not isinstance(self.obligations.record.state, Trial):
            raise NothingOnTrialError

    # --- Taking a stick ---------------------------------------------------------------------------------------------

    def _take(self, medium: Medium, insertion: Insertion) -> None:
        facts = medium.facts()
        trust: TrustFacts | None = None
        offer: Offer | None = None
        try:
            self._require_ready(insertion)
            trusted = self._machine.refresh(medium, self.obligations.record.root)
            if trusted is None:
                return
            trust = TrustFacts(trusted.root_version, trusted.timestamp_version, trusted.signers)
            self._remember(trusted)
            offer = self._choose(self._offers(trusted, medium), insertion)
            if offer is None:
                return
            slot = self.obligations.boot.slot.other
            require_fits(offer.manifest, self._machine.slots.capacity(slot))
            self._ask_gates()
            with ExitStack() as stack:
                images = self._machine.slots.open(slot)
                for image in images.values():
                    stack.callback(image.close)
                self._machine.verify(offer.manifest, medium.reader, images, self._progress)
                self._telling.close()
                attempt = self._attempt(offer, trust, facts, insertion)
                installation = StickInstallation(self._machine, offer.manifest, medium.reader, images, self._progress)
                failure = self.obligations.install(attempt, installation)
        except UsbupdateError as error:
            if not (insertion is Insertion.FOUND and isinstance(error, TriedBeforeError)):
                self._telling.refusal(error, facts, trust, None if offer is None else _reference(offer))
            raise
        self.rest = self.obligations.settle()
        if failure is not None:
            raise failure

    def _require_ready(self, insertion: Insertion) -> None:
        """Refuse where nothing may be installed, whatever the stick holds."""
        if self.rest is Rest.DEGRADED:
            state = self.obligations.record.state
            is_stuck = isinstance(state, Idle) and state.stuck
            problem = self.obligations.loader_problem or self.obligations.ledger_problem
            if problem is not None or not (is_stuck and insertion is Insertion.PERSON):
                raise DegradedError(problem=str(problem or lifecycle.STUCK_OUTSIDE.text))
        self._machine.require_key()
        if not self._machine.ledger.has_room():
            raise LedgerFullError

    def _remember(self, trusted: Trusted) -> None:
        root = KnownRoot(trusted.root_version, trusted.root_sha256)
        self.obligations.change(replace(self.obligations.record, root=root, time_floor=trusted.floor))

    def _offers(self, trusted: Trusted, medium: Medium) -> list[Offer]:
        offers = self._machine.read_offers(trusted, medium.reader)
        if not offers:
            # Names alone prove nothing; they only tell a stick whose bundles are withdrawn from one that never brought any.
            if trusted.newer_than_medium and names_or_none(medium.reader, TARGETS):
                raise OlderStickError(newer=trusted.newer_than_medium)
            require_no_lost_manifests(medium.reader)
        return offers

    def _choose(self, offers: list[Offer], insertion: Insertion) -> Offer | None:
        record = self.obligations.record
        match record.state:
            case Ready(attempt) | Activating(attempt):
                under_way = attempt.draft.bundle
                if under_way is not None and any(offer.manifest_sha256 == under_way.manifest_sha256 for offer in offers):
                    return None
                raise UpdateUnderWayError(version=attempt.target.version)
            case Idle():
                unit = load_unit(self._machine.configuration.state_dir)
                recipient = Recipient(unit.id, frozenset(unit.groups), self._machine.configuration.compatible)
                return choose(offers, recipient, record, insertion)
            case _:
                raise UpdateUnderWayError(version=record.committed.version)

    def _ask_gates(self) -> None:
        verdict = ask_gates(self._machine.configuration.gates.install, limit_s=GATES_LIMIT_S)
        match verdict.gate:
            case GateAnswer.GO:
                return
            case GateAnswer.LATER:
                raise GatePostponedError(gate=verdict.asked[-1].name)
            case GateAnswer.REFUSE:
                raise GateRefusedError(gate=verdict.asked[-1].name)
            case _:
                assert_never(verdict.gate)

    def _attempt(self, offer: Offer, trust: TrustFacts, facts: MediumFacts, insertion: Insertion) -> Attempt:
        record = self.obligations.record
        manifest = offer.manifest
        target = Installed(
            slot=self.obligations.boot.slot.other,
            version=manifest.version,
            sequence=manifest.sequence,
            images={artifact.slot_class: artifact.image for artifact in manifest.artifacts},
        )
        earlier = record.outcomes.get(offer.manifest_sha256)
        is_retake = insertion is Insertion.FOUND and earlier is not None
        draft = replace(
            self._machine.drafts.blank(),
            event=Event.INTERRUPTED,
            before=record.committed.release(),
            after=target.release(),
            bundle=_reference(offer),
            trust=trust,
            medium=facts,
            resumed=earlier is not None and earlier.event is Event.INTERRUPTED,
        )
        return Attempt(target, draft, retakes=earlier.retakes + 1 if is_retake and earlier is not None else 0)

    # --- Telling -----------------------------------------------------------------------------------------------------

    def _finish(self, medium: Medium | None, error: UsbupdateError | None) -> None:
        """Write the log, then signal: `done` may only come when the outcome is on the stick."""
        signal, why = self._answer(error)
        if medium is not None and self.rest is not Rest.REBOOTING and self._machine.configuration.export_logs:
            try:
                self._machine.export(medium, self.obligations, signal, why)
            except (MediumError, ForeignStickError, LedgerError, NotReadyError) as problem:
                # The receipts are safe on the device; the result of an update never depends on its log.
                why = why or str(problem)
        self._machine.announcer.announce(signal, why)

    def _answer(self, error: UsbupdateError | None) -> tuple[Signal, str]:
        """Return the signal that tells a person how things stand, and why."""
        match self.rest:
            case Rest.REBOOTING:
                return Signal.RESTARTING, ""
            case Rest.WAITING if error is None:
                return Signal.INSTALLED, ""
            case _:
                pass
        outcome = self.told[-1] if self.told else None
        has_failed = outcome is not None and outcome.event is not Event.COMMITTED
        if outcome is not None and outcome.problem is not None and has_failed:
            return Signal.FAILED, f"{outcome.problem.text} {next_step(outcome.event)}"
        if error is None:
            return Signal.DONE, ""
        return Signal.BUSY if isinstance(error, BusyError) else Signal.REFUSED, f"{error} {error.hint}"

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


def _reference(offer: Offer) -> BundleRef:
    return BundleRef(offer.manifest.name, offer.manifest_sha256)
