"""What the office and a device make of a stick with something of a later format, and of packs with more in them than chunks."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.attack.metadata_office import START, Office
from tests.payload import CHUNK, ROOTFS, frame
from tests.unit.test_targets import MANIFEST, naming
from usbupdate.core import manifest as manifests
from usbupdate.core.index import IndexedChunk, encode
from usbupdate.core.layout import payload_path
from usbupdate.core.manifest import Artifact, Blob
from usbupdate.core.words import Digest
from usbupdate.device.offers import names_of_offers, read_offers
from usbupdate.errors import FileDigestError, NewerFormatError
from usbupdate.medium import DirectoryMedium
from usbupdate.packager.verification import CheckedBundle, verify, verify_artifact

if TYPE_CHECKING:
    from pathlib import Path

LATER = b'{"format":99}'


def blob(contents: bytes) -> Blob:
    return Blob(Digest(hashlib.sha256(contents).hexdigest()), len(contents))


def test_what_only_a_later_usbupdate_can_read_is_named_and_the_stick_is_good(mount: Path) -> None:
    office = Office()
    office.targets.targets.clear()
    office.add_target("gateway-2.json", LATER)
    office.add_target("allow-gw-1-1.json", LATER)
    office.add_target("allow-gw-2-1.json", b"elsewhere")
    office.publish()
    office.files = {path: raw for path, raw in office.files.items() if raw != b"elsewhere"}
    office.write(mount)
    checked = verify(DirectoryMedium(mount), office.first_root, START + timedelta(days=1))
    assert checked.bundles == (CheckedBundle("gateway-2.json", blob(LATER).sha256, None),)
    assert (checked.unreadable, checked.elsewhere) == (("allow-gw-1-1.json",), ("allow-gw-2-1.json",))


def test_a_device_passes_over_a_later_format_beside_what_it_can_read_and_tells_it_alone() -> None:
    good = manifests.encode(MANIFEST)
    trusted, stick = naming(**{"gateway-7": good, "gateway-8": LATER})
    names = names_of_offers(trusted, stick)
    assert names == ("gateway-7.json",)
    assert [offer.manifest for offer in read_offers(trusted, stick, names)] == [MANIFEST]
    trusted, stick = naming(**{"gateway-8": LATER})
    with pytest.raises(NewerFormatError):
        names_of_offers(trusted, stick)
    stick.files.clear()
    assert names_of_offers(trusted, stick) == ()


def test_what_lies_between_chunks_in_a_pack_is_proven_too(mount: Path) -> None:
    raw = b"contents" * 1000
    stored = frame(raw)
    pack = b"before" + stored + b"after"
    chunk = IndexedChunk(0, len(raw), hashlib.sha256(raw).digest(), hashlib.sha256(stored).digest(), 0, 6, len(stored))
    index = encode([chunk])
    artifact = Artifact(ROOTFS, blob(raw), CHUNK, blob(index), (blob(pack),))
    for contents in (index, pack):
        file = mount.joinpath(*payload_path(blob(contents).sha256))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents)
    told: list[int] = []
    verify_artifact(artifact, DirectoryMedium(mount), told.append)
    assert sum(told) == len(index) + len(pack)
    file = mount.joinpath(*payload_path(blob(pack).sha256))
    for other in (b"BEFORE" + stored + b"after", b"before" + stored + b"AFTER"):
        file.write_bytes(other)
        with pytest.raises(FileDigestError):
            verify_artifact(artifact, DirectoryMedium(mount), told.append)
