"""One look at one stick, and the installation that may follow: the order of the checks, from the cheapest doubt to the last.

What is learned on the way is kept, so that a refusal's receipt says as much as an installation's.

Source: design, sections 3 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from usbupdate.core import lifecycle
from usbupdate.core.authorisation import check_of
from usbupdate.core.fit import require_fits
from usbupdate.core.layout import TARGETS, names_or_none, require_no_lost_manifests
from usbupdate.core.policy import Insertion, Offer, choose, with_authorisations
from usbupdate.core.receipt import BundleRef, Event
from usbupdate.core.record import Activating, Attempt, Idle, Installed, KnownRoot, Ready
from usbupdate.device.acknowledging import record_suspicion
from usbupdate.device.health import Gate, ask_gates
from usbupdate.device.installation import StickInstallation
from usbupdate.device.machine import GATES_LIMIT_S, Machine
from usbupdate.device.obligations import Obligations, Rest
from usbupdate.device.refusals import Learned, Refusals
from usbupdate.device.slotimages import close_all
from usbupdate.errors import (
    AcknowledgementError,
    DegradedError,
    ForkSuspectedError,
    GatePostponedError,
    GateRefusedError,
    LeavingError,
    LedgerFullError,
    MediumError,
    NotReadyError,
    OlderStickError,
    RefusedError,
    RejectedError,
    UpdateUnderWayError,
    UsbupdateError,
)

if TYPE_CHECKING:
    from contextlib import ExitStack

    from usbupdate.core.manifest import Manifest
    from usbupdate.core.trust import Trusted
    from usbupdate.core.words import SlotClass
    from usbupdate.device.installer import Advance, Installer
    from usbupdate.device.patience import PatientMedium
    from usbupdate.device.supply import Base


@dataclass(frozen=True, slots=True)
class Prepared:
    """An installation that may begin: nothing stands against it any more."""

    offer: Offer
    attempt: Attempt
    installer: Installer


class Taking:
    """What the agent does with one stick; `learned` is what is known of it so far."""

    def __init__(self, machine: Machine, obligations: Obligations, refusals: Refusals, progress: Advance) -> None:
        self.learned = Learned()
        self._machine = machine
        self._obligations = obligations
        self._refusals = refusals
        self._progress = progress

    def prepare(self, medium: PatientMedium, insertion: Insertion, rest: Rest, stack: ExitStack) -> Prepared | None:
        """Return the installation that the stick is for, or None where there is nothing to do; no slot has been changed.

        Args:
            medium: the stick.
            insertion: how it came.
            rest: how the device stands.
            stack: closes the slot's devices at its end, and ends what helps.

        Raises:
            UsbupdateError: why nothing is installed.
        """
        self.learned.medium = medium.facts()
        # 1. May this device take anything at all now?
        self._require_ready(insertion, rest)

        # 2. Is it genuine? What was proven is kept, whatever comes next.
        trusted = self._refresh(medium)
        if trusted is None:
            return None

        # 3. Does it bring word of receipts that have arrived? That may be what makes room for more of them.
        self._take_word(trusted, medium)
        if not self._machine.ledger.has_room():
            raise LedgerFullError

        # 4. Is it for this device?
        offer = self._choose(self._offered(trusted, medium), trusted, medium, insertion)
        if offer is None:
            return None
        self.learned.bundle = BundleRef(offer.manifest.name, offer.manifest_sha256)
        slot = self._obligations.boot.slot.other
        require_fits(offer.manifest, self._machine.slots.capacity(slot))

        # 5. Does the owner allow it now?
        self._ask_gates()

        # 6. Is every byte there that the slot lacks?
        images = self._machine.slots.open(slot)
        stack.callback(close_all, images)
        bases = self._bases(offer.manifest, medium, stack)
        unpack = stack.enter_context(self._machine.unpacking())
        installer = self._machine.installer(offer.manifest, medium.reader, images, bases, unpack)
        installer.verify(self._progress)
        return Prepared(offer, self._attempt(offer, insertion), installer)

    def install(self, prepared: Prepared) -> UsbupdateError | None:
        """Install, and return why that failed, if it did; the lifecycle has its outcome either way."""
        self._refusals.close()
        installation = StickInstallation(prepared.installer.install, self._progress)
        return self._obligations.install(prepared.attempt, installation)

    def _require_ready(self, insertion: Insertion, rest: Rest) -> None:
        """Refuse where nothing may be installed, whatever the stick holds."""
        if rest is Rest.DEGRADED:
            state = self._obligations.record.state
            is_stuck = isinstance(state, Idle) and state.stuck
            problem = self._obligations.loader_problem or self._obligations.ledger_problem
            if problem is not None or not (is_stuck and insertion is Insertion.PERSON):
                raise DegradedError(problem=str(problem or lifecycle.STUCK_OUTSIDE.text))
        self._machine.require_reliable()

    def _refresh(self, medium: PatientMedium) -> Trusted | None:
        """Return what is trusted now; the state remembers the newest root and the time floor, also those of a bad stick."""
        known = self._obligations.record.root
        try:
            trusted = self._machine.refresh(medium.reader, known, self.learned.medium, self.learned.judged_by)
        except (RejectedError, RefusedError, MediumError):
            if self.learned.judgement is not None:
                self._remember(*self._machine.proven())
            raise
        if trusted is not None:
            self.learned.accepted(trusted)
            self._remember(KnownRoot(trusted.root_version, trusted.root_sha256), trusted.floor)
        return trusted

    def _take_word(self, trusted: Trusted, medium: PatientMedium) -> None:
        """Take the office's word on this device's receipts; whatever is wrong with it changes nothing else."""
        try:
            self._machine.acknowledge(trusted, medium.reader)
        except (AcknowledgementError, NotReadyError) as error:
            self.learned.aside = f"{error} {error.hint}"
        except ForkSuspectedError as error:
            self.learned.aside = f"{error} {error.hint}"
            record_suspicion(error, self.learned, self._obligations, self._machine.drafts)

    def _remember(self, root: KnownRoot, time_floor: str) -> None:
        self._obligations.change(replace(self._obligations.record, root=root, time_floor=time_floor))

    def _offered(self, trusted: Trusted, medium: PatientMedium) -> tuple[str, ...]:
        names = self._machine.names_of_offers(trusted, medium.reader)
        if not names:
            # Names alone prove nothing; they only tell a stick whose bundles are withdrawn from one that never brought any.
            if trusted.newer_than_medium and names_or_none(medium.reader, TARGETS):
                raise OlderStickError(newer=trusted.newer_than_medium)
            require_no_lost_manifests(medium.reader)
        return names

    def _choose(self, names: tuple[str, ...], trusted: Trusted, medium: PatientMedium, insertion: Insertion) -> Offer | None:
        record = self._obligations.record
        match record.state:
            case Ready(attempt) | Activating(attempt):
                under_way = attempt.draft.bundle
                if under_way is not None and any(trusted.targets[name].sha256 == under_way.manifest_sha256 for name in names):
                    return None
                raise UpdateUnderWayError(version=attempt.target.version)
            case Idle():
                recipient, used = self._machine.recipient(), record.downgrade_number
                authorisations = self._machine.read_authorisations(trusted, medium.reader, recipient.id, used)
                offers = with_authorisations(self._machine.read_offers(trusted, medium.reader, names), authorisations)
                return choose(offers, recipient, record, insertion, trusted.now)
            case _:
                raise LeavingError

    def _bases(self, manifest: Manifest, medium: PatientMedium, stack: ExitStack) -> dict[SlotClass, Base]:
        """Return the deltas that were made for what this device runs; `stack` closes the running slot's devices."""
        slot = self._obligations.boot.slot
        running = self._obligations.record.whole.get(slot)
        bases = {}
        for artifact in manifest.artifacts:
            if not artifact.deltas:
                continue
            known = None if running is None else running.images.get(artifact.slot_class)
            image = self._machine.slots.open_running(slot, artifact.slot_class)
            stack.callback(image.close)
            if base := self._machine.base(artifact, medium.reader, known, image):
                bases[artifact.slot_class] = base
        return bases

    def _ask_gates(self) -> None:
        verdict = ask_gates(self._machine.configuration.gates.install, limit_s=GATES_LIMIT_S)
        self.learned.checks = verdict.asked
        match verdict.gate:
            case Gate.GO:
                return
            case Gate.LATER:
                raise GatePostponedError(gate=verdict.asked[-1].name)
            case Gate.REFUSE:
                raise GateRefusedError(gate=verdict.asked[-1].name)
            case _:
                assert_never(verdict.gate)

    def _attempt(self, offer: Offer, insertion: Insertion) -> Attempt:
        record = self._obligations.record
        manifest = offer.manifest
        target = Installed(
            slot=self._obligations.boot.slot.other,
            version=manifest.version,
            sequence=manifest.sequence,
            images={artifact.slot_class: artifact.image for artifact in manifest.artifacts},
        )
        earlier = record.outcomes.get(offer.manifest_sha256)
        authorised = () if offer.authorisation is None else (check_of(offer.authorisation),)
        is_retake = insertion is Insertion.FOUND and earlier is not None
        draft = replace(
            self._machine.drafts.blank(),
            event=Event.INTERRUPTED,
            before=record.committed.release(),
            after=target.release(),
            bundle=self.learned.bundle,
            trust=self.learned.trust,
            checks=(*self.learned.metadata_checks(), *authorised),
            medium=self.learned.medium,
            resumed=earlier is not None and earlier.event is Event.INTERRUPTED,
        )
        return Attempt(target, draft, retakes=earlier.retakes + 1 if is_retake and earlier is not None else 0)
