"""The signature around a receipt: a DSSE envelope in one line of JSON, and in one form only.

That line without its line feed is the Merkle leaf and what the next receipt's `previous` covers, so two lines that say the same
in other bytes must not both be accepted: exactly one signature, no unknown field, canonical base64, keys sorted, no blanks.

Source: design, section 7; DSSE v1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from usbupdate.core import statement, strictjson
from usbupdate.core.identity import Identity, has_signed
from usbupdate.core.receipt import PAYLOAD_TYPE, RECEIPT_SIZE_MAX, Receipt
from usbupdate.core.words import Digest
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

LINE_SIZE_MAX: Final = (RECEIPT_SIZE_MAX + 2) // 3 * 4 + 400
"""The largest line in bytes, without its line feed."""

_DOCUMENT: Final = "receipt"
_SIGNATURE_SIZE: Final = 64
_BEGIN: Final = b'{"payload":"'
_END: Final = re.compile(
    rb'","payloadType":"%b","signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/]{86}==)"\}\]\}'
    % re.escape(PAYLOAD_TYPE.encode())
)
_END_SIZE: Final = len(PAYLOAD_TYPE) + 208
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PAE: Final = b"DSSEv1 %d %b %%d %%b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode())
"""What a DSSE signature is over; the pre-authentication encoding of DSSE v1, as `securesystemslib` signs it."""
_PAYLOAD_TYPE: Final = re.compile(re.escape(PAYLOAD_TYPE))


@dataclass(frozen=True, slots=True)
class _Parts:
    """An envelope taken apart; nothing in it is proven."""

    payload: bytes
    key_id: Digest
    signature: bytes


def sign(receipt: Receipt, signer: Signer) -> bytes:
    """Return the line, without line feed, in which a device states a receipt.

    Raises:
        MalformedError: the receipt holds what no reader would accept; nothing was signed.
    """
    from securesystemslib.dsse import Envelope  # noqa: PLC0415 - the boot path counts receipts without it

    payload = statement.encode(receipt)
    # Never sign what an auditor will reject: a signed line cannot be taken back.
    statement.decode(payload)
    signature = Envelope(payload, PAYLOAD_TYPE, {}).sign(signer)
    line = _encode(_Parts(payload, Digest(signature.keyid), bytes.fromhex(signature.signature)))
    _parse(line)
    return line


def open_line(line: bytes, identity: Identity) -> Receipt:
    """Return the receipt in a line, proven to be stated by the device with this identity.

    Number and previous digest are the caller's to compare with the chain.

    Raises:
        MalformedError: it is not exactly what `sign` writes for some receipt.
        EvidenceSignatureError: it is not signed by this device's key.
    """
    # 1. Form first: whoever tolerates an added field or signature reads another line than the one that was signed.
    parts = _parse(line)

    # 2. The signature, by the one key that this device may use, whatever key id the line names.
    _require_key(parts, identity)
    if not has_signed(identity, _PAE % (len(parts.payload), parts.payload), parts.signature):
        raise EvidenceSignatureError(document=_DOCUMENT, fingerprint=identity.fingerprint)

    # 3. What it says, and that it speaks of the device whose key it is.
    return _receipt_of(parts, identity)


def open_sealed(line: bytes, identity: Identity) -> Receipt:
    """Return the receipt in a line that the device's signed checkpoint is over, which proves it as its own signature would.

    Raises:
        MalformedError: it is not exactly what `sign` writes for some receipt of the device with this identity.
        EvidenceSignatureError: it names another key than this device's.
    """
    parts = _parse(line)
    _require_key(parts, identity)
    return _receipt_of(parts, identity)


def peek_unproven(line: bytes) -> Receipt:
    """Return what a line claims, its signature not looked at: for a device's own ledger, and for naming a bad line.

    Raises:
        MalformedError: it is not exactly what `sign` writes for some receipt and some signature.
    """
    return statement.decode(_parse(line).payload)


def peek_or_none(line: bytes) -> Receipt | None:
    """Return what a line claims as `peek_unproven` does, or None where it is no receipt that this version knows."""
    try:
        return peek_unproven(line)
    except MalformedError:
        return None


def line_digest(line: bytes) -> Digest:
    """Return what the next receipt names as `previous`."""
    return Digest(hashlib.sha256(line).hexdigest())


def _require_key(parts: _Parts, identity: Identity) -> None:
    if parts.key_id != identity.fingerprint:
        raise EvidenceSignatureError(document=_DOCUMENT, fingerprint=identity.fingerprint)


def _receipt_of(parts: _Parts, identity: Identity) -> Receipt:
    receipt = statement.decode(parts.payload)
    if receipt.device != identity.device:
        raise MalformedError(document=_DOCUMENT, field="device", problem="another device's id under this device's signature")
    return receipt


def _parse(line: bytes) -> _Parts:
    """Return the pieces of a line.

    Raises:
        MalformedError: it is not exactly what `_encode` writes for some payload and some signature.
    """
    parts = _pieces(line)
    if parts is None:
        _refuse(line)
    return parts


def _pieces(line: bytes) -> _Parts | None:
    end = len(line) - _END_SIZE
    if len(line) > LINE_SIZE_MAX or end <= len(_BEGIN) or not line.startswith(_BEGIN):
        return None
    found = _END.fullmatch(line, end)
    if found is None:
        return None
    payload, (key_id, signature) = line[len(_BEGIN) : end], found.groups()
    try:
        parts = _Parts(binascii.a2b_base64(payload), Digest(key_id.decode()), binascii.a2b_base64(signature))
    except binascii.Error:
        return None
    # One value, one form: base64 has several spellings of the same bytes.
    return parts if _base64(parts.payload) == payload and _base64(parts.signature) == signature else None


def _base64(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False)


def _refuse(line: bytes) -> NoReturn:
    """Say what is wrong with a line that is not of the one form."""
    fields = strictjson.decode(line, _DOCUMENT, limit=LINE_SIZE_MAX)
    payload = fields.text("payload", _BASE64)
    fields.text("payloadType", _PAYLOAD_TYPE)
    signatures = list(fields.objects("signatures", limit=1))
    fields.done()
    if len(signatures) != 1:
        fields.fail("signatures", "not exactly one")
    signatures[0].digest("keyid")
    signature = signatures[0].text("sig", _BASE64)
    signatures[0].done()
    try:
        base64.b64decode(payload)
        size = len(base64.b64decode(signature))
    except binascii.Error:
        fields.fail("whole", "not base64")
    if size != _SIGNATURE_SIZE:
        signatures[0].fail("sig", f"not {_SIGNATURE_SIZE} bytes")
    fields.fail("whole", "not in its one canonical form")


def _encode(parts: _Parts) -> bytes:
    return strictjson.encode(
        {
            "payload": base64.b64encode(parts.payload).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": parts.key_id, "sig": base64.b64encode(parts.signature).decode("ascii")}],
        }
    )
