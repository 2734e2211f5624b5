"""Payload as a packager makes it, small, with a place for each flaw that a test wants in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import zstandard

from usbupdate.core.index import IndexedChunk, encode
from usbupdate.core.layout import payload_path
from usbupdate.core.manifest import CHUNK_SIZE_MIN, Artifact, Blob, Kind, Manifest
from usbupdate.core.words import BundleName, Digest, SlotClass
from usbupdate.device.slotimages import OpenImage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from usbupdate.core.receipt import Traffic

ROOTFS: Final = SlotClass("rootfs")
APP: Final = SlotClass("app")
CHUNK: Final = CHUNK_SIZE_MIN


@dataclass(frozen=True)
class Payload:
    """A manifest, and the files of its payload by digest."""

    manifest: Manifest
    files: Mapping[Digest, bytes]

    @property
    def artifact(self) -> Artifact:
        return self.manifest.artifacts[0]

    def write(self, mount: Path) -> None:
        for digest, contents in self.files.items():
            file = mount.joinpath(*payload_path(digest))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(contents)

    def file(self, mount: Path, blob: Blob) -> Path:
        return mount.joinpath(*payload_path(blob.sha256))


def frame(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(raw)


def packed(
    images: Mapping[SlotClass, bytes],
    *,
    framed: Callable[[bytes], bytes] = frame,
    chunks_per_pack: int = 3,
    image_sha256: Digest | None = None,
) -> Payload:
    """Return a bundle of images.

    Args:
        images: by slot class.
        framed: makes the stored bytes of a chunk; whatever it returns gets signed.
        chunks_per_pack: after how many stored chunks the next pack begins.
        image_sha256: what the manifest says that each image is, if not the truth.
    """
    files: dict[Digest, bytes] = {}
    artifacts = tuple(_artifact(each, images[each], framed, chunks_per_pack, files) for each in images)
    if image_sha256 is not None:
        artifacts = tuple(replace(each, image=replace(each.image, sha256=image_sha256)) for each in artifacts)
    manifest = Manifest(
        name=BundleName("gateway"),
        version="1.1",
        sequence=2,
        compatible=("acme,gw-100",),
        kind=Kind.FEATURE,
        created="2026-01-01T00:00:00Z",
        artifacts=artifacts,
    )
    return Payload(manifest, files)


def an_image(chunks: int, *, seed: int = 1, zero: frozenset[int] = frozenset(), last: int = CHUNK) -> bytes:
    """Return an image of `chunks` different chunks; those in `zero` are zeros, and the last has `last` bytes."""
    numbers = random.Random(seed)  # noqa: S311 - contents for tests, the same each time
    parts = [bytes(CHUNK) if number in zero else numbers.randbytes(CHUNK // 8) * 8 for number in range(chunks)]
    return b"".join(parts)[: (chunks - 1) * CHUNK + last]


class SlotFile:
    """A slot that is a file, open as the device opens it."""

    def __init__(self, file: Path, contents: bytes, slot_class: SlotClass = ROOTFS) -> None:
        self.file = file
        self.before = contents
        self._class = slot_class
        file.write_bytes(contents)

    def open(self) -> OpenImage:
        return OpenImage(self._class, os.open(self.file, os.O_RDWR), direct=True)

    @property
    def contents(self) -> bytes:
        return self.file.read_bytes()

    def require_only_proven_bytes(self, image: bytes) -> None:
        """Fail unless each chunk is as it was or as the image has it."""
        now = self.contents
        assert len(now) == len(self.before)
        for start in range(0, len(image), CHUNK):
            chunk = slice(start, min(start + CHUNK, len(image)))
            assert now[chunk] in {self.before[chunk], image[chunk]}
        assert now[len(image) :] == self.before[len(image) :]


class PassingOn:
    """A slot's device that passes everything on, for those that watch or fail at something; implements `ports.SlotImage`."""

    def __init__(self, image: OpenImage) -> None:
        self._image = image
        self.size = image.size

    def read_at(self, offset: int, size: int) -> bytes:
        return self._image.read_at(offset, size)

    def write_at(self, offset: int, contents: bytes) -> None:
        self._image.write_at(offset, contents)

    def sync(self) -> None:
        self._image.sync()

    def close(self) -> None:
        self._image.close()


@dataclass
class Told:
    """What an installation told, in order."""

    steps: list[str | tuple[int, int]] = field(default_factory=list)

    def began(self, what: str) -> None:
        pass

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        self.steps.append((done_bytes, total_bytes))

    def stopped(self, traffic: Traffic) -> None:
        pass

    def first_write(self) -> None:
        self.steps.append("first write")

    @property
    def advances(self) -> list[tuple[int, int]]:
        return [step for step in self.steps if not isinstance(step, str)]


def takes_direct_io(folder: Path) -> bool:
    """Tell whether files in a folder can be read and written past the cache."""
    probe = folder / "probe"
    probe.touch()
    with contextlib.suppress(OSError):
        os.close(os.open(probe, os.O_RDWR | os.O_DIRECT))
        return True
    return False


def _artifact(
    slot_class: SlotClass, image: bytes, framed: Callable[[bytes], bytes], chunks_per_pack: int, files: dict[Digest, bytes]
) -> Artifact:
    chunks: list[IndexedChunk] = []
    packs = [b""]
    for number, start in enumerate(range(0, len(image), CHUNK)):
        raw = image[start : start + CHUNK]
        stored, pack, offset = b"", 0, 0
        if raw.strip(b"\0"):
            if len([each for each in chunks if each.stored_size and each.pack == len(packs) - 1]) == chunks_per_pack:
                packs.append(b"")
            stored, pack, offset = framed(raw), len(packs) - 1, len(packs[-1])
            packs[-1] += stored
        digest = hashlib.sha256(raw).digest()
        stored_digest = hashlib.sha256(stored).digest() if stored else bytes(32)
        chunks.append(IndexedChunk(number, len(raw), digest, stored_digest, pack, offset, len(stored)))
    return Artifact(
        slot_class=slot_class,
        image=Blob(_digest(image), len(image)),
        chunk_size=CHUNK,
        index=_added(files, encode(chunks)),
        packs=tuple(_added(files, pack) for pack in packs if pack),
    )


def _added(files: dict[Digest, bytes], contents: bytes) -> Blob:
    files[_digest(contents)] = contents
    return Blob(_digest(contents), len(contents))


def _digest(contents: bytes) -> Digest:
    return Digest(hashlib.sha256(contents).hexdigest())
