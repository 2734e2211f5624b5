"""Reading a whole stick and verifying it as a device would, except that every byte of every bundle is looked at.

1. No two names that are one to some file systems.
2. Metadata, as `core.trust` does on a device that has seen nothing yet.
3. Each manifest and each downgrade authorisation that the targets list and the stick holds.
4. Each index; each pack whole, by its digest; each chunk, back to the bytes of the image.
5. Each delta as far as that goes without its base: its index, its packs, each recipe.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from usbupdate.core import acknowledgements, layout, trust
from usbupdate.core.chunks import StoredChunk, read_stored, restore_chunk
from usbupdate.core.delta import BLOCK, decode_recipe
from usbupdate.core.payload import holds_deltas_only, read_delta_index, read_index, require_signed_size
from usbupdate.core.timefloor import ClockReading
from usbupdate.errors import FileDigestError, MediumFileMissingError, NewerFormatError, RejectedError
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from usbupdate.core.authorisation import Authorisation
    from usbupdate.core.delta import DeltaChunk
    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Artifact, Blob, Delta, Manifest
    from usbupdate.core.trust import Trusted
    from usbupdate.core.words import DeviceId, Digest

_PIECE: Final = 1 << 20
_Chunk = TypeVar("_Chunk", bound=StoredChunk)


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """A bundle that is on the stick whole, or as deltas only; `manifest` is None if only a later usbupdate can read it."""

    target: str
    sha256: Digest
    manifest: Manifest | None
    deltas_only: bool = False


@dataclass(frozen=True, slots=True)
class CheckedStick:
    """What a stick proves: its metadata, what is on it, and the names of what is offered on other sticks only.

    `unreadable` are the names of authorisations that only a later usbupdate can read. `acknowledged` are the devices about
    whose receipts the stick brings the office's word; where devices cannot read that, `acknowledgements_problem` says why.
    """

    trusted: Trusted
    bundles: tuple[CheckedBundle, ...]
    elsewhere: tuple[str, ...]
    authorisations: tuple[Authorisation, ...] = ()
    unreadable: tuple[str, ...] = ()
    acknowledged: tuple[DeviceId, ...] = ()
    acknowledgements_problem: str = ""


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
    with tempfile.TemporaryDirectory(prefix="usbupdate-") as scratch:
        return verify_beside(TrustFiles(Path(scratch)), medium, root, now, progress)


def verify_beside(
    folder: trust.TrustFolder,
    medium: MediumReader,
    root: bytes,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
) -> CheckedStick:
    """Return what a stick proves to a device that has proven what `folder` holds, and keep there what is proven.

    Otherwise as `verify`.
    """
    layout.require_no_folding_names(medium)
    trusted = trust.refresh(folder, root, medium, ClockReading(utc=now, trusted=True))
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
        deltas_only = any(holds_deltas_only(artifact, medium) for artifact in manifest.artifacts)
        bundles.append(CheckedBundle(name, digest, manifest, deltas_only))
    authorisations, unreadable = [], []
    for name in trust.authorisation_names(trusted):
        try:
            authorisations.append(trust.read_authorisation(trusted, name, medium))
        except MediumFileMissingError:
            elsewhere.append(name)
        except NewerFormatError:
            unreadable.append(name)
    if not bundles:
        layout.require_no_lost_manifests(medium)
    acknowledged, problem = _acknowledgements(medium)
    return CheckedStick(
        trusted,
        tuple(bundles),
        tuple(elsewhere),
        tuple(authorisations),
        tuple(unreadable),
        acknowledged,
        problem,
    )


def _acknowledgements(medium: MediumReader) -> tuple[tuple[DeviceId, ...], str]:
    """Return about which devices the stick brings acknowledgements, or why none can be read: no device rejects it for that."""
    try:
        raw = medium.read(layout.ACKNOWLEDGEMENTS, acknowledgements.ACKNOWLEDGEMENTS_SIZE_MAX)
        return tuple(acknowledgements.decode(raw)), ""
    except MediumFileMissingError:
        return (), ""
    except RejectedError as error:
        return (), str(error).removesuffix(".")


def verify_artifact(artifact: Artifact, medium: MediumReader, progress: Callable[[int], None]) -> None:
    """Read the index and all packs of an artifact and its deltas, each byte once, and restore every chunk.

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
            _restore(chunk, b"")
    stored = {pack: list(each) for pack, each in groupby((c for c in chunks if not c.is_zero), lambda each: each.pack)}
    for number, blob in enumerate(() if holds_deltas_only(artifact, medium) else artifact.packs):
        _verify_pack(blob, stored.get(number, []), _restore, medium, progress)
    for delta in artifact.deltas:
        _verify_delta(artifact, delta, medium, progress)


def _verify_delta(artifact: Artifact, delta: Delta, medium: MediumReader, progress: Callable[[int], None]) -> None:
    deltas = read_delta_index(artifact, delta, medium)
    progress(delta.index.size)
    blocks = delta.base_size // BLOCK

    def understand(record: DeltaChunk, stored: bytes) -> None:
        decode_recipe(read_stored(record, _Bytes(stored)), record.number, blocks)

    records = sorted(deltas, key=lambda each: (each.pack, each.offset))
    stored = {pack: list(each) for pack, each in groupby(records, lambda each: each.pack)}
    for number, blob in enumerate(delta.packs):
        _verify_pack(blob, stored.get(number, []), understand, medium, progress)


def _restore(chunk: IndexedChunk, stored: bytes) -> None:
    restore_chunk(chunk, _Bytes(stored))


@dataclass(frozen=True, slots=True)
class _Bytes:
    """The stored bytes of one chunk, read already."""

    contents: bytes

    def read(self, pack: int, offset: int, size: int) -> bytes:
        return self.contents


def _verify_pack(
    blob: Blob,
    chunks: list[_Chunk],
    examine: Callable[[_Chunk, bytes], None],
    medium: MediumReader,
    progress: Callable[[int], None],
) -> None:
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
        examine(chunk, stored)
    skip_to(blob.size)
    if whole.hexdigest() != blob.sha256:
        raise FileDigestError(name=layout.shown(path))
