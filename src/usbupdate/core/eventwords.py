"""What an event means and what to do about it, in words for people who have never seen a boot loader.

The device's `summary.txt`, the auditor's timelines and the report say the same of the same receipt.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from usbupdate.core.receipt import ClockQuality, Event
from usbupdate.errors import leaves, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.receipt import Draft, Moment, Release

_WORDS: Final[Mapping[Event, str]] = {
    Event.COMMITTED: "installed {to}; it passed its trial and is kept",
    Event.ROLLED_BACK: "{to} did not come up; the device went back to {before} by itself",
    Event.CHECK_FAILED: "{to} came up and failed its checks; the device went back to {before} by itself",
    Event.FAILED: "installing {to} failed on the device's side; {before} goes on running",
    Event.INTERRUPTED: "installing {to} was interrupted; {before} goes on running",
    Event.NOT_ACTIVATED: "{to} was installed, and the device never started it; {before} goes on running",
    Event.LOADER_FAILED: "{to} was installed, and the device could not be told to start it; {before} goes on running",
    Event.WITHDRAWN: "{to} was withdrawn by a person before it was started",
    Event.PROVISIONED: "this device was set up",
    Event.REFUSED: "a stick was refused: not meant for this device, or not for now; nothing was changed",
    Event.REJECTED: "a stick was rejected: damaged, or not from the release office; nothing was changed",
    Event.FELL_BACK: "the device fell back to {to} by itself after it had kept a newer release",
    Event.STUCK: "the device runs a release that it should not, and could not leave it",
    Event.POSTPONED: "the device asked for the installation to be done later",
    Event.STATE_LOST: "the device lost its memory of what it was doing",
    Event.FORK_SUSPECTED: "somebody else may be writing receipts in this device's name",
    Event.LOG_EXPORT_CHANGED: "the owner changed whether receipts are written to sticks",
}

_CHECK: Final = "Tell the release office: somebody who can log in runs 'usbupdate device check' on this device"
_NEXT_STEPS: Final[Mapping[Event, str]] = {
    Event.ROLLED_BACK: "Put the stick in again to try once more; if it happens twice, tell the release office.",
    Event.CHECK_FAILED: "Tell the release office which check failed; this release is not tried again by itself.",
    Event.FAILED: "Tell the release office: the device has to be looked at; this release is not tried again by itself.",
    Event.INTERRUPTED: "Put a stick in again and leave it in until the signal changes; what is written already is kept.",
    Event.NOT_ACTIVATED: f"{_CHECK}; then put the stick in again.",
    Event.LOADER_FAILED: f"{_CHECK}; then put the stick in again.",
    Event.FELL_BACK: "Tell the release office; put the stick in again to install the newer release once more.",
    Event.STUCK: f"{_CHECK}, and soon.",
    Event.STATE_LOST: f"{_CHECK} before the next update.",
    Event.FORK_SUSPECTED: "Bring this stick to the auditor.",
    Event.POSTPONED: "Put the stick in again when the machine is at rest.",
}


def told(draft: Draft) -> str:
    """Return what happened, in one clause."""
    return _WORDS[draft.event].format(to=_named(draft.after, "the new release"), before=_named(draft.before, "the old one"))


def when(moment: Moment) -> str:
    """Return the time of a receipt to the minute; a device without a clock knows only that it was later than something."""
    shown = f"{moment.wall[:10]} {moment.wall[11:16]} UTC"
    return shown if moment.clock is ClockQuality.SYSTEM else f"after {shown}"


def next_step(event: Event) -> str:
    """Return what a person at the device does after an event; empty where nothing is to be done."""
    return _NEXT_STEPS.get(event, "")


def advice(draft: Draft) -> str:
    """Return what the error tree advises for the reason, or what the event by itself asks for; empty if that is nothing."""
    reason = draft.problem.reason if draft.problem else ""
    return _hints().get(reason) or next_step(draft.event)


@cache
def _hints() -> Mapping[str, str]:
    return {reason_of(leaf): leaf.hint for leaf in leaves()}


def _named(release: Release | None, unknown: str) -> str:
    return f"version {release.version}" if release and release.version else unknown
