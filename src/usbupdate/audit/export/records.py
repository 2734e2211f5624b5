"""What an export holds: one record a proven receipt, one a finding, one a device that is enrolled and has no log here.

Every form of export is another spelling of these records; their fields are told in docs/auditor.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate.audit.proof import Proofs
from usbupdate.core.authorisation import used_in
from usbupdate.core.receipt import CheckResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from usbupdate.audit.findings import Finding
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.receipt import Receipt, Release
    from usbupdate.core.strictjson import Json
    from usbupdate.core.words import DeviceId

    Record = Mapping[str, Json]

RECEIPT: Final = "receipt"
FINDING: Final = "finding"
NO_LOG: Final = "no-log"

FIELDS: Final = (
    "kind", "device", "standing", "trust", "fingerprint", "receipt", "proof",
    "event", "time", "clock", "boot_id", "monotonic_ms",
    "from_version", "from_sequence", "to_version", "to_sequence", "bundle", "manifest_sha256",
    "root_version", "timestamp_version", "signers", "operator", "duration_ms", "resumed", "count",
    "reason", "problem", "failed_checks", "authorisation", "ticket", "usb_id", "serial", "filesystem_uuid", "label",
    "flaw", "severity", "until", "line", "source", "what", "detail", "advice",
)  # fmt: skip
"""All fields, in the order of the columns of a table; a record has those that its kind has."""


def records(verdicts: Iterable[Verdict], enrolled: Iterable[DeviceId]) -> Iterator[Record]:
    """Yield each device's receipts and findings, device by device, and then the enrolled devices without a log."""
    there = set()
    for verdict in verdicts:
        there.add(verdict.device)
        proofs = Proofs(verdict)
        of_device: dict[str, Json] = {
            "device": verdict.device,
            "standing": str(verdict.standing),
            "trust": None if verdict.trust is None else str(verdict.trust),
            "fingerprint": verdict.fingerprint,
        }
        for receipt in verdict.receipts:
            yield {"kind": RECEIPT, **of_device, "proof": str(proofs.of(receipt.number)), **_of_receipt(receipt)}
        for finding in verdict.findings:
            yield {"kind": FINDING, **of_device, **_of_finding(finding)}
    for device in enrolled:
        if device not in there:
            yield {"kind": NO_LOG, "device": device}


def _of_receipt(receipt: Receipt) -> dict[str, Json]:
    draft = receipt.draft
    by = used_in(draft.checks)
    table: dict[str, Json] = {
        "receipt": receipt.number,
        "event": str(draft.event),
        "time": draft.moment.wall,
        "clock": str(draft.moment.clock),
        "boot_id": draft.moment.boot_id,
        "monotonic_ms": draft.moment.monotonic_ms,
        **_of_release("from", draft.before),
        **_of_release("to", draft.after),
        "bundle": draft.bundle.name if draft.bundle else None,
        "manifest_sha256": draft.bundle.manifest_sha256 if draft.bundle else None,
        "root_version": draft.trust.root_version if draft.trust else None,
        "timestamp_version": draft.trust.timestamp_version if draft.trust else None,
        "signers": list(draft.trust.signers) if draft.trust else [],
        "operator": draft.operator,
        "duration_ms": draft.duration_ms,
        "resumed": draft.resumed,
        "count": draft.count,
        "reason": draft.problem.reason if draft.problem else None,
        "problem": draft.problem.text if draft.problem else None,
        "failed_checks": [
            f"{check.name}: {check.result} {check.detail}".rstrip()
            for check in draft.checks
            if check.result is not CheckResult.PASSED
        ],
        "authorisation": by.number if by else None,
        "ticket": by.ticket if by else None,
    }
    medium = draft.medium
    for name in ("usb_id", "serial", "filesystem_uuid", "label"):
        table[name] = getattr(medium, name) if medium else None
    return table


def _of_release(side: str, release: Release | None) -> dict[str, Json]:
    return {
        f"{side}_version": release.version if release else None,
        f"{side}_sequence": release.sequence if release else None,
    }


def _of_finding(finding: Finding) -> dict[str, Json]:
    return {name: value for name, value in finding.table().items() if name != "device"}
