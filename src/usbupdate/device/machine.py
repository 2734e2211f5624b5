"""A device, joined from its parts: what the agent works with.

What needs tuf, cryptography or zstandard is imported when it is first used: boot confirmation must work without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core.layout import LOGS, METADATA, READ_ME, TOP, require_no_folding_names
from usbupdate.core.policy import Recipient
from usbupdate.core.record import KnownRoot
from usbupdate.device import identity
from usbupdate.device.configuration import ClockTrust, Configuration, RebootPolicy, read_configured_root
from usbupdate.device.deadman import NoDeadMan
from usbupdate.device.drafts import DeviceDrafts
from usbupdate.device.health import Gate, ask_gates
from usbupdate.device.ledger import Ledger
from usbupdate.device.pipeline import WORKERS
from usbupdate.device.reliance import require_closed
from usbupdate.device.unit import load_unit
from usbupdate.device.unpacking import unpacking_without_rights
from usbupdate.errors import ForeignStickError, NotReadyError, StoredTrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from usbupdate.core.acknowledged import Acknowledged
    from usbupdate.core.authorisation import Authorisation
    from usbupdate.core.judgement import Judgement
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Artifact, Blob, Manifest
    from usbupdate.core.policy import Offer
    from usbupdate.core.receipt import Draft, MediumFacts
    from usbupdate.core.trust import Trusted
    from usbupdate.core.unpack import Unpack
    from usbupdate.core.words import DeviceId, ReceiptId, SlotClass
    from usbupdate.device import ports
    from usbupdate.device.installer import Installer
    from usbupdate.device.media import Medium
    from usbupdate.device.obligations import Obligations
    from usbupdate.device.ports import BootLoader, Clock, DeadMan, Judge, Rebooter, RebootGate, SlotImage, Slots
    from usbupdate.device.signals import Announcer, Signal
    from usbupdate.device.statestore import StateStore
    from usbupdate.device.supply import Base

GATES_LIMIT_S: Final = 60.0
TRUST_FOLDER: Final = "trust"
LEDGER_FOLDER: Final = "ledger"
_NOT_FOR_DEVICES: Final = frozenset({LOGS[-1], READ_ME[-1]})


def _nobody_knows() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Machine:
    """One device and all its parts; `has_stick` tells whether a stick is in that will be taken care of after this."""

    configuration: Configuration
    store: StateStore
    loader: BootLoader
    slots: Slots
    ledger: ports.Ledger
    clock: Clock
    drafts: DeviceDrafts
    judge: Judge
    reboot_gate: RebootGate
    rebooter: Rebooter
    announcer: Announcer
    has_stick: Callable[[], bool] = _nobody_knows
    may_be_on_trial: bool = False
    """Whether the boot loader says on the kernel's line that it is trying this slot; it may have passed since."""
    dead_man: DeadMan = NoDeadMan()  # noqa: RUF009 - it has no state
    workers: int = WORKERS
    """How many chunks are worked on at once."""
    unpacking: Callable[[], AbstractContextManager[Unpack]] = unpacking_without_rights
    """What takes frames apart, for one installation."""

    def require_reliable(self) -> None:
        """Refuse where the device could not sign what becomes of an update, or others hold what it relies on.

        Raises:
            NotReadyError: its key or its identity is missing or unreadable, or something is in the reach of others.
        """
        require_closed(self.configuration)
        identity.load_signer(self.configuration.state_dir)

    def refresh(
        self, medium: MediumReader, known: KnownRoot, facts: MediumFacts, judged: Callable[[Judgement], None]
    ) -> Trusted | None:
        """Return what is trusted after looking at a stick's metadata, or None for a stick that is for receipts only.

        Args:
            medium: the stick.
            known: the newest root that the state remembers; a trust store that knows less was tampered with or restored.
            facts: what is known of the stick, so that a later refusal can name the one that brought newer metadata.
            judged: is told by what time its metadata are judged; see `core.trust.refresh`.

        Raises:
            ForeignStickError: the stick is none of ours.
            RejectedError: it is, and something on it is not what was signed.
            NotReadyError: the device's own trust cannot be used.
        """
        from usbupdate.device.truststore import TrustStore  # noqa: PLC0415 - needs tuf

        if TOP not in medium.names(()):
            raise ForeignStickError
        require_no_folding_names(medium)
        inside = set(medium.names((TOP,)))
        if METADATA[-1] not in inside and inside <= _NOT_FOR_DEVICES:
            return None
        configured_root = read_configured_root(self.configuration)
        store = TrustStore(self._trust_folder)
        version, digest = store.newest_root()
        if version < known.version or (version == known.version and digest != known.sha256):
            raise StoredTrustError(name="root", problem=f"it is not the version {known.version} that the state remembers")
        origin = facts.label or facts.serial
        return store.refresh(medium, self.drafts.reading(), configured_root, origin=origin, judged=judged)

    def proven(self) -> tuple[KnownRoot, str]:
        """Return the newest root and the time floor that the device's trust proves by now.

        Raises:
            NotReadyError: the device's own trust cannot be used.
        """
        from usbupdate.core.timefloor import format_time  # noqa: PLC0415 - only beside what needs tuf
        from usbupdate.device.truststore import TrustStore  # noqa: PLC0415 - needs tuf

        store = TrustStore(self._trust_folder)
        return KnownRoot(*store.newest_root()), format_time(store.floor())

    @property
    def _trust_folder(self) -> Path:
        return self.configuration.state_dir / TRUST_FOLDER

    def recipient(self) -> Recipient:
        """Return which device this is, as bundles and authorisations name it.

        Raises:
            NotReadyError: its identity or its unit file cannot be used.
        """
        state_dir = self.configuration.state_dir
        unit = load_unit(state_dir)
        return Recipient(unit.id, frozenset(unit.groups), self.configuration.compatible, identity.load(state_dir).fingerprint)

    def names_of_offers(self, trusted: Trusted, medium: MediumReader) -> tuple[str, ...]:
        """Return the names of what the stick offers; see `device.offers`."""
        from usbupdate.device.offers import names_of_offers  # noqa: PLC0415 - needs tuf

        return names_of_offers(trusted, medium)

    def read_offers(self, trusted: Trusted, medium: MediumReader, names: Iterable[str]) -> Iterator[Offer]:
        """Return what the stick offers under some names, one at a time; see `device.offers`."""
        from usbupdate.device.offers import read_offers  # noqa: PLC0415 - needs tuf

        return read_offers(trusted, medium, names)

    def read_authorisations(self, trusted: Trusted, medium: MediumReader, device: DeviceId, used: int) -> list[Authorisation]:
        """Return by which authorisations on the stick a device may go back; see `device.offers`."""
        from usbupdate.device.offers import read_authorisations  # noqa: PLC0415 - needs tuf

        return read_authorisations(trusted, medium, device, used)

    def base(self, artifact: Artifact, medium: MediumReader, running: Blob | None, image: SlotImage) -> Base | None:
        """Return the delta that was made for what this device runs; see `device.supply`."""
        from usbupdate.device.supply import base_among  # noqa: PLC0415 - needs zstandard

        return base_among(artifact, medium, running, image)

    def installer(
        self,
        manifest: Manifest,
        medium: MediumReader,
        images: Mapping[SlotClass, SlotImage],
        bases: Mapping[SlotClass, Base],
        unpack: Unpack,
    ) -> Installer:
        """Return what installs a release; see `device.installer`."""
        from usbupdate.device.installer import Installer  # noqa: PLC0415 - needs zstandard

        return Installer(manifest, medium, images, bases, self.workers, unpack)

    def acknowledge(self, trusted: Trusted, medium: MediumReader) -> None:
        """Take the office's word on this device's receipts from a stick; see `device.acknowledging`."""
        from usbupdate.device.acknowledging import take_word  # noqa: PLC0415 - needs cryptography

        if isinstance(self.ledger, Ledger):
            take_word(medium, trusted.acknowledgers, identity.load(self.configuration.state_dir), self.ledger)

    def export(self, medium: Medium, obligations: Obligations, signal: Signal, why: str) -> None:
        """Bring the receipts that the stick lacks onto it; see `device.logexport`."""
        from usbupdate.device.logexport import export_log  # noqa: PLC0415 - needs cryptography
        from usbupdate.device.summary import Situation  # noqa: PLC0415 - the same

        if not isinstance(self.ledger, Ledger):
            return
        situation = Situation(
            compatible=self.configuration.compatible,
            booted=obligations.boot.slot,
            version=obligations.record.committed.version,
            sequence=obligations.record.committed.sequence,
            signal=signal,
            why=why,
        )
        with medium.writable() as mount:
            export_log(mount, identity.load(self.configuration.state_dir), self.ledger, situation)


class UnavailableLedger:
    """A ledger that cannot be opened: the device goes on running, and installs nothing. Implements `ports.Ledger`."""

    def __init__(self, problem: NotReadyError) -> None:
        self._problem = problem

    def append(self, draft: Draft) -> None:
        """Refuse; the receipt stays in the state file."""
        raise self._problem

    def holds(self, receipt: ReceiptId) -> bool:
        """Tell that nothing is known to be there."""
        return False

    def count(self) -> int:
        """Return 0: none can be read."""
        return 0

    def newest(self) -> Draft | None:
        """Return None: none can be read."""
        return None

    def first(self) -> int:
        """Return 1: nothing is known to be trimmed."""
        return 1

    def acknowledged(self) -> Acknowledged | None:
        """Return None: none can be read."""
        return None

    def require_at_least(self, count: int) -> None:
        """Do nothing: what cannot be opened refuses every receipt by itself."""

    def has_room(self) -> bool:
        """Refuse."""
        raise self._problem


def open_ledger(configuration: Configuration) -> ports.Ledger:
    """Return the device's ledger, or a stand-in that takes nothing when it cannot be opened."""
    state_dir = configuration.state_dir
    try:
        return Ledger.open(state_dir / LEDGER_FOLDER, identity.load(state_dir), lambda: identity.load_signer(state_dir))
    except NotReadyError as error:
        return UnavailableLedger(error)


def device_drafts(configuration: Configuration, clock: Clock, store: StateStore, operator: str) -> DeviceDrafts:
    """Return what makes this device's drafts."""
    is_trusted = configuration.clock is ClockTrust.SYSTEM
    return DeviceDrafts(clock, is_clock_trusted=is_trusted, floor=store.time_floor, operator=operator)


class ConfiguredGate:
    """Asks the configured gates before a restart. Implements `device.ports.RebootGate`."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def is_open(self) -> bool:
        """Tell whether a restart is allowed now; see `device.ports.RebootGate`."""
        match self._configuration.reboot:
            case RebootPolicy.AUTOMATIC:
                return True
            case RebootPolicy.MANUAL:
                return False
            case RebootPolicy.GATED:
                return ask_gates(self._configuration.gates.reboot, limit_s=GATES_LIMIT_S).gate is Gate.GO
