"""From an image to its index and packs, read once, with memory that does not grow with the image except for the index.

The result depends on the image, the level and the version of zstd only, never on how many threads worked on it.

Source: design, section 4, "Index" and "Packs".
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import zstandard

from usbupdate import durable
from usbupdate.core import index
from usbupdate.core.frames import raw_dictionary
from usbupdate.core.index import IndexedChunk, chunk_size_for
from usbupdate.core.manifest import IMAGE_SIZE_MAX, PACK_SIZE_MAX, Artifact, Blob
from usbupdate.core.words import Digest
from usbupdate.errors import OfficeWriteError, UnusableFileError
from usbupdate.packager.framecache import FrameCache, NoCache, key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.words import SlotClass

LEVEL: Final = 15
"""Half of the time of 19 for one per cent of size, which every stick is read for; docs/release-engineer.md has the numbers."""

ZSTD: Final = zstandard.ZSTD_VERSION
"""Another version of the library makes other frames of the same bytes."""

_PART: Final = "growing.part"
_NOTHING: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Packing:
    """How to pack: zstd level, bytes of the largest pack, threads (by default one a core), who hears of bytes read, a cache."""

    level: int = LEVEL
    pack_size: int = PACK_SIZE_MAX
    threads: int = 0
    progress: Callable[[int], None] = lambda _: None
    cache: FrameCache = NoCache()  # noqa: RUF009 - it has no state

    @property
    def thread_count(self) -> int:
        """How many threads that is."""
        return self.threads or os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Place:
    stored_digest: bytes
    pack: int
    offset: int
    stored_size: int


@dataclass(frozen=True, slots=True)
class _Pending:
    size: int
    digest: bytes
    frame: Future[bytes] | None


def pack_image(image: Path, slot_class: SlotClass, payload: Path, how: Packing) -> Artifact:
    """Store an image as packs and an index under `payload`, and return the artifact that names them.

    Files that are there already are written again with the same bytes.

    Raises:
        UnusableFileError: the image cannot be read, is empty, too large, or changes meanwhile.
        OfficeWriteError: `payload` cannot be written.
    """
    try:
        with (
            _opened(image) as source,
            ThreadPoolExecutor(how.thread_count, thread_name_prefix="pack") as pool,
            PackWriter(payload, how.pack_size) as packs,
        ):
            size = _size(image, source)
            chunk_size = chunk_size_for(size)
            records: list[bytes] = []
            digest = _pack(source, size, chunk_size, how, pool, how.thread_count * 2, packs, records)
            if digest is None:
                raise UnusableFileError(path=str(image), problem="it changes while it is read")
            packs.finish()
        index_blob = store(payload, b"".join(records))
    except OSError as error:
        # The image's own faults have become errors of their own below: what is left is the repository's disk.
        raise OfficeWriteError(path=str(payload), problem=error.strerror or "it cannot be written") from error
    return Artifact(
        slot_class=slot_class,
        image=Blob(digest, size),
        chunk_size=chunk_size,
        index=index_blob,
        packs=tuple(packs.finished),
    )


def require_image(image: Path) -> None:
    """Refuse an image that cannot be packed, before any work.

    Raises:
        UnusableFileError: it cannot be read, is empty or too large.
    """
    with _opened(image) as source:
        _size(image, source)


def payload_file(payload: Path, digest: Digest) -> Path:
    """Return where a payload file lies in the repository."""
    return payload / digest[:2] / digest


def forget_unfinished(payload: Path) -> None:
    """Remove what an interrupted packing has left.

    Raises:
        OSError: it may still be there.
    """
    durable.remove(payload / _PART)


class PackWriter:
    """Appends frames to packs that get their names when they are full."""

    def __init__(self, payload: Path, pack_size: int) -> None:
        self._payload = payload
        self._pack_size = pack_size
        self._growing: durable.Growing | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self.finished: list[Blob] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *what: object) -> None:
        if self._growing is not None:
            self._growing.__exit__(*what)

    def add(self, frame: bytes) -> _Place:
        """Store one frame and return where."""
        if self._size + len(frame) > self._pack_size:
            self.finish()
        if self._growing is None:
            self._growing = durable.Growing(self._payload / _PART)
            self._hash = hashlib.sha256()
        place = _Place(hashlib.sha256(frame).digest(), len(self.finished), self._size, len(frame))
        self._growing.write(frame)
        self._hash.update(frame)
        self._size += len(frame)
        return place

    def finish(self) -> None:
        """Give the present pack its name."""
        if self._growing is None:
            return
        blob = Blob(Digest(self._hash.hexdigest()), self._size)
        path = payload_file(self._payload, blob.sha256)
        durable.make_directory(path.parent)
        self._growing.become(path)
        durable.sync_directory(self._payload)
        self.finished.append(blob)
        self._growing, self._size = None, 0


def _pack(  # noqa: PLR0913, PLR0917 - the loop in which all parts meet; they are local to one call
    source: BinaryIO,
    size: int,
    chunk_size: int,
    how: Packing,
    pool: ThreadPoolExecutor,
    window: int,
    packs: PackWriter,
    records: list[bytes],
) -> Digest | None:
    """Fill `packs` and `records` in chunk order; return the image's digest, or None if it did not stay as long as it was."""
    whole = hashlib.sha256()
    zeros = bytes(chunk_size)
    places: dict[bytes, _Place] = {}
    known: set[bytes] = set()
    pending: deque[_Pending] = deque()
    nothing = _Place(_NOTHING, 0, 0, 0)

    def settle() -> None:
        each = pending.popleft()
        if each.frame is not None:
            places[each.digest] = packs.add(each.frame.result())
        place = places.get(each.digest, nothing)
        chunk = IndexedChunk(
            len(records), each.size, each.digest, place.stored_digest, place.pack, place.offset, place.stored_size
        )
        records.append(index.encode([chunk]))

    for start in range(0, size, chunk_size):
        raw = _read(source, min(chunk_size, size - start))
        if len(raw) != min(chunk_size, size - start):
            return None
        whole.update(raw)
        digest = hashlib.sha256(raw).digest()
        # Equal chunks are stored once, chunks of zeros not at all.
        fresh = digest not in known and raw != (zeros if len(raw) == chunk_size else bytes(len(raw)))
        if fresh:
            known.add(digest)
        pending.append(_Pending(len(raw), digest, pool.submit(_frame, raw, digest, how) if fresh else None))
        if len(pending) >= window:
            settle()
        how.progress(len(raw))
    while pending:
        settle()
    return Digest(whole.hexdigest()) if not _read(source, 1) else None


def _frame(raw: bytes, digest: bytes, how: Packing) -> bytes:
    def compressed() -> bytes:
        # One compressor a call: they are not for sharing between threads.
        return zstandard.ZstdCompressor(level=how.level, write_content_size=True, write_checksum=False).compress(raw)

    key = key_of("whole", *ZSTD, how.level, digest)
    return how.cache.frame(key, lambda frame: gives(frame, raw), compressed)


def gives(frame: bytes, raw: bytes, dictionary: bytes = b"") -> bool:
    """Tell whether a frame decompresses to certain bytes."""
    try:
        # What it announces is what gets memory.
        if zstandard.get_frame_parameters(frame).content_size != len(raw):
            return False
        return zstandard.ZstdDecompressor(dict_data=raw_dictionary(dictionary)).decompress(frame, allow_extra_data=False) == raw
    except zstandard.ZstdError:
        return False


def _opened(image: Path) -> BinaryIO:
    try:
        return image.open("rb")
    except OSError as error:
        raise UnusableFileError(path=str(image), problem=error.strerror or "it cannot be read") from error


def _read(source: BinaryIO, size: int) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise UnusableFileError(path=str(source.name), problem=error.strerror or "it cannot be read") from error


def _size(image: Path, source: BinaryIO) -> int:
    try:
        # Seeking finds the size of a block device too, which stat does not know.
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
    except OSError as error:
        raise UnusableFileError(path=str(image), problem=error.strerror or "it cannot be read") from error
    if not 1 <= size <= IMAGE_SIZE_MAX:
        raise UnusableFileError(path=str(image), problem=f"an image has 1 to {IMAGE_SIZE_MAX} bytes, this has {size}")
    return size


def store(payload: Path, raw: bytes) -> Blob:
    """Store a file of the payload under its digest, durably."""
    blob = Blob(Digest(hashlib.sha256(raw).hexdigest()), len(raw))
    path = payload_file(payload, blob.sha256)
    durable.make_directory(path.parent)
    durable.save(path, raw)
    return blob
