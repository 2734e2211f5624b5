"""What a device reads of the targets that were proven: manifests and authorisations, each under its own name alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import TargetFile, Targets

from tests.attack.metadata_office import Office
from tests.inmemory import AskedMedium
from usbupdate.core import authorisation as authorisations, manifest as manifests, trust
from usbupdate.core.authorisation import AUTHORISATION_SIZE_MAX, Authorisation
from usbupdate.core.layout import target_path
from usbupdate.core.manifest import MANIFEST_SIZE_MAX, Blob
from usbupdate.core.receipt import ClockQuality
from usbupdate.core.trust import Trusted
from usbupdate.core.words import DeviceId, Digest
from usbupdate.errors import (
    AliasedTargetError,
    FileDigestError,
    MediumFileMissingError,
    MediumFileSizeError,
    MetadataMalformedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ORDER = Authorisation(DeviceId("gw-1"), Digest("f" * 64), 3, Digest("0" * 64), 9, "CHG-1", "2027-01-01T00:00:00Z")
MANIFEST = Office().add_bundle("gateway", 7)
NAMES = (
    "gateway-7.json", "allow-gw-1-3.json", "a.b_c-1.json", "allow-gw-1.json", "allow-.json", "gateway.json", "gateway-07.json",
    "gateway-0.json", "allow-gw-1-03.json", f"{'x' * 63}-1.json", f"{'x' * 64}-1.json",
)  # fmt: skip


def naming(**raws: bytes) -> tuple[Trusted, AskedMedium]:
    """Return targets that name these contents, by names without their `.json`, and a stick that holds them."""
    blobs = {f"{name}.json": Blob(Digest(hashlib.sha256(raw).hexdigest()), len(raw)) for name, raw in raws.items()}
    trusted = Trusted(1, Digest("0" * 64), 1, 1, 1, (), "", "", "", ClockQuality.FLOOR, blobs)
    return trusted, AskedMedium({target_path(blobs[f"{name}.json"].sha256, f"{name}.json"): raw for name, raw in raws.items()})


def test_manifests_and_authorisations_are_told_apart_by_their_names() -> None:
    trusted = replace(naming()[0], targets=dict.fromkeys(NAMES, Blob(Digest("0" * 64), 1)))
    assert trust.bundle_names(trusted) == ("a.b_c-1.json", "gateway-7.json", f"{'x' * 63}-1.json")
    assert trust.authorisation_names(trusted) == ("allow-gw-1-3.json", "allow-gw-1.json")


def test_a_manifest_is_read_under_its_own_name_alone() -> None:
    raw = manifests.encode(MANIFEST)
    trusted, stick = naming(**{"gateway-7": raw, "gateway-8": raw})
    assert trust.read_manifest(trusted, "gateway-7.json", stick) == (MANIFEST, hashlib.sha256(raw).hexdigest())
    with pytest.raises(AliasedTargetError) as caught:
        trust.read_manifest(trusted, "gateway-8.json", stick)
    assert (caught.value.name, caught.value.actual) == ("gateway-8.json", "gateway-7.json")


def test_an_authorisation_is_read_under_its_own_name_alone() -> None:
    raw = authorisations.encode(ORDER)
    trusted, stick = naming(**{"allow-gw-1-3": raw, "allow-gw-1-4": raw, "allow-gw-2-3": raw})
    assert trust.read_authorisation(trusted, "allow-gw-1-3.json", stick) == ORDER
    for other in ("allow-gw-1-4.json", "allow-gw-2-3.json"):
        with pytest.raises(AliasedTargetError) as caught:
            trust.read_authorisation(trusted, other, stick)
        assert (caught.value.name, caught.value.actual) == (other, "allow-gw-1-3.json")


READERS: list[tuple[Callable[..., object], str, int]] = [
    (trust.read_manifest, "gateway-7", MANIFEST_SIZE_MAX),
    (trust.read_authorisation, "allow-gw-1-3", AUTHORISATION_SIZE_MAX),
]


@pytest.mark.parametrize(("read", "name", "limit"), READERS)
def test_a_target_is_what_was_signed_and_no_larger_than_it_may_be(read: Callable[..., object], name: str, limit: int) -> None:
    trusted, stick = naming(**{name: b"x" * (limit + 1)})
    with pytest.raises(MediumFileSizeError):
        read(trusted, f"{name}.json", stick)
    assert stick.asked == []
    trusted, stick = naming(**{name: b"signed"})
    stick.files = dict.fromkeys(stick.files, b"others")
    with pytest.raises(FileDigestError):
        read(trusted, f"{name}.json", stick)
    stick.files = {}
    with pytest.raises(MediumFileMissingError):
        read(trusted, f"{name}.json", stick)


# --- What of the signed targets is taken -----------------------------------------------------------------------------


def entry(length: object = 5, **hashes: object) -> TargetFile:
    target = TargetFile(5, {"sha256": "a" * 64, "sha512": "b" * 128}, "gateway-1.json")
    target.length = length  # type: ignore[assignment] # what no honest office signs
    target.hashes |= hashes  # type: ignore[arg-type] # the same
    return target


def test_targets_under_names_that_are_not_ours_are_passed_over() -> None:
    names = [
        "gateway-1.json",
        "x.json",
        f"{'x' * 100}.json",
        f"{'x' * 101}.json",
        "GW-1.json",
        "../gw-1.json",
        "gw-1.JSON",
        "gw",
    ]
    found = trust._entries(Targets(targets=dict.fromkeys(names, entry())))
    assert found == dict.fromkeys(["gateway-1.json", "x.json", f"{'x' * 100}.json"], Blob(Digest("a" * 64), 5))


def test_what_follows_a_name_that_is_not_ours_is_taken() -> None:
    found = trust._entries(Targets(targets={"NOT OURS": entry(), "gateway-1.json": entry()}))
    assert list(found) == ["gateway-1.json"]


@pytest.mark.parametrize(
    "target",
    [
        entry(sha256=None), entry(sha256=5), entry(sha256="A" * 64), entry(sha256="a" * 63), entry(sha256=["a" * 64]),
        entry(None), entry("5"), entry(5.0), entry(True),
    ],
)  # fmt: skip
def test_a_target_without_digest_or_size_is_malformed(target: TargetFile) -> None:
    with pytest.raises(MetadataMalformedError) as caught:
        trust._entries(Targets(targets={"gateway-1.json": target}))
    assert (caught.value.role, caught.value.problem) == ("targets", "a target has no SHA-256 or no size")


def test_a_target_with_other_digests_alone_is_malformed() -> None:
    target = entry()
    del target.hashes["sha256"]
    with pytest.raises(MetadataMalformedError):
        trust._entries(Targets(targets={"gateway-1.json": target}))
