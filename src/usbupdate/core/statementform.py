"""A receipt's statement recognised by its one form, in a single pass: what an auditor does a million times.

The form has no freedom (keys sorted, no blanks, numbers and texts in one spelling), so one pattern says all that can be said of
it. What the pattern knows is exactly what `core.statement` would take, with the same value; what it does not know, such as a
text with letters outside ASCII, is left to that module, which also says what is wrong with what is no receipt. So this may know
too little and never too much, which a property test holds.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

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
from usbupdate.core.words import (
    BOOT_ID,
    BUNDLE_NAME,
    DEVICE_ID,
    RECEIPT_ID,
    SLOT_CLASS,
    TIME,
    VERSION_OR_NOTHING,
    BootId,
    BundleName,
    DeviceId,
    Digest,
    ReceiptId,
    SlotClass,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNT: Final = "([1-9][0-9]{0,14})"
"""No more digits than every integer may have; the few larger ones are left to `core.statement`."""
_NUMBER: Final = f"(0|{_COUNT[1:-1]})"
_DIGEST: Final = "([0-9a-f]{64})"
_PLAIN: Final = r"[ !#-\[\]-~]*+"
_TEXT: Final = rf'({_PLAIN}(?:\\[nt"\\]{_PLAIN})*+)'
_REASON: Final = "([a-z0-9-]{0,64})"
_QUOTED_DIGEST: Final = f'"{_DIGEST}"'
_IMAGE: Final = f'"({SLOT_CLASS.pattern})":"{_DIGEST}"'
_CHECK: Final = rf'\{{"detail":"{_TEXT}","name":"{_TEXT}","reason":"{_REASON}","result":"([a-z-]+)"\}}'
_REMEMBERED: Final = 256
_TRAFFIC: Final = ("delta", "equal", "full", "read", "skipped", "written", "zero")

_EVENTS: Final = {str(each): each for each in Event}
_RESULTS: Final = {str(each): each for each in CheckResult}
_CLOCKS: Final = {str(each): each for each in ClockQuality}


def recognised(raw: bytes) -> Receipt | None:
    """Return the receipt that a statement is, or None where it is none or only `core.statement` can tell."""
    if len(raw) > RECEIPT_SIZE_MAX or (found := _pattern()(raw.decode("latin-1"))) is None:
        return None
    try:
        return _receipt(*found.groups())  # type: ignore[arg-type]  # what each group is, the pattern says
    except (ValueError, LookupError):
        return None


def _listed(item: str) -> str:
    """Return the pattern of a list as one group; its items are taken apart later, if there are any."""
    whole = re.sub(r"(?<!\\)\((?!\?)", "(?:", item)
    return f"((?:{whole}(?:,{whole})*+)?+)"


def _object(name: str, /, **fields: str) -> str:
    return rf'"{name}":(?:null|\{{{_fields(**fields)}\}})'


def _fields(**fields: str) -> str:
    return ",".join(f'"{name}":{pattern}' for name, pattern in sorted(fields.items()))


def _release(name: str) -> str:
    return _object(name, images=rf"\{{{_listed(_IMAGE)}\}}", sequence=_NUMBER, version=f'"({VERSION_OR_NOTHING.pattern})"')


@cache
def _pattern() -> Callable[[str], re.Match[str] | None]:
    # Made when the first receipt is read: confirming a boot reads none.
    predicate = ",".join((
        f'"boot_id":"({BOOT_ID.pattern})"',
        _object("bundle", manifest_sha256=_QUOTED_DIGEST, name='"([a-z0-9._-]+)"'),
        rf'"checks":\[{_listed(_CHECK)}\]',
        _fields(clock='"([a-z]+)"', count=_COUNT, device=f'"({DEVICE_ID.pattern})"', duration_ms=_NUMBER),
        '"event":"([a-z-]+)"',
        _release("from"),
        f'"id":"({RECEIPT_ID.pattern})"',
        _object("medium", **dict.fromkeys(("filesystem_uuid", "label", "serial", "usb_id"), f'"{_TEXT}"')),
        _fields(monotonic_ms=_NUMBER, number=_COUNT, operator=f'"{_TEXT}"', previous=_QUOTED_DIGEST),
        _object("problem", reason=f'"{_REASON}"', text=f'"{_TEXT}"'),
        '"resumed":(true|false)',
        _release("to"),
        _object("traffic", **dict.fromkeys(_TRAFFIC, _NUMBER)),
        _object("trust", root_version=_COUNT, signers=rf"\[{_listed(_QUOTED_DIGEST)}\]", timestamp_version=_NUMBER),
        f'"wall":"({TIME.pattern})"',
    ))  # fmt: skip
    return re.compile(
        rf'\{{"_type":"{re.escape(STATEMENT_TYPE)}","predicate":\{{{predicate}\}},"predicateType":"{re.escape(PREDICATE_TYPE)}",'
        rf'"subject":\[\{{"digest":\{{"sha256":{_QUOTED_DIGEST}\}},"name":"([a-z0-9._-]+)"\}}\]\}}'
    ).fullmatch


_images_in: Final = re.compile(_IMAGE).findall
_checks_in: Final = re.compile(_CHECK).findall
_digests_in: Final = re.compile(_QUOTED_DIGEST).findall


def _receipt(  # noqa: PLR0913, PLR0917 - the groups of the pattern in their order, which is the alphabet's
    boot_id: BootId, bundle_digest: Digest | None, bundle_name: BundleName | None, checks: str, clock: str, count: str,
    device: DeviceId, duration_ms: str, event: str, images_before: str, sequence_before: str, version_before: str | None,
    id_: ReceiptId, filesystem_uuid: str | None, label: str, serial: str, usb_id: str, monotonic_ms: str, number: str,
    operator: str, previous: Digest, reason: str, problem: str | None, resumed: str, images_after: str, sequence_after: str,
    version_after: str | None, delta: str | None, equal: str, full: str, read: str, skipped: str, written: str, zero: str,
    root_version: str | None, signers: str, timestamp_version: str, wall: str, subject_digest: Digest, subject_name: str,
) -> Receipt:  # fmt: skip
    """Return the receipt that the pattern's groups come to.

    Raises:
        ValueError, LookupError: a bound or an order is broken that no pattern can hold.
    """
    datetime.fromisoformat(wall)
    if subject_digest != (bundle_digest or previous) or subject_name != (bundle_name or device):
        raise ValueError
    return Receipt(
        device,
        int(number),
        previous,
        Draft(
            id_,
            _EVENTS[event],
            Moment(boot_id, int(monotonic_ms), wall, _CLOCKS[clock]),
            None if version_before is None else _release_from(images_before, sequence_before, version_before),
            None if version_after is None else _release_from(images_after, sequence_after, version_after),
            None if bundle_name is None else _bundle(bundle_name, subject_digest),
            None if root_version is None else _trust(root_version, timestamp_version, signers),
            _checks(checks),
            None if filesystem_uuid is None else _medium(usb_id, serial, filesystem_uuid, label),
            _text(operator, HINT_MAX),
            int(duration_ms),
            None if delta is None else Traffic(*map(int, (read, written, skipped, equal, zero, delta, full))),
            resumed == "true",
            int(count),
            None if problem is None else Problem(reason, _text(problem, DETAIL_MAX)),
        ),
    )


# Whole fleets run the same few releases, signed by the same few people.
@lru_cache(_REMEMBERED)
def _release_from(images: str, sequence: str, version: str) -> Release:
    pairs = _images_in(images) if images else []
    names = [name for name, _ in pairs]
    _require(names == sorted(set(names)))
    return Release(version, int(sequence), {SlotClass(name): Digest(digest) for name, digest in pairs})


@lru_cache(_REMEMBERED)
def _bundle(name: BundleName, digest: Digest) -> BundleRef:
    _require(BUNDLE_NAME.fullmatch(name) is not None)
    return BundleRef(name, digest)


@lru_cache(_REMEMBERED)
def _trust(root_version: str, timestamp_version: str, signers: str) -> TrustFacts:
    listed = tuple(_digests_in(signers)) if signers else ()
    _require(len(listed) <= LIST_MAX and len(set(listed)) == len(listed))
    return TrustFacts(int(root_version), int(timestamp_version), listed)


@lru_cache(_REMEMBERED)
def _checks(listed: str) -> tuple[Check, ...]:
    found = _checks_in(listed)
    _require(len(found) <= LIST_MAX and all(result in _RESULTS for _, _, _, result in found))
    return tuple(
        Check(_text(name, HINT_MAX), _RESULTS[result], reason, _text(detail, DETAIL_MAX))
        for detail, name, reason, result in found
    )


@lru_cache(_REMEMBERED)
def _medium(*hints: str) -> MediumFacts:
    return MediumFacts(*(_text(each, HINT_MAX) for each in hints))


def _text(written: str, limit: int) -> str:
    text = str(json.loads(f'"{written}"')) if "\\" in written else written
    if len(text) > limit:
        raise ValueError
    return text


def _require(is_so: bool) -> None:  # noqa: FBT001 - a condition is a boolean
    if not is_so:
        raise ValueError
