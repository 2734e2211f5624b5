"""How far a single receipt is proven: what the findings say about its device, brought down to one line of the log."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from usbupdate.audit.devices import Trust
from usbupdate.audit.findings import Flaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.audit.findings import Finding
    from usbupdate.audit.verdict import Verdict


class Proof(StrEnum):
    """What stands behind a claim of a device, from the best to nothing."""

    PROVEN = "proven"
    """Signed by the device's key, whose fingerprint somebody compared."""
    PARTLY = "partly"
    """As far as the receipts that are here tell; others are known of, and what they say is not."""
    FIRST_USE = "first-use"
    """Signed by the key that the device showed when it was first heard of; nobody has compared it."""
    NOT_ENROLLED = "not-enrolled"
    """Signed, by a key that nobody vouched for."""
    QUESTIONED = "questioned"
    """Signed, and a finding speaks against it."""
    NONE = "none"
    """Nothing that is signed says so."""
    FOUND = "found"
    """No claim of the device: the check of its log brought it up."""


WORDS: Final[Mapping[Proof, str]] = {
    Proof.PROVEN: "signed by the device, and its key's fingerprint was compared",
    Proof.PARTLY: "signed by the device, whose key was compared, as far as it is here; receipts that are not might say more",
    Proof.FIRST_USE: "signed by the device; its key was taken on first use, nobody has compared the fingerprint",
    Proof.NOT_ENROLLED: "signed by a key that nobody has vouched for",
    Proof.QUESTIONED: "signed, but a finding speaks against it",
    Proof.NONE: "no signed receipt says so",
    Proof.FOUND: "no claim of the device: the check of its log has brought it up",
}
LABELS: Final[Mapping[Proof, str]] = {
    Proof.PROVEN: "proven",
    Proof.PARTLY: "proven of what is here",
    Proof.FIRST_USE: "signed, key not compared",
    Proof.NOT_ENROLLED: "key not vouched for",
    Proof.QUESTIONED: "in question",
    Proof.NONE: "not proven",
    Proof.FOUND: "found by the check",
}

_BY_TRUST: Final = {Trust.FINGERPRINT: Proof.PROVEN, Trust.FIRST_USE: Proof.FIRST_USE, None: Proof.NOT_ENROLLED}

_FROM_THERE_ON: Final = frozenset({Flaw.CHAIN, Flaw.FORKED, Flaw.SEEN_OTHERWISE, Flaw.CHECKPOINT_ROOT})
"""What says that there are two histories: all that follows belongs to one of them only."""
_OF_THE_KEY: Final = frozenset({Flaw.KEY_CHANGED, Flaw.CHECKPOINT_SIGNATURE})
"""What says that somebody else holds a key in this device's name."""


class Proofs:
    """The proof of each receipt of one device."""

    def __init__(self, verdict: Verdict) -> None:
        self.usual: Final = _BY_TRUST[verdict.trust]
        """What a receipt is worth against which no finding speaks."""
        self._is_all_questioned = any(each.flaw in _OF_THE_KEY for each in verdict.findings)
        self._questioned = [span for each in verdict.flaws if (span := _span(each)) is not None]

    def of(self, number: int) -> Proof:
        """Return how far the receipt with a number is proven."""
        if self._is_all_questioned or any(first <= number <= last for first, last in self._questioned):
            return Proof.QUESTIONED
        return self.usual

    def of_all(self) -> Proof:
        """Return how far a claim about the whole log is proven."""
        return Proof.QUESTIONED if self._is_all_questioned or self._questioned else self.usual

    def of_what_is_here(self) -> Proof:
        """Return how far a claim about the whole log is proven to which receipts are lacking."""
        found = self.of_all()
        return Proof.PARTLY if found is Proof.PROVEN else found


def _span(finding: Finding) -> tuple[int, float] | None:
    """Return the first and the last receipt that a finding speaks against, if it speaks of any."""
    if finding.receipt is None:
        return None
    if finding.flaw in _FROM_THERE_ON:
        return finding.receipt, float("inf")
    return finding.receipt, finding.until or finding.receipt
