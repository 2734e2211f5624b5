"""What a line claims, taken out quickly and without judging it: columns to ask by, and which line it says it follows.

`core.envelope` judges form and signature of a line, and whatever is to be believed goes through it. That takes ten times as
long, and here nothing is believed: a line that is none of ours in some other field has its columns all the same.

What is taken has the grammar of its field, so that both databases keep it as it is: no control characters, no number that
does not fit.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final, NamedTuple

from usbupdate.core.envelope import LINE_SIZE_MAX
from usbupdate.core.words import BOOT_ID, BUNDLE_NAME, DEVICE_ID, DIGEST, SEQUENCE_MAX, TIME, VERSION_OR_NOTHING

_BEGINNING: Final = b'{"payload":"'
_WORD: Final = "[a-z0-9-]{0,64}"
"""Of events, reasons and kinds of clock: also those that a later version knows."""
_FORM: Final = re.compile(
    "\n".join(
        f"(?:{pattern})"
        for pattern in (
            *(DIGEST.pattern, DEVICE_ID.pattern, _WORD, TIME.pattern, _WORD, BOOT_ID.pattern),
            *(VERSION_OR_NOTHING.pattern, VERSION_OR_NOTHING.pattern, _WORD, f"(?:{BUNDLE_NAME.pattern})?"),
        )
    )
)
"""Of all the texts at once, one below the other: none of them may hold a line feed."""


class Claims(NamedTuple):
    """What a line says of itself: the digest of the line before, and the columns of `schema.RECEIPTS` without the line."""

    previous: bytes
    columns: tuple[str | int | None, ...]


def claims_of(line: bytes) -> Claims | None:
    """Return what a line claims, or None if it is no receipt, or one whose columns have not the form that receipts have."""
    if len(line) > LINE_SIZE_MAX or not line.startswith(_BEGINNING):
        return None
    try:
        payload = base64.b64decode(line[len(_BEGINNING) : line.index(b'"', len(_BEGINNING))], validate=True)
        return _claims(json.loads(payload.decode())["predicate"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _claims(said: dict[str, Any]) -> Claims | None:
    """Return the claims in what a receipt states, of which nothing is known: what is no text does not join the texts."""
    from_version, from_sequence = _release(said["from"])
    to_version, to_sequence = _release(said["to"])
    bundle = None if said["bundle"] is None else said["bundle"]["name"]
    reason = None if said["problem"] is None else said["problem"]["reason"]
    previous, device, event, wall, clock = said["previous"], said["device"], said["event"], said["wall"], said["clock"]
    boot_id, number, monotonic_ms = said["boot_id"], said["number"], said["monotonic_ms"]
    count, duration_ms = said["count"], said["duration_ms"]
    optional = ("" if text is None else text for text in (from_version, to_version, reason, bundle))
    if not _FORM.fullmatch("\n".join((previous, device, event, wall, clock, boot_id, *optional))):
        return None
    for value in (number, monotonic_ms, count, duration_ms, from_sequence, to_sequence):
        if value is not None and (type(value) is not int or not 0 <= value <= SEQUENCE_MAX):
            return None
    if None in {number, monotonic_ms, count, duration_ms}:
        return None
    columns = (
        *(device, number, event, wall, clock, boot_id, monotonic_ms, from_version, from_sequence),
        *(to_version, to_sequence, bundle, reason, count, duration_ms),
    )
    return Claims(bytes.fromhex(previous), columns)


def _release(said: dict[str, Any] | None) -> tuple[Any, Any]:
    return (None, None) if said is None else (said["version"], said["sequence"])
