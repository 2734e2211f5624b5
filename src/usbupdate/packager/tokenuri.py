"""How a key on a token is named: a PKCS#11 URI, or the shorter form of securesystemslib.

`pkcs11:token=LABEL;id=%02` or `pkcs11:token=LABEL;object=NAME` (RFC 7512), and `hsm:2?label=LABEL`. A reference is kept in the
repository, which travels: it says which token and which key, never which module to load or where a PIN stands. Whoever could
write to the repository would else run a library of theirs on the computer with the root keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from usbupdate.errors import TokenUriError

if TYPE_CHECKING:
    from collections.abc import Mapping

Pins = Callable[[str, bool], str | None]
"""Asked for the PIN of the token with that label, and whether only a person may give it; None means that nobody does."""

SCHEMES: Final = ("pkcs11", "hsm")
_OF_THE_TOKEN: Final = ("token", "serial", "manufacturer", "model")
_ID_DEFAULT: Final = b"\x02"
"""What securesystemslib takes for `hsm:` without a number: the slot for signatures of a PIV card."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key, known by its `id`, its `name` or both, on a token, known by attributes that RFC 7512 names."""

    token: Mapping[str, str] = field(default_factory=dict)
    id: bytes | None = None
    name: str | None = None


def is_token_uri(reference: str) -> bool:
    """Tell the URI of a key on a token from every other reference."""
    return reference.partition(":")[0] in SCHEMES and ":" in reference


def parse(reference: str) -> TokenKey:
    """Return which key of which token a URI names.

    Raises:
        TokenUriError: it names none, or more than a URI may name here.
    """
    scheme, _, rest = reference.partition(":")
    return _parse_short(reference, rest) if scheme == "hsm" else _parse_rfc7512(reference, rest)


def _parse_short(reference: str, rest: str) -> TokenKey:
    found = re.fullmatch(r"([0-9]{0,9})(?:\?label=([^&]+))?", rest)
    if found is None:
        raise TokenUriError(key=reference, problem="it is not of the form hsm:NUMBER?label=LABEL")
    number = int(found[1]) if found[1] else int.from_bytes(_ID_DEFAULT)
    label = dict(parse_qsl(f"label={found[2]}"))["label"] if found[2] else None
    return TokenKey({"token": label} if label else {}, number.to_bytes(max(1, (number.bit_length() + 7) // 8)))


def _parse_rfc7512(reference: str, rest: str) -> TokenKey:
    path, _, query = rest.partition("?")
    if query:
        problem = "module and PIN belong to you and not into a reference that travels; see PYKCS11LIB and USBUPDATE_PIN_FILE"
        raise TokenUriError(key=f"pkcs11:{path}", problem=problem)
    pairs = [each.partition("=") for each in path.split(";") if each]
    found = {name: value for name, _, value in pairs}
    if len(found) != len(pairs) or any(not value for value in found.values()):
        raise TokenUriError(key=reference, problem="each attribute needs a value and stands once")
    if unknown := found.keys() - {*_OF_THE_TOKEN, "id", "object", "type"}:
        raise TokenUriError(key=reference, problem=f"{min(unknown)} is not an attribute of a key that signs")
    if "id" not in found and "object" not in found:
        raise TokenUriError(key=reference, problem="it has neither id nor object, so it names no key")
    return TokenKey(
        {name: unquote(found[name]) for name in _OF_THE_TOKEN if name in found},
        unquote_to_bytes(found["id"]) if "id" in found else None,
        unquote(found["object"]) if "object" in found else None,
    )
