"""`summary.txt`: what a technician wants to know of a device, in plain words; it is never evidence.

Source: design, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core import eventwords
from usbupdate.core.judgement import METADATA_CHECK
from usbupdate.core.plaintext import one_line
from usbupdate.core.receipt import CheckResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Receipt
    from usbupdate.core.words import Slot
    from usbupdate.device.signals import Signal

EVENTS_SHOWN: Final = 10
_TEXT_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Situation:
    """How the device stands at this moment; `version` is empty where unknown, `why` goes with the signal."""

    compatible: str
    booted: Slot | None
    version: str
    sequence: int
    signal: Signal
    why: str = ""


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
        f"Next step:    {(eventwords.advice(newest[-1].draft) if newest else '') or 'none'}",
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
    rows = [f"  {receipt.number:>5}  {eventwords.when(draft.moment)}  {eventwords.told(draft)}"]
    if draft.count > 1:
        rows.append(f"         {draft.count} times")
    rows += [
        f"         check {one_line(check.name, _TEXT_MAX)}: {check.result}. {one_line(check.detail, _TEXT_MAX)}"
        for check in draft.checks
        if check.reason and (check.name, check.result) != (METADATA_CHECK, CheckResult.PASSED)
    ]
    if draft.problem is not None:
        rows.append(f"         {one_line(draft.problem.text, _TEXT_MAX)}")
    if step := eventwords.advice(draft):
        rows.append(f"         What to do: {step}")
    return rows
