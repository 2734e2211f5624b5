"""Who may acknowledge receipts: the keys that signed targets metadata name for that, in a field of their own.

TUF libraries keep a field that they do not know. What it cannot mean here names nobody: a field of a later form must not keep
devices from updating.

Source: design, section 7, "Acknowledgement"; ADR 0020.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from usbupdate.core.cosignature import Cosigner
from usbupdate.core.identity import PublicKey
from usbupdate.core.strictjson import Fields, Json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIELD: Final = "x-usbupdate-acknowledgers"
ACKNOWLEDGERS_MAX: Final = 16
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,62}")
"""A name, or a URL without its scheme, as the specification of cosignatures recommends."""


def decode(signed: Mapping[str, Json]) -> tuple[Cosigner, ...]:
    """Return whom targets metadata name, given the fields of them that TUF does not know.

    Raises:
        MalformedError: the field is there and not of its form.
    """
    if FIELD not in signed:
        return ()
    fields = Fields({FIELD: signed[FIELD]}, "targets metadata", "")
    found = []
    for each in fields.objects(FIELD, limit=ACKNOWLEDGERS_MAX):
        found.append(Cosigner(each.text("name", NAME), PublicKey(bytes.fromhex(each.digest("public_key")))))
        each.done()
    for values in ([each.name for each in found], [each.public_key for each in found]):
        # A message does not say under which name it was signed, so one key must not stand for two.
        if len(set(values)) != len(values):
            fields.fail(FIELD, "a name or a key stands twice")
    return tuple(found)


def encode(cosigners: Iterable[Cosigner]) -> list[Json]:
    """Return the value of the field; `decode` gives back equal ones, by name."""
    ordered = sorted(cosigners, key=lambda each: each.name)
    return [{"name": each.name, "public_key": each.public_key.hex()} for each in ordered]
