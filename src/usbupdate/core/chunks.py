"""From stored bytes to proven bytes: the one way in which anything from a stick reaches a slot."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from usbupdate.core.index import zeros
from usbupdate.errors import ContentsDifferError, FrameBrokenError, StoredBytesDifferError

if TYPE_CHECKING:
    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.unpack import Failed, Unpack


class StoredChunk(Protocol):
    """Where the stored bytes of a chunk lie, and by which digest they are known."""

    @property
    def number(self) -> int:
        """The chunk."""

    @property
    def stored_digest(self) -> bytes:
        """SHA-256 of the stored bytes, raw."""

    @property
    def pack(self) -> int:
        """The pack, as its index counts them."""

    @property
    def offset(self) -> int:
        """Where they begin in the pack, in bytes."""

    @property
    def stored_size(self) -> int:
        """How many bytes they are; not 0."""


class PackReader(Protocol):
    """Reads the packs of one artifact."""

    def read(self, pack: int, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes of a pack from `offset`, or raise `MediumError` or `RejectedError`."""


def unpack_here(frame: bytes, size: int, dictionary: bytes = b"") -> bytes | Failed:
    """Unpack in this process; see `Unpack`. A device that leaves it to another need not load the decompressor."""
    from usbupdate.core.frames import unpack  # noqa: PLC0415 - see above

    return unpack(frame, size, dictionary)


def restore_chunk(chunk: IndexedChunk, packs: PackReader, unpack: Unpack = unpack_here) -> bytes:
    """Return one chunk's raw bytes, proven to be those that the signed index names.

    The caller may write them to a slot without another check. A chunk of zeros needs no stick.

    Args:
        chunk: an entry of an index that was verified against its manifest.
        packs: the packs that the index counts.
        unpack: takes the frame apart; what it returns is proven here.

    Returns:
        `chunk.size` bytes.

    Raises:
        RejectedError: the stick holds something else; the leaf's reason goes into the receipt.
        MediumError: the stick could not be read, which proves nothing about its contents.

    Source: design, section 4, "Install, per chunk", steps 2 and 4.
    """
    if chunk.is_zero:
        raw, digest = zeros(chunk.size)
    else:
        # 1, 2. No more bytes than were signed for, and those that were signed.
        stored = read_stored(chunk, packs)

        # 3. Size before memory.
        unpacked = unpack(stored, chunk.size)
        if not isinstance(unpacked, bytes):
            raise FrameBrokenError(chunk=chunk.number)
        raw, digest = unpacked, hashlib.sha256(unpacked).digest()

    # 4. The packager can err too: what counts is the image that was signed.
    if digest != chunk.digest:
        raise ContentsDifferError(chunk=chunk.number)
    return raw


def read_stored(chunk: StoredChunk, packs: PackReader) -> bytes:
    """Return one chunk's stored bytes, proven to be those that the signed index names; not for a chunk of zeros.

    Raises:
        RejectedError: the stick holds something else.
        MediumError: the stick could not be read.
    """
    # 1. Read no more than was signed for, whatever lies on the stick.
    stored = packs.read(chunk.pack, chunk.offset, chunk.stored_size)

    # 2. Stored hash first: a decompressor is attack surface and gets signed bytes only.
    if hashlib.sha256(stored).digest() != chunk.stored_digest:
        raise StoredBytesDifferError(chunk=chunk.number)
    return stored
