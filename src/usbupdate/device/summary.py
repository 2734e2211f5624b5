"""`summary.txt`: what a technician wants to know of a device, in plain words; it is never evidence.

Source: design, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core.judgement import METADATA_CHECK
from usbupdate.core.plaintext import one_line
from usbupdate.core.receipt import CheckResult, Event, Receipt, Release
from usbupdate.errors import leaves, reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.core.identity import Identity
    from usbupdate.core.words import Slot
    from usbupdate.device.signals import Signal

EVENTS_SHOWN: Final = 10
_TEXT_MAX: Final = 300

_WORDS: Final[dict[Event, str]] = {
    Event.COMMITTED: "installed {to}; it passed its trial and is kept",
    Event.ROLLED_BACK: "{to} did not come up; the device went back to {before} by itself",
    Event.CHECK_FAILED: "{to} came up and failed its checks; the device went back to {before} by itself",
    Event.FAILED: "installing {to} failed on the device's side; {before} goes on running",
    Event.INTERRUPTED: "installing {to} was interrupted; {before} goes on running",
    Event.NOT_ACTIVATED: "{to} was installed, and the boot loader never started it; {before} goes on running",
    Event.LOADER_FAILED: "{to} could not be handed to the boot loader; {before} goes on running",
    Event.WITHDRAWN: "{to} was withdrawn by a person before it was started",
    Event.PROVISIONED: "this device was set up",
    Event.REFUSED: "a stick was refused; nothing was changed",
    Event.REJECTED: "a stick was rejected; nothing was changed",
    Event.FELL_BACK: "the device fell back to {to} by itself after it had kept a newer release",
    Event.STUCK: "the device runs a release that it should not, and could not leave it",
    Event.POSTPONED: "the device asked for the installation to be done later",
    Event.STATE_LOST: "the device lost its memory of what it was doing",
    Event.FORK_SUSPECTED: "somebody else may be writing receipts in this device's name",
    Event.LOG_EXPORT_CHANGED: "the owner changed whether receipts are written to sticks",
}
_NEXT_STEPS: Final[dict[Event, str]] = {
    Event.ROLLED_BACK: "Put the stick in again to try once more; if it happens twice, tell the release office.",
    Event.CHECK_FAILED: "Tell the release office which check failed; this release is not tried again by itself.",
    Event.FAILED: "Have the device looked at; this release is not tried again by itself.",
    Event.INTERRUPTED: "Put a stick in again; what is written already is kept.",
    Event.NOT_ACTIVATED: "Run 'usbupdate device check' on the device, then put the stick in again.",
    Event.LOADER_FAILED: "Run 'usbupdate device check' on the device, then put the stick in again.",
    Event.FELL_BACK: "Tell the release office; put the stick in again to install the newer release once more.",
    Event.STUCK: "The device needs a person: run 'usbupdate device check' on it.",
    Event.STATE_LOST: "Run 'usbupdate device check' on the device before the next update.",
    Event.FORK_SUSPECTED: "Bring this stick to the auditor.",
    Event.POSTPONED: "Put the stick in again when the machine is at rest.",
}


@dataclass(frozen=True, slots=True)
class Situation:
    """How the device stands at this moment; `version` is empty where unknown, `why` goes with the signal."""

    compatible: str
    booted: Slot | None
    version: str
    sequence: int
    signal: Signal
    why: str = ""


def next_step(event: Event) -> str:
    """Return what a person at the device does after an event; empty where nothing is to be done."""
    return _NEXT_STEPS.get(event, "")


def summarise(identity: Identity, newest: Sequence[Receipt], situation: Situation) -> bytes:
    """Return `summary.txt`.

    Args:
        identity: who the device is.
        newest: its newest receipts, oldest first; only the last `EVENTS_SHOWN` are told.
        situation: how it stands.
    """
    running = f"version {situation.version or 'unknown'}, sequence {situation.sequence}, slot {situation.booted or 'unknown'}"
    rows = [
        f"usbupdate: the device {identity.device}",
        "",
        f"Signal:       {situation.signal.sentence(situation.why)}",
        f"Running:      {running}",
        f"Kind:         {situation.compatible}",
        f"Fingerprint:  {identity.fingerprint}",
        "",
        "Last events, newest first, with the times as the device knew them:",
    ]
    for receipt in list(reversed(newest))[:EVENTS_SHOWN]:
        rows += _told(receipt)
    if not newest:
        rows.append("  none")
    rows += ["", "This page is for reading only. The proof lies beside it: receipts.jsonl and checkpoint."]
    return "".join(f"{row}\n" for row in rows).encode()


def _told(receipt: Receipt) -> list[str]:
    draft = receipt.draft
    words = _WORDS[receipt.event].format(
        to=_release(draft.after, "the new release"), before=_release(draft.before, "the old one")
    )
    rows = [f"  {receipt.number:>5}  {draft.moment.wall}  {words}"]
    if draft.count > 1:
        rows.append(f"         {draft.count} times")
    rows += [
        f"         check {one_line(check.name, _TEXT_MAX)}: {check.result}. {one_line(check.detail, _TEXT_MAX)}"
        for check in draft.checks
        if check.reason and (check.name, check.result) != (METADATA_CHECK, CheckResult.PASSED)
    ]
    if draft.problem is not None:
        rows.append(f"         {one_line(draft.problem.text, _TEXT_MAX)}")
    step = _next_step(receipt)
    if step:
        rows.append(f"         What to do: {step}")
    return rows


def _next_step(receipt: Receipt) -> str:
    """Return what the error tree advises for the reason, or what the event by itself asks for."""
    reason = receipt.draft.problem.reason if receipt.draft.problem else ""
    advice = {reason_of(leaf): leaf.hint for leaf in leaves()}
    return advice.get(reason) or _NEXT_STEPS.get(receipt.event, "")


def _release(release: Release | None, unknown: str) -> str:
    return f"version {release.version}" if release and release.version else unknown
