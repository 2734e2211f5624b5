"""Reading a whole stick and verifying it as a device would, except that every byte of every bundle is looked at.

1. No two names that are one to some file systems.
2. Metadata, as `core.trust` does on a device that has seen nothing yet.
3. Each manifest that the targets list and the stick holds.
4. Each index; each pack whole, by its digest; each chunk, back to the bytes of the image.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.core import layout, trust
from usbupdate.core.chunks import restore_chunk
from usbupdate.core.payload import read_index, require_signed_size
from usbupdate.core.timefloor import ClockReading
from usbupdate.errors import FileDigestError, MediumFileMissingError, NewerFormatError
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Artifact, Blob, Manifest
    from usbupdate.core.trust import Trusted
    from usbupdate.core.words import Digest

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """A bundle that is on the stick whole; `manifest` is None if only a later usbupdate can read it."""

    target: str
    sha256: Digest
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class CheckedStick:
    """What a stick proves: its metadata, the bundles on it, and the names of those offered that are on other sticks only."""

    trusted: Trusted
    bundles: tuple[CheckedBundle, ...]
    elsewhere: tuple[str, ...]


def verify(medium: MediumReader, root: bytes, now: datetime, progress: Callable[[int], None] = lambda _: None) -> CheckedStick:
    """Return what a stick proves to a device that trusts `root`, or raise what is wrong with it.

    Args:
        medium: the stick.
        root: the root with which the device was provisioned.
        now: the time by which expiry is judged, if it lies after what the stick proves.
        progress: told the number of payload bytes read since the last call.

    Raises:
        RejectedError: a device would reject this stick.
        MediumError: the stick could not be read.
    """
    layout.require_no_folding_names(medium)
    with tempfile.TemporaryDirectory(prefix="usbupdate-") as scratch:
        trusted = trust.refresh(TrustFiles(Path(scratch)), root, medium, ClockReading(utc=now, trusted=True))
    bundles, elsewhere = [], []
    seen: set[Digest] = set()
    for name in trust.bundle_names(trusted):
        try:
            manifest, digest = trust.read_manifest(trusted, name, medium)
        except MediumFileMissingError:
            elsewhere.append(name)
            continue
        except NewerFormatError:
            bundles.append(CheckedBundle(name, trusted.targets[name].sha256, None))
            continue
        for artifact in manifest.artifacts:
            if artifact.index.sha256 not in seen:
                verify_artifact(artifact, medium, progress)
                seen.add(artifact.index.sha256)
        bundles.append(CheckedBundle(name, digest, manifest))
    if not bundles:
        layout.require_no_lost_manifests(medium)
    return CheckedStick(trusted, tuple(bundles), tuple(elsewhere))


def verify_artifact(artifact: Artifact, medium: MediumReader, progress: Callable[[int], None]) -> None:
    """Read the index and all packs of an artifact, each byte once, and restore every chunk.

    Raises:
        RejectedError: something is missing, or is not what was signed.
        MediumError: the stick could not be read.
    """
    index = read_index(artifact, medium)
    progress(artifact.index.size)
    # A chunk that stands in several places of the image is looked at once.
    different = {(each.pack, each.offset, each.stored_size, each.size, each.digest, each.stored_digest): each for each in index}
    chunks = sorted(different.values(), key=lambda each: (each.is_zero, each.pack, each.offset))
    for chunk in chunks:
        if chunk.is_zero:
            restore_chunk(chunk, _Bytes(b""))
    stored = {pack: list(each) for pack, each in groupby((c for c in chunks if not c.is_zero), lambda each: each.pack)}
    for number, blob in enumerate(artifact.packs):
        _verify_pack(blob, stored.get(number, []), medium, progress)


@dataclass(frozen=True, slots=True)
class _Bytes:
    """The stored bytes of one chunk, read already."""

    contents: bytes

    def read(self, pack: int, offset: int, size: int) -> bytes:
        return self.contents


def _verify_pack(blob: Blob, chunks: list[IndexedChunk], medium: MediumReader, progress: Callable[[int], None]) -> None:
    path = layout.payload_path(blob.sha256)
    require_signed_size(medium, blob)
    whole = hashlib.sha256()
    position = 0

    def skip_to(end: int) -> None:
        """Hash what lies between chunks; our packs have nothing there."""
        nonlocal position
        while position < end:
            piece = medium.read_at(path, position, min(_PIECE, end - position))
            whole.update(piece)
            progress(len(piece))
            position += len(piece)

    for chunk in chunks:
        skip_to(chunk.offset)
        stored = medium.read_at(path, chunk.offset, chunk.stored_size)
        if chunk.offset == position:
            whole.update(stored)
            progress(len(stored))
            position += len(stored)
        restore_chunk(chunk, _Bytes(stored))
    skip_to(blob.size)
    if whole.hexdigest() != blob.sha256:
        raise FileDigestError(name=layout.shown(path))
