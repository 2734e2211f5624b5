"""What a device remembers: one value, replaced whole, in which the state is an unfinished obligation.

Source: design, section 6; ADR 0003.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usbupdate.core.receipt import Draft, Event, Release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.manifest import Blob
    from usbupdate.core.words import BootId, Digest, Slot, SlotClass

FORMAT: Final = 2
"""The highest that this agent knows."""
FORMAT_BEFORE_DOWNGRADES: Final = 1
"""What a device writes that has never gone back, so that the agent in its other slot can be an older one."""
OUTCOMES_MAX: Final = 64
"""How many bundles' outcomes are remembered; the oldest goes first, and sequence numbers still hold."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What one slot holds: a release and, for each slot class, its image's digest and size in bytes.

    An unknown version is an empty string, with sequence 0.
    """

    slot: Slot
    version: str
    sequence: int
    images: Mapping[SlotClass, Blob]

    def release(self) -> Release:
        """Return it as receipts name it."""
        return Release(self.version, self.sequence, {name: image.sha256 for name, image in self.images.items()})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One install and what is to become of it.

    `draft` is the receipt as it would be if nothing more came of the attempt. `retakes` counts how often the install was taken
    up again by itself since a chunk was last newly verified and written.
    """

    target: Installed
    draft: Draft
    retakes: int = 0

    @property
    def slot(self) -> Slot:
        """The slot that is written."""
        return self.target.slot


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is owed. When `stuck`, the device runs outside its committed slot and cannot get back by itself."""

    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Installing:
    """The slot is being written; it is not bootable until it was activated."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Ready:
    """The slot is written and read back, and waits for the reboot gate or a person."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Activating:
    """The slot is to be booted; `tries` counts the boots in which that was asked for, from 1."""

    attempt: Attempt
    boot_id: BootId
    tries: int


@dataclass(frozen=True, slots=True)
class Trial:
    """The new release runs and is being judged."""

    attempt: Attempt
    boot_id: BootId


@dataclass(frozen=True, slots=True)
class Committing:
    """The new release passed and is to become what the device is meant to run."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Condemning:
    """The slot is to become unbootable; the attempt's draft says why. `failures` counts how often that failed."""

    attempt: Attempt
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Recording:
    """A receipt is to be appended."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class Leaving:
    """The device runs in a slot that it must not run and is to reboot; `tries` counts the boots that began so."""

    boot_id: BootId
    tries: int


State = Idle | Installing | Ready | Activating | Trial | Committing | Condemning | Recording | Leaving


@dataclass(frozen=True, slots=True)
class BundleOutcome:
    """What last became of a bundle on this device.

    `attempts` counts its installs; `by_restart` says that the last one was interrupted by power or a restart, not by the stick;
    `retakes` as in `Attempt`.
    """

    event: Event
    attempts: int
    by_restart: bool = False
    retakes: int = 0


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """The newest TUF root that this device has accepted."""

    version: int
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Repeat:
    """How often the same refusal came again in one boot, still to be recorded once with a count."""

    draft: Draft
    count: int


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """Everything in `state.json`.

    `committed` is what the device is meant to run. `whole` holds each slot believed whole and never condemned. `floor` is the
    highest sequence ever committed, or since the device last went back by an authorisation; `downgrade_number` is the number of
    the last one used, 0 for none. `pending` are receipts that the ledger could not take. `outcomes` is by manifest digest,
    the oldest first. `exports_logs` is what the owner allowed when that was last recorded. `time_floor` is that of the last
    refresh, for telling time at a boot that does not look at trust. `ledger_count` is how many receipts the ledger held: one
    with fewer has lost some.
    """

    committed: Installed
    whole: Mapping[Slot, Installed]
    floor: int
    root: KnownRoot
    state: State = field(default_factory=Idle)
    pending: tuple[Draft, ...] = ()
    outcomes: Mapping[Digest, BundleOutcome] = field(default_factory=dict)
    repeat: Repeat | None = None
    exports_logs: bool = True
    time_floor: str = "1970-01-01T00:00:00Z"
    ledger_count: int = 0
    downgrade_number: int = 0

    @property
    def format(self) -> int:
        """The format of the file that it is saved as."""
        return FORMAT if self.downgrade_number else FORMAT_BEFORE_DOWNGRADES

    @property
    def is_committed_whole(self) -> bool:
        """Whether the committed slot was never condemned or written over since it was committed."""
        return self.whole.get(self.committed.slot) == self.committed
