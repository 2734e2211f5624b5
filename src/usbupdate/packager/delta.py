"""Deltas for an image that is packed already: one small frame for each chunk that a base image does not have in its place.

The result depends on the two images, the level and the versions of zstd and numpy only, never on how many threads worked on it.

Source: design, section 4, "Deltas".
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zstandard

from usbupdate.core.delta import BLOCK, DeltaChunk, encode, encode_recipe
from usbupdate.core.index import Index
from usbupdate.core.manifest import Blob, Delta
from usbupdate.core.words import Digest
from usbupdate.errors import NumpyMissingError, OfficeWriteError, UnusableFileError
from usbupdate.packager.pack import PackWriter, payload_file, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.manifest import Artifact
    from usbupdate.packager.pack import Packing
    from usbupdate.packager.similarity import BaseBlocks

DELTA_LEVEL: Final = 19
"""What differs is little: here the hardest level costs seconds, and each byte of it is read from every stick."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A chunk that the base does not have in its place, and its stored bytes to come."""

    chunk: IndexedChunk
    stored: Future[bytes]


def make_delta(image: Path, artifact: Artifact, base: Path, payload: Path, how: Packing) -> Delta | None:
    """Store what differs between a base and an image under `payload`; None if that is nothing.

    Args:
        image: what `artifact` was packed from.
        artifact: its index lies under `payload`.
        base: the image that devices run which are to profit.
        payload: the repository's folder of payload files.
        how: threads, the largest pack, and who hears of the bytes of the image that were looked at.

    Raises:
        NumpyMissingError: the search needs it.
        UnusableFileError: an image cannot be read, or is empty.
        OfficeWriteError: `payload` cannot be written.
    """
    try:
        from usbupdate.packager.similarity import BaseBlocks  # noqa: PLC0415 - numpy is the office's alone
    except ImportError as error:
        raise NumpyMissingError from error
    index = Index(payload_file(payload, artifact.index.sha256).read_bytes(), artifact)
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(_mapped(base))
        new = stack.enter_context(_mapped(image))
        known = Blob(_digest(old), len(old))
        if known == artifact.image:
            return None
        blocks = BaseBlocks(old)
        try:
            return _make(index, artifact, new, old, blocks, known, payload, how)
        except OSError as error:
            raise OfficeWriteError(path=str(payload), problem=error.strerror or "it cannot be written") from error


def _make(  # noqa: PLR0913, PLR0917 - the loop in which all parts meet
    index: Index,
    artifact: Artifact,
    new: mmap.mmap,
    old: mmap.mmap,
    blocks: BaseBlocks,
    known: Blob,
    payload: Path,
    how: Packing,
) -> Delta:
    records: list[DeltaChunk] = []
    threads = how.threads or os.cpu_count() or 1
    with ThreadPoolExecutor(threads, thread_name_prefix="delta") as pool, PackWriter(payload, how.pack_size) as packs:
        pending: deque[_Told] = deque()

        def settle() -> None:
            told = pending.popleft()
            place = packs.add(told.stored.result())
            records.append(DeltaChunk(told.chunk.number, place.stored_digest, place.pack, place.offset, place.stored_size))

        for chunk in _differing(index, artifact.chunk_size, new, old, how):
            start = chunk.number * artifact.chunk_size
            pending.append(_Told(chunk, pool.submit(_stored, blocks, old, new[start : start + chunk.size], start)))
            if len(pending) >= 2 * threads:
                settle()
        while pending:
            settle()
        packs.finish()
    return Delta(known.sha256, known.size, store(payload, encode(records)), tuple(packs.finished))


def _differing(index: Index, chunk_size: int, new: mmap.mmap, old: mmap.mmap, how: Packing) -> Iterator[IndexedChunk]:
    """Yield the chunks that are neither zeros nor what stands in the base at the same place."""
    for chunk in index:
        start = chunk.number * chunk_size
        if not chunk.is_zero and old[start : start + chunk.size] != new[start : start + chunk.size]:
            yield chunk
        how.progress(chunk.size)


def _stored(blocks: BaseBlocks, old: mmap.mmap, raw: bytes, start: int) -> bytes:
    """Return the recipe and the frame of a chunk."""
    ranges = blocks.dictionary_for(raw, start // BLOCK)
    dictionary = b"".join(old[each.first * BLOCK : (each.first + each.count) * BLOCK] for each in ranges)
    return encode_recipe(ranges) + _compress(raw, dictionary)


def _compress(raw: bytes, dictionary: bytes) -> bytes:
    # The window spans both, or the beginning of the dictionary would be out of reach.
    window_log = max((len(raw) + len(dictionary)).bit_length(), zstandard.WINDOWLOG_MIN)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        DELTA_LEVEL, window_log=window_log, write_content_size=True, write_checksum=False, write_dict_id=False
    )
    known = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
    return zstandard.ZstdCompressor(dict_data=known, compression_params=parameters).compress(raw)


@contextlib.contextmanager
def _mapped(image: Path) -> Iterator[mmap.mmap]:
    try:
        with image.open("rb") as file:
            contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UnusableFileError(path=str(image), problem=error.strerror or "it cannot be read") from error
    except ValueError as error:
        raise UnusableFileError(path=str(image), problem="it is empty") from error
    with contents:
        yield contents


def _digest(contents: mmap.mmap) -> Digest:
    return Digest(hashlib.sha256(contents).hexdigest())
