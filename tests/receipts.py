"""Devices that have a key and something to tell, for the tests of receipts, ledger, logs and audit."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from usbupdate.core import checkpoint, cosignature, envelope, identity as identity_form, merkle
from usbupdate.core.cosignature import Cosigner
from usbupdate.core.identity import Identity, PublicKey
from usbupdate.core.receipt import (
    NO_PREVIOUS,
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
from usbupdate.core.words import BootId, BundleName, DeviceId, Digest, ReceiptId, SlotClass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.signer import Signer

_A_DIGEST = Digest("ab" * 32)
COSIGNED_AT = 1_772_360_430


def device(name: str, key: str = "") -> tuple[Identity, Signer]:
    """Return a device's identity and signer, the same for the same words."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{name} {key}".encode()).digest())
    identity = Identity(DeviceId(name), PublicKey(private.public_key().public_bytes_raw()))
    return identity, CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), keyid=identity.fingerprint))


def acknowledger(name: str = "office") -> tuple[Cosigner, Signer]:
    """Return somebody who may acknowledge receipts, and what signs for him; the same for the same name."""
    identity, signer = device("acknowledger", name)
    return Cosigner(name, identity.public_key), signer


def acknowledgement(lines: Sequence[bytes], name: str = "gw-0001", key: str = "", *, by: str = "office") -> bytes:
    """Return the checkpoint over a device's lines, cosigned by the office."""
    identity, signer = device(name, key)
    note = checkpoint.sign(identity, len(lines), merkle.root(map(merkle.leaf_hash, lines)), signer)
    cosigner, office = acknowledger(by)
    return cosignature.cosign(note, cosigner, COSIGNED_AT, office)


def draft(number: int, event: Event = Event.COMMITTED, *, problem: str = "") -> Draft:
    """Return a draft with every field filled; the same for the same arguments."""
    return Draft(
        id=ReceiptId(hashlib.sha256(f"{number} {event}".encode()).hexdigest()[:32]),
        event=event,
        moment=Moment(BootId(f"{number:08x}"), 1000 * number, "2026-03-01T10:20:30Z", ClockQuality.SYSTEM),
        before=Release("1.0", number, {SlotClass("rootfs"): _A_DIGEST}),
        after=Release("1.1", number + 1, {SlotClass("rootfs"): _A_DIGEST}),
        bundle=BundleRef(BundleName("gateway"), _A_DIGEST),
        trust=TrustFacts(1, number, (_A_DIGEST,)),
        checks=(Check("10-network", CheckResult.PASSED, "", "all is well"),),
        medium=MediumFacts("0781:5567", "4C53", "1234-ABCD", "USBUPDATE"),
        duration_ms=90_000,
        traffic=Traffic(read=1, written=2, skipped=3, equal=4, zero=5, delta=0, full=6),
        problem=Problem("log-stick-full", problem) if problem else None,
    )


def chain(count: int, name: str = "gw-0001", key: str = "", *, text: str = "") -> list[bytes]:
    """Return the lines of a device that has `count` receipts; `text` makes another history of it."""
    identity, signer = device(name, key)
    lines: list[bytes] = []
    for number in range(1, count + 1):
        previous = envelope.line_digest(lines[-1]) if lines else NO_PREVIOUS
        lines.append(envelope.sign(Receipt(identity.device, number, previous, draft(number, problem=text)), signer))
    return lines


def write_log(folder: Path, count: int, name: str = "gw-0001", key: str = "", *, text: str = "") -> Path:
    """Make a device's log in `folder` as the device writes it, and return the folder."""
    lines = chain(count, name, key, text=text)
    identity, signer = device(name, key)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identity.json").write_bytes(identity_form.encode(identity))
    (folder / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "checkpoint").write_bytes(checkpoint_over(lines, identity, signer))
    (folder / "summary.txt").write_bytes(b"for reading only\n")
    return folder


def checkpoint_over(lines: list[bytes], identity: Identity, signer: Signer) -> bytes:
    """Return the device's checkpoint over lines."""
    return checkpoint.sign(identity, len(lines), merkle.root(map(merkle.leaf_hash, lines)), signer)
