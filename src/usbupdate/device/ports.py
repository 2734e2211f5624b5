"""What the agent needs from a machine; one real and one simulated object stand behind each Protocol.

Fake and real pass one contract test. They are joined in one place a side: `device.board` and `simulate.bench`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from usbupdate.core.acknowledged import Acknowledged
    from usbupdate.core.lifecycle import Tried
    from usbupdate.core.receipt import Check, Draft, Moment, Traffic
    from usbupdate.core.record import Attempt, DeviceRecord
    from usbupdate.core.words import BootId, ReceiptId, Slot, SlotClass


class BootLoader(Protocol):
    """The boot loader's memory of slots. Every method raises `BootLoaderError` when it cannot do what it promises.

    Source: design, section 6.
    """

    def booted(self) -> Slot:
        """Return the slot that is running."""

    def mark_good(self, slot: Slot) -> None:
        """Make the slot choosable with all its tries; the order stays."""

    def mark_bad(self, slot: Slot) -> None:
        """Make the slot one that is not chosen; reads back, and raises if it could still be chosen."""

    def mark_active(self, slot: Slot) -> None:
        """Make the slot the first in order, with its tries."""

    def was_tried(self, slot: Slot) -> Tried:
        """Tell whether the slot was tried: yes only if it can be chosen and some of its tries are used."""

    def is_on_trial(self, slot: Slot) -> bool | None:
        """Tell whether the slot was made active and neither good nor bad since; None where that cannot be told."""


class SlotImage(Protocol):
    """One block device of a slot, or a file that stands for one, open for one installation.

    Every method raises `SlotError` when the device fails. Several threads may use it at once, for bytes that do not overlap.
    """

    @property
    def size(self) -> int:
        """The capacity in bytes."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes.

        Of an image from `Slots.open`, what is durable comes from the device and not from memory, where the system allows it.
        """

    def write_at(self, offset: int, contents: bytes) -> None:
        """Write all of `contents`; not durable before `sync`."""

    def sync(self) -> None:
        """Make durable what was written."""

    def close(self) -> None:
        """Release the device."""


class Slots(Protocol):
    """The device's slots."""

    def classes(self) -> tuple[SlotClass, ...]:
        """Return the slot classes, which are the same for both slots."""

    def capacity(self, slot: Slot) -> Mapping[SlotClass, int]:
        """Return the size in bytes of each block device of a slot."""

    def open(self, slot: Slot) -> Mapping[SlotClass, SlotImage]:
        """Open every block device of a slot for reading and writing, exclusively; raises `SlotError`."""

    def open_running(self, slot: Slot, slot_class: SlotClass) -> SlotImage:
        """Open a block device of the running slot, for reading only; raises `SlotError`."""


class Clock(Protocol):
    """Time as this device knows it; whether it is to be believed is decided in `core.trust`."""

    def boot_id(self) -> BootId:
        """Return what names this boot and no other."""

    def monotonic_ms(self) -> int:
        """Return the milliseconds since the start of this boot."""

    def utc(self) -> datetime:
        """Return what the system clock says, aware and in UTC."""


class ReceiptLog(Protocol):
    """Where receipts go; appending is durable, and idempotent by id."""

    def append(self, draft: Draft) -> None:
        """Sign and append a receipt unless one with this id is there.

        Raises `LedgerError`, or `NotReadyError` when the device's key cannot be used; nothing was appended then.
        """

    def holds(self, receipt: ReceiptId) -> bool:
        """Tell whether a receipt with this id is there."""

    def count(self) -> int:
        """Return how many receipts there are."""

    def require_at_least(self, count: int) -> None:
        """Raise `LedgerError` if there are fewer receipts than the state remembers: their numbers must not be used again."""


class Ledger(ReceiptLog, Protocol):
    """The device's chained receipts."""

    def newest(self) -> Draft | None:
        """Return what the newest receipt says, if there is one; raises `LedgerError` where it is none of ours."""

    def first(self) -> int:
        """Return the number of the first receipt that is still there as a whole."""

    def acknowledged(self) -> Acknowledged | None:
        """Return up to where the office has acknowledged the receipts, if it has."""

    def has_room(self) -> bool:
        """Tell whether whatever one more attempt may have to report is sure to fit."""


class Rebooter(Protocol):
    """Asks the machine to restart."""

    def reboot(self) -> None:
        """Ask for a restart at once; the call may return before the machine goes down."""


class DeadMan(Protocol):
    """Restarts a trial by force that nobody decides."""

    def stand_down(self) -> None:
        """Let nothing restart this boot by force any more: what runs is no trial."""


class Store(Protocol):
    """Where the record lives."""

    def save(self, record: DeviceRecord) -> None:
        """Replace the record durably and in one step."""


class Judge(Protocol):
    """Runs the checks of a trial."""

    def judge(self) -> tuple[Check, ...]:
        """Return every check's result; what fails or runs late is a result, not an exception."""


class RebootGate(Protocol):
    """Says whether the device may restart now."""

    def is_open(self) -> bool:
        """Tell whether a restart is allowed now."""


class Drafts(Protocol):
    """Makes what receipts begin with."""

    def blank(self) -> Draft:
        """Return a draft with an id of its own, at this moment."""

    def moment(self) -> Moment:
        """Return this moment as this device tells time."""


class Installation(Protocol):
    """Writes and reads back the slot of one attempt."""

    @property
    def moved(self) -> Traffic | None:
        """What was moved by a run that an error ended, as far as that is known."""

    def run(self, attempt: Attempt, progressed: Progressed) -> Traffic:
        """Install, and return what it moved; raises `SlotError`, or `MediumError` or `RejectedError` for the stick's fault."""


class Progressed(Protocol):
    """Called once, after the first chunk that was newly verified and written is durable."""

    def __call__(self) -> None:
        """Remember it."""
