"""What can be wrong with evidence: one word, one sentence and one advice for each flaw.

Source: docs/auditor.md, "What a finding means", tells them to people.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbupdate.core.strictjson import Json


class Flaw(StrEnum):
    """A way in which evidence is not in order."""

    UNREADABLE = "unreadable"
    RECEIPTS_MISSING = "receipts-missing"
    MALFORMED = "malformed"
    CUT_SHORT = "cut-short"
    TORN = "torn"
    FOREIGN_DEVICE = "foreign-device"
    SIGNATURE = "signature"
    MISSING = "missing"
    OUT_OF_ORDER = "out-of-order"
    REPEATED = "repeated"
    CHAIN = "chain"
    FORKED = "forked"
    SEEN_OTHERWISE = "seen-otherwise"
    IDENTITY_MISSING = "identity-missing"
    IDENTITY_MALFORMED = "identity-malformed"
    IDENTITY_FOREIGN = "identity-foreign"
    KEY_CHANGED = "key-changed"
    CHECKPOINT_MISSING = "checkpoint-missing"
    CHECKPOINT_MALFORMED = "checkpoint-malformed"
    CHECKPOINT_SIGNATURE = "checkpoint-signature"
    CHECKPOINT_BEHIND = "checkpoint-behind"
    CHECKPOINT_ROOT = "checkpoint-root"
    WENT_BACK = "went-back"
    TIME_BACKWARDS = "time-backwards"
    NEVER_SIGNED = "never-signed"
    KEY_REPLACED = "key-replaced"
    SILENT = "silent"
    NEVER_HEARD = "never-heard"
    ACKNOWLEDGED_MALFORMED = "acknowledged-malformed"
    ACKNOWLEDGED_OTHERWISE = "acknowledged-otherwise"
    KEPT_AT_OFFICE = "kept-at-office"
    BEGINS_LATER = "begins-later"


class Severity(StrEnum):
    """How grave a flaw is, from what a person should know to what nobody but a holder of the key, or a thief, can have done."""

    NOTICE = "notice"
    """Nothing is wrong with the evidence."""
    INCOMPLETE = "incomplete"
    """An honest device whose stick was pulled, or did not come back, looks like that."""
    SUSPICIOUS = "suspicious"
    """A failing stick may do that, or a hand that meddled."""
    GRAVE = "grave"
    """No accident does that."""


_SEVERITY: Final[dict[Flaw, Severity]] = {
    **dict.fromkeys(Flaw, Severity.SUSPICIOUS),
    Flaw.KEY_REPLACED: Severity.NOTICE,
    Flaw.KEPT_AT_OFFICE: Severity.NOTICE,
    # What a stick looks like that was pulled, or was full, while an honest device wrote its log.
    Flaw.CHECKPOINT_BEHIND: Severity.INCOMPLETE,
    Flaw.CHECKPOINT_MISSING: Severity.INCOMPLETE,
    Flaw.IDENTITY_MISSING: Severity.INCOMPLETE,
    Flaw.RECEIPTS_MISSING: Severity.INCOMPLETE,
    Flaw.TORN: Severity.INCOMPLETE,
    Flaw.SILENT: Severity.INCOMPLETE,
    Flaw.NEVER_HEARD: Severity.INCOMPLETE,
    Flaw.SIGNATURE: Severity.GRAVE,
    Flaw.CHAIN: Severity.GRAVE,
    Flaw.FORKED: Severity.GRAVE,
    Flaw.SEEN_OTHERWISE: Severity.GRAVE,
    Flaw.KEY_CHANGED: Severity.GRAVE,
    Flaw.CHECKPOINT_SIGNATURE: Severity.GRAVE,
    Flaw.CHECKPOINT_ROOT: Severity.GRAVE,
    Flaw.WENT_BACK: Severity.GRAVE,
    Flaw.TIME_BACKWARDS: Severity.GRAVE,
    Flaw.NEVER_SIGNED: Severity.GRAVE,
    Flaw.ACKNOWLEDGED_OTHERWISE: Severity.GRAVE,
}


_COMPARE: Final = "Treat it as changed; get another copy of this device's log and compare."
_INSERT: Final = "Put a stick into the device again, or get the next one, and verify that."
_CLONE: Final = "Find out whether the device was copied or its key stolen; believe neither copy until then."

_TOLD: Final[dict[Flaw, tuple[str, str]]] = {
    Flaw.UNREADABLE: ("a file cannot be read", "Copy the stick's folder usbupdate with care and verify the copy."),
    Flaw.RECEIPTS_MISSING: ("the folder is there and the receipts are gone", _INSERT),
    Flaw.MALFORMED: ("the line is not a receipt in its one form", _COMPARE),
    Flaw.CUT_SHORT: ("the last line is cut short", _INSERT),
    Flaw.TORN: ("it is torn, and there is no checkpoint to say that it ever was whole", _INSERT),
    Flaw.FOREIGN_DEVICE: ("the line speaks of another device", "Somebody put it there; get another copy of this device's log."),
    Flaw.SIGNATURE: ("it is not signed by this device's key", _COMPARE),
    Flaw.MISSING: ("it is missing", "Somebody removed it or the copy is incomplete; " + _INSERT[0].lower() + _INSERT[1:]),
    Flaw.OUT_OF_ORDER: ("it does not stand in its place", "Somebody moved lines; get another copy of this device's log."),
    Flaw.REPEATED: ("it stands there twice", "Somebody added lines; get another copy of this device's log."),
    Flaw.CHAIN: ("it does not name the receipt before it", _CLONE),
    Flaw.FORKED: ("two different receipts with this number are signed by this device", _CLONE),
    Flaw.SEEN_OTHERWISE: ("you have seen another receipt with this number before", _CLONE),
    Flaw.IDENTITY_MISSING: ("identity.json is missing", _INSERT),
    Flaw.IDENTITY_MALFORMED: ("identity.json is not of its form", _COMPARE),
    Flaw.IDENTITY_FOREIGN: (
        "identity.json is another device's",
        "Somebody moved folders; get another copy of this device's log.",
    ),
    Flaw.KEY_CHANGED: (
        "the key is not the one that is enrolled",
        "Compare the fingerprint on the device itself; if it was not provisioned anew, somebody poses as it.",
    ),
    Flaw.CHECKPOINT_MISSING: ("the checkpoint is missing, so receipts may be missing at the end", _INSERT),
    Flaw.CHECKPOINT_MALFORMED: ("the checkpoint is not of its form", _COMPARE),
    Flaw.CHECKPOINT_SIGNATURE: ("the checkpoint is not signed by this device's key", _COMPARE),
    Flaw.CHECKPOINT_BEHIND: ("the checkpoint does not cover it, so receipts may be missing after it", _INSERT),
    Flaw.CHECKPOINT_ROOT: ("the checkpoint covers other receipts than these", _CLONE),
    Flaw.ACKNOWLEDGED_MALFORMED: ("what stands for receipts that are not there is not of its form", _COMPARE),
    Flaw.ACKNOWLEDGED_OTHERWISE: ("what stands for receipts that are not there is signed over other ones", _CLONE),
    Flaw.WENT_BACK: (
        "it went back to an older release without an authorisation that counts",
        "Ask the release office what was allowed; if that is nothing, somebody else's software ran on the device.",
    ),
    Flaw.TIME_BACKWARDS: (
        "it happened earlier than the receipt before it, in the same boot",
        "No clock of ours does that: find out what wrote it.",
    ),
    Flaw.NEVER_SIGNED: (
        "it committed a release that the office never signed",
        "Compare the digest with the office's list; if it is not there, somebody else's release runs on the device.",
    ),
    Flaw.KEY_REPLACED: (
        "this copy is from before its key was replaced",
        "Nothing: it is judged by the key of that time, and you have recorded who replaced it.",
    ),
    Flaw.KEPT_AT_OFFICE: (
        "it need not be here: the office has said that it keeps it",
        "Nothing; to see it, bring the store: 'usbupdate audit verify --store'.",
    ),
    Flaw.BEGINS_LATER: (
        "it is not here: the log begins later, and what lies beside it says that the office keeps it",
        "No stick will bring it; use --store to look at what is kept, or --repo to have that word checked.",
    ),
    Flaw.SILENT: ("nothing was heard of it for long", "Send somebody with a stick, or take it off the list."),
    Flaw.NEVER_HEARD: (
        "it is on the list, and no log of it is here",
        "Ask where its sticks are; whoever takes a whole folder off a stick leaves no other trace.",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One flaw of one device's evidence.

    Attributes:
        device: whose log it is.
        flaw: what is wrong.
        source: in which copy.
        receipt: the number of the first receipt that it is about; nothing if it is about no single one.
        until: the number of the last one.
        line: where the first one stands in `receipts.jsonl`, counted from 1.
        detail: more, for a person.
    """

    device: str
    flaw: Flaw
    source: str
    receipt: int | None = None
    until: int | None = None
    line: int | None = None
    detail: str = ""

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return _SEVERITY[self.flaw]

    def sentence(self) -> str:
        """Return device, receipt, what is wrong, how grave, where and what to do, in one line."""
        what, advice = _TOLD[self.flaw]
        line = f", line {self.line}" if self.line is not None else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.device}: {self._receipts()}{what}{detail} ({self.severity}) [{self.source}{line}]. {advice}"

    def table(self) -> dict[str, Json]:
        """Return the finding as a JSON object."""
        what, advice = _TOLD[self.flaw]
        return {
            "device": self.device,
            "flaw": str(self.flaw),
            "severity": str(self.severity),
            "receipt": self.receipt,
            "until": self.receipt if self.until is None else self.until,
            "line": self.line,
            "source": self.source,
            "what": what,
            "detail": self.detail,
            "advice": advice,
        }

    def _receipts(self) -> str:
        """Return which receipts it is about, to stand before what is wrong; nothing if it is about no single one."""
        if self.receipt is None:
            return ""
        return f"{receipts_named(self.receipt, self.receipt if self.until is None else self.until)}: "


def span(first: int, until: int) -> str:
    """Return numbers as they stand behind the word receipt or receipts."""
    return str(first) if first == until else f"{first} to {until}"


def receipts_named(first: int, until: int) -> str:
    """Return receipts by their numbers, such as "receipt 3" or "receipts 1 to 3"."""
    return f"{'receipt' if first == until else 'receipts'} {span(first, until)}"


def runs_joined(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings with the same flaw of neighbouring receipts told as one: a foreign key must not fill the screen."""
    joined: list[Finding] = []
    for finding in findings:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.receipt is not None
            # Each names another bundle and digest, and those are what has to be compared.
            and last.flaw is not Flaw.NEVER_SIGNED
            and (last.device, last.flaw, last.source) == (finding.device, finding.flaw, finding.source)
            and finding.receipt == (last.until or last.receipt) + 1
        ):
            joined[-1] = replace(last, until=finding.until or finding.receipt, detail="")
        else:
            joined.append(finding)
    return tuple(joined)
