"""Files on a stick whose size and digest are signed: read whole, or not at all.

Source: design, section 4.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from usbupdate.core.delta import DeltaIndex
from usbupdate.core.index import Index
from usbupdate.core.layout import payload_path, shown
from usbupdate.core.manifest import INDEX_SIZE_MAX
from usbupdate.errors import FileDigestError, MediumFileMissingError, MediumFileSizeError

if TYPE_CHECKING:
    from usbupdate.core.layout import MediumPath, MediumReader
    from usbupdate.core.manifest import Artifact, Blob, Delta


def read_signed(medium: MediumReader, path: MediumPath, blob: Blob, limit: int) -> bytes:
    """Return the bytes of a file, proven to be those that were signed.

    Args:
        medium: the stick.
        path: where the file lies.
        blob: size and digest, out of something that is verified.
        limit: the largest size in bytes that is read, whatever was signed.

    Raises:
        MediumFileMissingError: it is not on this stick.
        RejectedError: what lies there is not what was signed, or is larger than allowed.
        MediumError: the stick could not be read.
    """
    if blob.size > limit:
        raise MediumFileSizeError(name=shown(path), size=blob.size, allowed=limit)
    raw = medium.read(path, blob.size)
    if len(raw) != blob.size:
        raise MediumFileSizeError(name=shown(path), size=len(raw), allowed=blob.size)
    if hashlib.sha256(raw).hexdigest() != blob.sha256:
        raise FileDigestError(name=shown(path))
    return raw


def require_signed_size(medium: MediumReader, blob: Blob) -> None:
    """Return only if a file of the payload is there and as large as was signed; its bytes are not looked at.

    Raises:
        RejectedError: it is missing or of another size.
        MediumError: the stick could not be read.
    """
    path = payload_path(blob.sha256)
    size = medium.size(path)
    if size != blob.size:
        raise MediumFileSizeError(name=shown(path), size=size, allowed=blob.size)


def holds_deltas_only(artifact: Artifact, medium: MediumReader) -> bool:
    """Tell whether a stick has nothing of an artifact's packs, which its deltas make up for where they can.

    Raises:
        RejectedError: something else lies in the place of a pack.
        MediumError: the stick could not be read.
    """
    if not artifact.deltas or not artifact.packs:
        return False
    for pack in artifact.packs:
        try:
            medium.size(payload_path(pack.sha256))
        except MediumFileMissingError:
            continue
        return False
    return True


def read_delta_index(artifact: Artifact, delta: Delta, medium: MediumReader) -> DeltaIndex:
    """Return the index of a delta, proven against the manifest.

    Raises:
        RejectedError: it is missing, or is not what was signed, or breaks a rule of its form.
        MediumError: the stick could not be read.
    """
    return DeltaIndex(read_signed(medium, payload_path(delta.index.sha256), delta.index, INDEX_SIZE_MAX), artifact, delta)


def read_index(artifact: Artifact, medium: MediumReader) -> Index:
    """Return an artifact's index, proven against the manifest.

    Raises:
        RejectedError: it is missing, or is not what was signed, or breaks a rule of its form.
        MediumError: the stick could not be read.
    """
    return Index(read_signed(medium, payload_path(artifact.index.sha256), artifact.index, INDEX_SIZE_MAX), artifact)
