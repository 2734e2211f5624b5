"""Receipts: what a device says it did, as an in-toto Statement that stands in one line.

Here are the values; their strict form is in `core.statement`, the signature around it in `core.envelope`, the tree over the
lines in `core.merkle`.

Source: design, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from usbupdate.core.words import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.words import BootId, BundleName, DeviceId, ReceiptId, SlotClass

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:usbupdate:receipt:1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
RECEIPT_SIZE_MAX: Final = 64 << 10
"""The largest statement in bytes; what a device puts in is cut so that it fits."""

NO_PREVIOUS: Final = Digest("0" * 64)
DETAIL_MAX: Final = 2000
HINT_MAX: Final = 200
LIST_MAX: Final = 64


class Event(StrEnum):
    """What a receipt reports; the outcomes come exactly once for each attempt."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"
    CHECK_FAILED = "check-failed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_ACTIVATED = "not-activated"
    LOADER_FAILED = "loader-failed"
    WITHDRAWN = "withdrawn"

    PROVISIONED = "provisioned"
    REFUSED = "refused"
    REJECTED = "rejected"
    FELL_BACK = "fell-back"
    STUCK = "stuck"
    POSTPONED = "postponed"
    STATE_LOST = "state-lost"
    FORK_SUSPECTED = "fork-suspected"
    LOG_EXPORT_CHANGED = "log-export-changed"


OUTCOMES: Final = frozenset({
    Event.COMMITTED,
    Event.ROLLED_BACK,
    Event.CHECK_FAILED,
    Event.FAILED,
    Event.INTERRUPTED,
    Event.NOT_ACTIVATED,
    Event.LOADER_FAILED,
    Event.WITHDRAWN,
})  # fmt: skip


REFUSALS: Final = frozenset({Event.REFUSED, Event.REJECTED, Event.POSTPONED})
"""What becomes of a stick that is not taken."""

PROVOKED: Final = REFUSALS | {Event.FORK_SUSPECTED}
"""What sticks can provoke as often as somebody likes, the last only with a stolen key."""


class ClockQuality(StrEnum):
    """Where a receipt's wall time comes from."""

    SYSTEM = "system"
    FLOOR = "floor"


class CheckResult(StrEnum):
    """What became of one check."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed-out"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened, as well as a device without a trusted clock can say.

    `monotonic_ms` counts from the start of the boot that `boot_id` names; `wall` is UTC.
    """

    boot_id: BootId
    monotonic_ms: int
    wall: str
    clock: ClockQuality


@dataclass(frozen=True, slots=True)
class Release:
    """What a slot holds or is to hold; `images` are the digests of its images by slot class."""

    version: str
    sequence: int
    images: Mapping[SlotClass, Digest]


@dataclass(frozen=True, slots=True)
class BundleRef:
    """Which bundle an event is about: its name and the digest of its manifest."""

    name: BundleName
    manifest_sha256: Digest


@dataclass(frozen=True, slots=True)
class TrustFacts:
    """On whose word the device acted."""

    root_version: int
    timestamp_version: int
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MediumFacts:
    """What the stick says of itself: hints for a person, never an identity; empty where unknown."""

    usb_id: str = ""
    serial: str = ""
    filesystem_uuid: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One check or gate: the name of its executable, its result, a reason code and its last lines."""

    name: str
    result: CheckResult
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an installation moved, in bytes, and how its chunks were obtained, in chunks."""

    read: int = 0
    written: int = 0
    skipped: int = 0
    equal: int = 0
    zero: int = 0
    delta: int = 0
    full: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something was refused, rejected or failed: a reason code of the error tree and its sentence."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything in a receipt except what the ledger adds when it is appended.

    `id` is unique and, for an outcome, the id of the attempt. `count` is how many identical events this one stands for.
    """

    id: ReceiptId
    event: Event
    moment: Moment
    before: Release | None = None
    after: Release | None = None
    bundle: BundleRef | None = None
    trust: TrustFacts | None = None
    checks: tuple[Check, ...] = ()
    medium: MediumFacts | None = None
    operator: str = "unattended"
    duration_ms: int = 0
    traffic: Traffic | None = None
    resumed: bool = False
    count: int = 1
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A draft at its place in a device's chain; `number` counts from 1 without gaps."""

    device: DeviceId
    number: int
    previous: Digest
    draft: Draft

    @property
    def event(self) -> Event:
        """What the receipt reports."""
        return self.draft.event
