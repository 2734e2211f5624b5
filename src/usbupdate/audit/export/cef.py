r"""The Common Event Format, which log collectors take a line at a time.

A header of seven fields in which `\` and `|` are escaped, then `key=value` pairs in which `\`, `=` and line ends are. Nothing
from a log can end a field or begin another.

Source: ArcSight Common Event Format, version 0 (specification 25 and later).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate.audit.export.records import FINDING, NO_LOG, RECEIPT
from usbupdate.audit.export.weight import SUCCESSES, milliseconds, weight_of
from usbupdate.core.plaintext import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from usbupdate.audit.export.records import Record
    from usbupdate.core.strictjson import Json

_TEXT_MAX: Final = 1000
"""Collectors cut a field off at 1,023 characters or so."""
_SEVERITY: Final = {1: 1, 2: 3, 3: 5, 4: 8, 5: 10}
"""From our weight to the format's 0 to 10."""

_COMMON: Final[Mapping[str, str]] = {
    "dvchost": "device",
    "externalId": "receipt",
}
_OF_RECEIPT: Final[Mapping[str, str]] = {
    "cnt": "count",
    "reason": "reason",
    "msg": "problem",
    "suser": "operator",
    "deviceFacility": "bundle",
    "fileHash": "manifest_sha256",
}
_STRINGS: Final = (*(f"cs{number}" for number in range(1, 7)), "flexString1")
_STANDING: Final = ("standing", "standing")
_CUSTOM_OF_RECEIPT: Final = (
    _STANDING,
    ("fromVersion", "from_version"),
    ("toVersion", "to_version"),
    ("proof", "proof"),
    ("signers", "signers"),
    ("clock", "clock"),
    ("stickSerial", "serial"),
)
_OF_FINDING: Final[Mapping[str, str]] = {"reason": "what", "msg": "detail", "filePath": "source"}
_CUSTOM_OF_FINDING: Final = (_STANDING, ("advice", "advice"))


def cef_lines(records: Iterable[Record], program: str) -> Iterator[str]:
    """Yield a line for each record; `program` is our version."""
    for record in records:
        kind = record["kind"]
        if kind == RECEIPT:
            signature, name = f"{record['event']}", f"Device reports: {record['event']}"
            extension = {**_taken(record, _COMMON), **_taken(record, _OF_RECEIPT), **_custom(record, _CUSTOM_OF_RECEIPT)}
            # How the event ended, not what the evidence is worth: collectors count failures by this field.
            extension["outcome"] = "success" if record["event"] in SUCCESSES else "failure"
            extension["rt"] = str(milliseconds(record["time"]))
        elif kind == FINDING:
            signature, name = f"flaw-{record['flaw']}", f"Evidence: {record['flaw']}"
            extension = {**_taken(record, _COMMON), **_taken(record, _OF_FINDING), **_custom(record, _CUSTOM_OF_FINDING)}
        else:
            signature, name = NO_LOG, "Evidence: no log of an enrolled device"
            extension = _taken(record, _COMMON)
        severity = _SEVERITY[weight_of(record)]
        header = "|".join(map(_header, ("CEF:0", "usbupdate", "usbupdate", program, signature, name, str(severity))))
        yield f"{header}|{' '.join(f'{key}={_extension(value)}' for key, value in sorted(extension.items()))}\n"


def _taken(record: Record, names: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, name in names.items() if (text := _text(record.get(name)))}


def _custom(record: Record, names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the format's strings of one's own, each with its label: six, and one more under another name."""
    fields: dict[str, str] = {}
    for key, (label, name) in zip(_STRINGS, names, strict=False):
        if text := _text(record.get(name)):
            fields |= {key: text, f"{key}Label": label}
    return fields


def _text(value: Json) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _header(text: str) -> str:
    return printable(text, _TEXT_MAX).replace("\\", "\\\\").replace("|", "\\|")


def _extension(text: str) -> str:
    kept = printable(text, _TEXT_MAX, besides="\n")
    return kept.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n")
