"""The index: which chunks an image is made of and where each lies in the packs.

Fixed-width records in chunk order, read whole, verified against the manifest and kept as one `bytes`, so that it cannot change
between check and use.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from usbupdate.core.manifest import CHUNK_SIZE_MIN, INDEX_SIZE_MAX, Artifact
from usbupdate.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RECORD: Final = struct.Struct(">32s32sIII")
RECORD_SIZE: Final = _RECORD.size
_NO_DIGEST: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """One record of an index; sizes and offsets in bytes, digests raw.

    `stored_size` is 0 for a chunk of zeros, which is stored as nothing.
    """

    number: int
    size: int
    digest: bytes
    stored_digest: bytes
    pack: int
    offset: int
    stored_size: int

    @property
    def is_zero(self) -> bool:
        """Whether the chunk is all zeros and therefore has no stored bytes."""
        return self.stored_size == 0


def stored_size_max(chunk_size: int) -> int:
    """Return the most bytes that a zstd frame of a chunk may take: what zstd needs for incompressible input, and a little."""
    return chunk_size + (chunk_size >> 8) + 128


def chunk_size_for(image_size: int) -> int:
    """Return the chunk size for an image: 256 KiB, doubled until the index is at most 8 MiB."""
    size = CHUNK_SIZE_MIN
    while -(-image_size // size) * RECORD_SIZE > INDEX_SIZE_MAX:
        size *= 2
    return size


def encode(chunks: Iterable[IndexedChunk]) -> bytes:
    """Return the index of chunks that stand in order."""
    return b"".join(
        _RECORD.pack(chunk.digest, chunk.stored_digest, chunk.pack, chunk.offset, chunk.stored_size) for chunk in chunks
    )


@lru_cache(maxsize=2)
def zeros(size: int) -> tuple[bytes, bytes]:
    """Return so many zeros and their digest; kept, for an image has chunks of one size, and a last one."""
    raw = bytes(size)
    return raw, hashlib.sha256(raw).digest()


class Index:
    """A verified index; every record has been checked against the manifest's sizes."""

    def __init__(self, raw: bytes, artifact: Artifact) -> None:
        """Take `raw`, whose digest the caller has compared with `artifact.index`.

        Raises:
            MalformedError: a record points outside its pack, or the count does not fit the image.

        Source: design, section 4, "Index".
        """
        self._raw = raw
        self._artifact = artifact
        self._count = -(-artifact.image.size // artifact.chunk_size)
        if len(raw) != self._count * RECORD_SIZE:
            raise MalformedError(document="index", field="whole", problem=f"not {self._count} records")
        for chunk in self:
            self._require_inside(chunk)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[IndexedChunk]:
        return (self[number] for number in range(self._count))

    def __getitem__(self, number: int) -> IndexedChunk:
        digest, stored_digest, pack, offset, stored_size = _RECORD.unpack_from(self._raw, number * RECORD_SIZE)
        start = number * self._artifact.chunk_size
        return IndexedChunk(
            number=number,
            size=min(self._artifact.chunk_size, self._artifact.image.size - start),
            digest=digest,
            stored_digest=stored_digest,
            pack=pack,
            offset=offset,
            stored_size=stored_size,
        )

    def _require_inside(self, chunk: IndexedChunk) -> None:
        def broken(problem: str) -> MalformedError:
            return MalformedError(document="index", field=f"record {chunk.number}", problem=problem)

        if chunk.is_zero:
            if chunk.stored_digest != _NO_DIGEST or chunk.pack or chunk.offset:
                raise broken("a chunk of zeros has a place in a pack")
            if chunk.digest != zeros(chunk.size)[1]:
                raise broken("a chunk of zeros has another digest than so many zeros")
            return
        if chunk.stored_size > stored_size_max(self._artifact.chunk_size):
            raise broken("more stored bytes than a chunk can need")
        if chunk.pack >= len(self._artifact.packs):
            raise broken("names a pack that the manifest does not list")
        if chunk.offset + chunk.stored_size > self._artifact.packs[chunk.pack].size:
            raise broken("reaches beyond the end of its pack")
