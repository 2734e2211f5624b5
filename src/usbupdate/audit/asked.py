"""What an auditor may ask of every device beyond its log's own consistency: what the office signed, and who is silent.

Source: design, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from usbupdate.audit.findings import Flaw
from usbupdate.core.receipt import ClockQuality, Event

if TYPE_CHECKING:
    from usbupdate.audit.examined import Examined
    from usbupdate.core.cosignature import Cosigner
    from usbupdate.core.words import Digest

_SHOWN: Final = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions; each is asked only if there is something to answer it by.

    Attributes:
        signed: the digests of everything that the office ever signed.
        heard_since: the moment after which every device should have been heard of.
        named: whose word counts that the office keeps receipts which are not here; see `audit.accounts`.
    """

    signed: frozenset[Digest] | None = None
    heard_since: datetime | None = None
    named: tuple[Cosigner, ...] = ()


NOTHING: Final = Asked()


def ask(asked: Asked, examined: Examined) -> None:
    """Note what a copy has to say to the questions of what was committed.

    Args:
        asked: the questions.
        examined: a copy whose contents were read.
    """
    if asked.signed is None:
        return
    for number, each in sorted(examined.proven.items()):
        bundle = each.receipt.draft.bundle
        if each.receipt.event is Event.COMMITTED and bundle is not None and bundle.manifest_sha256 not in asked.signed:
            examined.add(Flaw.NEVER_SIGNED, number, detail=f"{bundle.name}, {bundle.manifest_sha256[:_SHOWN]}…")


def ask_when(asked: Asked, longest: Examined) -> None:
    """Note if the last that a device's longest copy tells is too long ago, or if nobody can tell.

    Args:
        asked: the questions.
        longest: of the copies whose contents were read.
    """
    if asked.heard_since is None or not longest.proven:
        return
    number, last = max(longest.proven.items())
    moment = last.receipt.draft.moment
    if moment.clock is ClockQuality.SYSTEM and datetime.fromisoformat(moment.wall) < asked.heard_since:
        longest.add(Flaw.SILENT, number, detail=f"its last receipt is of {moment.wall}")
