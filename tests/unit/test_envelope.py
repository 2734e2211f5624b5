"""What is wrong with a receipt's line is told exactly; what an envelope must be is searched in tests/property."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.receipts import chain, device, draft
from usbupdate.core import envelope
from usbupdate.core.envelope import LINE_SIZE_MAX
from usbupdate.core.receipt import NO_PREVIOUS, RECEIPT_SIZE_MAX, Receipt
from usbupdate.core.words import DeviceId
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

IDENTITY, SIGNER = device("gw-0001")
LINE = chain(1)[0]


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    table = json.loads(LINE)
    change(table)
    return json.dumps(table, sort_keys=True, separators=(",", ":")).encode()


def signature(**fields: object) -> Callable[[dict[str, Any]], None]:
    return lambda table: table["signatures"][0].update(fields)


def with_payload(size: int) -> Callable[[dict[str, Any]], None]:
    """Return what makes a line have so many bytes, or a few less, in its one form."""

    def change(table: dict[str, Any]) -> None:
        frame = len(LINE) - len(table["payload"])
        table["payload"] = base64.b64encode(bytes((size - frame) // 4 * 3)).decode()

    return change


SIG = "signatures[0].sig"
CASES = [
    (b"{", "whole", "not JSON in UTF-8"),
    (LINE.ljust(LINE_SIZE_MAX + 1), "whole", f"larger than {LINE_SIZE_MAX} bytes"),
    (LINE.ljust(LINE_SIZE_MAX), "whole", "not in its one canonical form"),
    (changed(lambda table: table.update(signatures=[])), "signatures", "not exactly one"),
    (changed(lambda table: table["signatures"].append(table["signatures"][0])), "signatures", "more than 1 entries"),
    (changed(lambda table: table.update(payload="")), "payload", "not of the prescribed form"),
    (changed(with_payload(LINE_SIZE_MAX + 4)), "whole", f"larger than {LINE_SIZE_MAX} bytes"),
    (changed(lambda table: table.update(payload="A")), "whole", "not base64"),
    (changed(signature(sig="A")), "whole", "not base64"),
    (changed(signature(sig=base64.b64encode(bytes(63)).decode())), SIG, "not 64 bytes"),
    (changed(signature(sig=base64.b64encode(bytes(65)).decode())), SIG, "not 64 bytes"),
    (changed(signature(sig="-_")), SIG, "not of the prescribed form"),
    (changed(signature(keyid="A" * 64)), "signatures[0].keyid", "not of the prescribed form"),
    (changed(signature(more=1)), "signatures[0].more", "unknown field"),
    (changed(lambda table: table.update(more=1)), "more", "unknown field"),
    (changed(lambda table: table.update(payloadType="x")), "payloadType", "not of the prescribed form"),
]


@pytest.mark.parametrize(("line", "field", "problem"), CASES, ids=range(len(CASES)))
def test_a_line_of_another_form_says_what_is_wrong_with_it(line: bytes, field: str, problem: str) -> None:
    for read in (envelope.peek_unproven, lambda raw: envelope.open_line(raw, IDENTITY)):
        with pytest.raises(MalformedError) as caught:
            read(line)
        assert (caught.value.document, caught.value.field, caught.value.problem) == ("receipt", field, problem)
    assert envelope.peek_or_none(line) is None


def test_a_line_of_the_largest_size_is_judged_by_what_is_in_it() -> None:
    line = changed(with_payload(LINE_SIZE_MAX))
    assert LINE_SIZE_MAX - 4 < len(line) <= LINE_SIZE_MAX
    with pytest.raises(MalformedError, match=f"larger than {RECEIPT_SIZE_MAX} bytes"):
        envelope.peek_unproven(line)


def test_a_line_that_another_key_signed_names_the_key_that_should_have() -> None:
    for other in (signature(keyid="0" * 64), signature(sig=base64.b64encode(bytes(64)).decode())):
        with pytest.raises(EvidenceSignatureError) as caught:
            envelope.open_line(changed(other), IDENTITY)
        assert (caught.value.document, caught.value.fingerprint) == ("receipt", IDENTITY.fingerprint)


def test_a_line_about_another_device_is_malformed_by_its_device() -> None:
    line = envelope.sign(Receipt(DeviceId("gw-0002"), 1, NO_PREVIOUS, draft(1)), SIGNER)
    with pytest.raises(MalformedError) as caught:
        envelope.open_line(line, IDENTITY)
    assert (caught.value.document, caught.value.field) == ("receipt", "device")
    assert caught.value.problem == "another device's id under this device's signature"


def test_under_a_signed_checkpoint_a_line_is_read_without_its_own_signature() -> None:
    for line in (LINE, changed(signature(sig=base64.b64encode(bytes(64)).decode()))):
        assert envelope.open_sealed(line, IDENTITY) == envelope.open_line(LINE, IDENTITY)
    for line, field, problem in CASES:
        with pytest.raises(MalformedError) as caught:
            envelope.open_sealed(line, IDENTITY)
        assert (caught.value.field, caught.value.problem) == (field, problem)


def test_under_a_signed_checkpoint_too_a_line_names_this_devices_key_and_id() -> None:
    with pytest.raises(EvidenceSignatureError):
        envelope.open_sealed(changed(signature(keyid="0" * 64)), IDENTITY)
    with pytest.raises(MalformedError, match="another device's id"):
        envelope.open_sealed(envelope.sign(Receipt(DeviceId("gw-0002"), 1, NO_PREVIOUS, draft(1)), SIGNER), IDENTITY)


def test_what_the_next_receipt_names_is_the_digest_of_the_line() -> None:
    assert envelope.line_digest(LINE) == hashlib.sha256(LINE).hexdigest()
    assert envelope.peek_or_none(LINE) == envelope.open_line(LINE, IDENTITY)
