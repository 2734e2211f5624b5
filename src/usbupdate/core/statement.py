"""The strict JSON form of receipts and of the drafts that wait for their place in the chain.

Source: design, section 7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from usbupdate.core import strictjson
from usbupdate.core.receipt import (
    DETAIL_MAX,
    HINT_MAX,
    LIST_MAX,
    PREDICATE_TYPE,
    RECEIPT_SIZE_MAX,
    STATEMENT_TYPE,
    BundleRef,
    Check,
    CheckResult,
    ClockQuality,
    Draft,
    Event,
    MediumFacts,
    Moment,
    Problem,
    Receipt,
    Release,
    Traffic,
    TrustFacts,
)
from usbupdate.core.statementform import recognised
from usbupdate.core.words import (
    BOOT_ID,
    BUNDLE_NAME,
    DEVICE_ID,
    DIGEST,
    RECEIPT_ID,
    SEQUENCE_MAX,
    SLOT_CLASS,
    VERSION_OR_NOTHING,
    BootId,
    BundleName,
    DeviceId,
    ReceiptId,
    SlotClass,
)

if TYPE_CHECKING:
    from usbupdate.core.strictjson import Fields, Json

_REASON: Final = re.compile(r"[a-z0-9-]{0,64}")
_TRAFFIC: Final = ("read", "written", "skipped", "equal", "zero", "delta", "full")


def encode(receipt: Receipt) -> bytes:
    """Return the statement that gets signed, in its one form; `decode` gives back an equal value."""
    predicate = draft_table(receipt.draft)
    predicate |= {"device": receipt.device, "number": receipt.number, "previous": receipt.previous}
    subject: list[Json] = [{"name": receipt.device, "digest": {"sha256": receipt.previous}}]
    if receipt.draft.bundle is not None:
        bundle = receipt.draft.bundle
        subject = [{"name": bundle.name, "digest": {"sha256": bundle.manifest_sha256}}]
    return strictjson.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def decode(raw: bytes) -> Receipt:
    """Return the receipt that a statement is.

    Raises:
        MalformedError: it is not exactly what `encode` writes for some receipt.
    """
    return recognised(raw) or decode_by_field(raw)


def decode_by_field(raw: bytes) -> Receipt:
    """Return what `decode` returns, which this decides: `recognised` is only faster at what is in good order.

    Raises:
        MalformedError: it is not exactly what `encode` writes for some receipt.
    """
    fields = strictjson.decode(raw, "receipt", limit=RECEIPT_SIZE_MAX)
    fields.text("_type", re.compile(re.escape(STATEMENT_TYPE)))
    fields.text("predicateType", re.compile(re.escape(PREDICATE_TYPE)))
    for subject in fields.objects("subject", limit=1):
        subject.free_text("name", limit=HINT_MAX)
        subject.inner("digest").digest("sha256")
    predicate = fields.inner("predicate")
    fields.done()
    receipt = Receipt(
        device=DeviceId(predicate.text("device", DEVICE_ID)),
        number=predicate.integer("number", 1, SEQUENCE_MAX),
        previous=predicate.digest("previous"),
        draft=draft_from(predicate),
    )
    # One value, one form: nothing can hide in blanks, key order or a subject that says something else.
    if encode(receipt) != raw:
        fields.fail("whole", "not in its one canonical form")
    return receipt


def draft_table(draft: Draft) -> dict[str, Json]:
    """Return a draft as a JSON object, for a statement or for the state file."""
    return {
        "id": draft.id,
        "event": str(draft.event),
        "boot_id": draft.moment.boot_id,
        "monotonic_ms": draft.moment.monotonic_ms,
        "wall": draft.moment.wall,
        "clock": str(draft.moment.clock),
        "from": None if draft.before is None else release_table(draft.before),
        "to": None if draft.after is None else release_table(draft.after),
        "bundle": None
        if draft.bundle is None
        else {"name": draft.bundle.name, "manifest_sha256": draft.bundle.manifest_sha256},
        "trust": None
        if draft.trust is None
        else {
            "root_version": draft.trust.root_version,
            "timestamp_version": draft.trust.timestamp_version,
            "signers": list(draft.trust.signers),
        },
        "checks": [
            {"name": check.name, "result": str(check.result), "reason": check.reason, "detail": check.detail}
            for check in draft.checks
        ],
        "medium": None
        if draft.medium is None
        else {
            "usb_id": draft.medium.usb_id,
            "serial": draft.medium.serial,
            "filesystem_uuid": draft.medium.filesystem_uuid,
            "label": draft.medium.label,
        },
        "operator": draft.operator,
        "duration_ms": draft.duration_ms,
        "traffic": None if draft.traffic is None else {name: getattr(draft.traffic, name) for name in _TRAFFIC},
        "resumed": draft.resumed,
        "count": draft.count,
        "problem": None if draft.problem is None else {"reason": draft.problem.reason, "text": draft.problem.text},
    }


def draft_from(fields: Fields) -> Draft:
    """Take a draft out of a JSON object that holds, besides, only what the caller has taken already.

    Raises:
        MalformedError: a field is missing, wrong or unknown.
    """
    draft = Draft(
        id=ReceiptId(fields.text("id", RECEIPT_ID)),
        event=fields.choice("event", Event),
        moment=Moment(
            boot_id=BootId(fields.text("boot_id", BOOT_ID)),
            monotonic_ms=fields.integer("monotonic_ms", 0, SEQUENCE_MAX),
            wall=fields.time("wall"),
            clock=fields.choice("clock", ClockQuality),
        ),
        before=release_from(fields.inner("from")) if fields.given("from") else None,
        after=release_from(fields.inner("to")) if fields.given("to") else None,
        bundle=_bundle(fields.inner("bundle")) if fields.given("bundle") else None,
        trust=_trust(fields.inner("trust")) if fields.given("trust") else None,
        checks=tuple(_check(each) for each in fields.objects("checks", limit=LIST_MAX)),
        medium=_medium(fields.inner("medium")) if fields.given("medium") else None,
        operator=fields.free_text("operator", limit=HINT_MAX),
        duration_ms=fields.integer("duration_ms", 0, SEQUENCE_MAX),
        traffic=_traffic(fields.inner("traffic")) if fields.given("traffic") else None,
        resumed=fields.flag("resumed"),
        count=fields.integer("count", 1, SEQUENCE_MAX),
        problem=_problem(fields.inner("problem")) if fields.given("problem") else None,
    )
    fields.done()
    return draft


def release_table(release: Release) -> dict[str, Json]:
    """Return a release as a JSON object."""
    return {
        "version": release.version,
        "sequence": release.sequence,
        "images": dict(sorted(release.images.items())),
    }


def release_from(fields: Fields) -> Release:
    """Take a release out of a JSON object that holds nothing else; an unknown version is an empty string.

    Raises:
        MalformedError: a field is missing, wrong or unknown.
    """
    images = fields.inner("images")
    for name in images.names():
        if not SLOT_CLASS.fullmatch(name):
            images.fail(name, "not a slot class")
    release = Release(
        version=fields.text("version", VERSION_OR_NOTHING),
        sequence=fields.integer("sequence", 0, SEQUENCE_MAX),
        images={SlotClass(name): images.digest(name) for name in images.names()},
    )
    fields.done()
    return release


def _bundle(fields: Fields) -> BundleRef:
    bundle = BundleRef(name=BundleName(fields.text("name", BUNDLE_NAME)), manifest_sha256=fields.digest("manifest_sha256"))
    fields.done()
    return bundle


def _trust(fields: Fields) -> TrustFacts:
    trust = TrustFacts(
        root_version=fields.integer("root_version", 1, SEQUENCE_MAX),
        timestamp_version=fields.integer("timestamp_version", 0, SEQUENCE_MAX),
        signers=fields.texts("signers", DIGEST, limit=LIST_MAX),
    )
    fields.done()
    return trust


def _check(fields: Fields) -> Check:
    check = Check(
        name=fields.free_text("name", limit=HINT_MAX),
        result=fields.choice("result", CheckResult),
        reason=fields.text("reason", _REASON),
        detail=fields.free_text("detail", limit=DETAIL_MAX),
    )
    fields.done()
    return check


def _medium(fields: Fields) -> MediumFacts:
    medium = MediumFacts(
        usb_id=fields.free_text("usb_id", limit=HINT_MAX),
        serial=fields.free_text("serial", limit=HINT_MAX),
        filesystem_uuid=fields.free_text("filesystem_uuid", limit=HINT_MAX),
        label=fields.free_text("label", limit=HINT_MAX),
    )
    fields.done()
    return medium


def _traffic(fields: Fields) -> Traffic:
    traffic = Traffic(**{name: fields.integer(name, 0, SEQUENCE_MAX) for name in _TRAFFIC})
    fields.done()
    return traffic


def _problem(fields: Fields) -> Problem:
    problem = Problem(reason=fields.text("reason", _REASON), text=fields.free_text("text", limit=DETAIL_MAX))
    fields.done()
    return problem
