"""Deltas for an image that is packed already: one small frame for each chunk that a base image does not have in its place.

The result depends on the two images, the level and the versions of zstd and numpy only, never on how many threads worked on it.

Source: design, section 4, "Deltas".
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zstandard

from usbupdate.core.delta import BLOCK, DeltaChunk, decode_recipe, encode, encode_recipe
from usbupdate.core.frames import raw_dictionary
from usbupdate.core.index import Index
from usbupdate.core.manifest import Blob, Delta
from usbupdate.core.words import Digest
from usbupdate.errors import MalformedError, NumpyMissingError, OfficeWriteError, UnusableFileError
from usbupdate.packager.framecache import key_of
from usbupdate.packager.pack import ZSTD, PackWriter, gives, payload_file, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from usbupdate.core.delta import BlockRange
    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.manifest import Artifact
    from usbupdate.packager.pack import Packing
    from usbupdate.packager.similarity import BaseBlocks

DELTA_LEVEL: Final = 19
"""What differs is little: here the hardest level costs seconds, and each byte of it is read from every stick."""

SEARCH: Final = 2
"""Raised with every change by which other blocks are found for a chunk."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A chunk that the base does not have in its place, and its stored bytes to come."""

    chunk: IndexedChunk
    stored: Future[bytes]


def make_delta(image: Path, artifact: Artifact, base: Path, payload: Path, how: Packing) -> Delta | None:
    """Store what differs between a base and an image under `payload`; None if the image is the base, or zeros throughout.

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
        from usbupdate.packager.similarity import look_at  # noqa: PLC0415 - numpy is the office's alone
    except ImportError as error:
        raise NumpyMissingError from error
    index = Index(payload_file(payload, artifact.index.sha256).read_bytes(), artifact)
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(_mapped(base))
        new = stack.enter_context(_mapped(image))
        known = Blob(_digest(old), len(old))
        if known == artifact.image:
            return None
        key = key_of("base", SEARCH, known.sha256)
        known_base = _Base(old, known, lambda: look_at(old, key, how.cache, how.thread_count))
        try:
            return _make(index, artifact, new, known_base, payload, how)
        except OSError as error:
            raise OfficeWriteError(path=str(payload), problem=error.strerror or "it cannot be written") from error


class _Base:
    """The base image. What it has to offer is searched for only once it is needed: all may have been found before."""

    def __init__(self, contents: mmap.mmap, blob: Blob, search: Callable[[], BaseBlocks]) -> None:
        self.contents = contents
        self.blob = blob
        self._search = search
        self._blocks: BaseBlocks | None = None
        self._lock = threading.Lock()

    def ranges_for(self, raw: bytes, place: int) -> list[BlockRange]:
        """Return the blocks that make up the dictionary of a chunk; see `BaseBlocks.dictionary_for`."""
        with self._lock:
            if self._blocks is None:
                self._blocks = self._search()
        return self._blocks.dictionary_for(raw, place)

    def dictionary(self, ranges: Sequence[BlockRange]) -> bytes:
        """Return the bytes of some blocks."""
        return b"".join(self.contents[each.first * BLOCK : (each.first + each.count) * BLOCK] for each in ranges)


def _make(  # noqa: PLR0913, PLR0917 - the loop in which all parts meet
    index: Index, artifact: Artifact, new: mmap.mmap, base: _Base, payload: Path, how: Packing
) -> Delta | None:
    records: list[DeltaChunk] = []
    with ThreadPoolExecutor(how.thread_count, thread_name_prefix="delta") as pool, PackWriter(payload, how.pack_size) as packs:
        pending: deque[_Told] = deque()

        def settle() -> None:
            told = pending.popleft()
            place = packs.add(told.stored.result())
            records.append(DeltaChunk(told.chunk.number, place.stored_digest, place.pack, place.offset, place.stored_size))

        for chunk in _differing(index, artifact.chunk_size, new, base.contents, how):
            start = chunk.number * artifact.chunk_size
            pending.append(_Told(chunk, pool.submit(_stored, base, new[start : start + chunk.size], chunk, start, how)))
            if len(pending) >= 2 * how.thread_count:
                settle()
        while pending:
            settle()
        packs.finish()
    if not records:
        return None
    return Delta(base.blob.sha256, base.blob.size, store(payload, encode(records)), tuple(packs.finished))


def _differing(index: Index, chunk_size: int, new: mmap.mmap, old: mmap.mmap, how: Packing) -> Iterator[IndexedChunk]:
    """Yield the chunks that are neither zeros nor what stands in the base at the same place.

    Where there are none, the first one that is not zeros is yielded, for a delta has to name a chunk: its base may be longer
    than the image, or differ only where the image has zeros. From an image of zeros nothing is yielded.
    """
    substitute: IndexedChunk | None = None
    found = False
    for chunk in index:
        start = chunk.number * chunk_size
        if not chunk.is_zero:
            substitute = substitute or chunk
            if old[start : start + chunk.size] != new[start : start + chunk.size]:
                found = True
                yield chunk
        how.progress(chunk.size)
    if substitute is not None and not found:
        yield substitute


def _stored(base: _Base, raw: bytes, chunk: IndexedChunk, start: int, how: Packing) -> bytes:
    """Return the recipe and the frame of a chunk."""

    def made() -> bytes:
        ranges = base.ranges_for(raw, start // BLOCK)
        return encode_recipe(ranges) + _compress(raw, base.dictionary(ranges))

    def is_right(stored: bytes) -> bool:
        try:
            ranges, frame = decode_recipe(stored, chunk.number, base.blob.size // BLOCK)
        except MalformedError:
            return False
        return gives(frame, raw, base.dictionary(ranges))

    key = key_of("delta", *ZSTD, DELTA_LEVEL, SEARCH, base.blob.sha256, start, chunk.digest)
    return how.cache.frame(key, is_right, made)


def _compress(raw: bytes, dictionary: bytes) -> bytes:
    # The window spans both, or the beginning of the dictionary would be out of reach.
    window_log = max((len(raw) + len(dictionary)).bit_length(), zstandard.WINDOWLOG_MIN)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        DELTA_LEVEL, window_log=window_log, write_content_size=True, write_checksum=False, write_dict_id=False
    )
    return zstandard.ZstdCompressor(dict_data=raw_dictionary(dictionary), compression_params=parameters).compress(raw)


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
