"""Payload from a stick that lies: no byte that was not proven reaches a slot."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.matrix import By, On, attack
from tests.payload import APP, CHUNK, ROOTFS, PassingOn, Payload, SlotFile, an_image, frame, packed
from usbupdate.core.layout import payload_path
from usbupdate.core.words import Digest
from usbupdate.device.installer import Installer
from usbupdate.device.pipeline import WORKERS
from usbupdate.device.supply import open_supplies
from usbupdate.errors import (
    ContentsDifferError,
    FileDigestError,
    FrameBrokenError,
    ImageDiffersError,
    MalformedError,
    MediumError,
    MediumFileKindError,
    MediumFileMissingError,
    MediumFileSizeError,
    MediumUnreadableError,
    ReadBackError,
    RejectedError,
    SlotReadError,
    SlotWriteError,
    StoredBytesDifferError,
)
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.core.manifest import Blob
    from usbupdate.core.receipt import Traffic
    from usbupdate.device.slotimages import OpenImage

IMAGE = an_image(6, zero=frozenset({1}), last=4321)
PAYLOAD = packed({ROOTFS: IMAGE})
BLOBS = (PAYLOAD.artifact.index, *PAYLOAD.artifact.packs)
PACKS = PAYLOAD.artifact.packs


class Silent:
    """Listens to nothing."""

    def began(self, what: str) -> None:
        pass

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        pass

    def stopped(self, traffic: Traffic) -> None:
        pass

    def first_write(self) -> None:
        pass


class Bench:
    """A stick with the payload, and a slot that holds something else."""

    def __init__(self, folder: Path, payload: Payload = PAYLOAD) -> None:
        self.mount = folder / "stick"
        self.mount.mkdir(exist_ok=True)
        self.medium = DirectoryMedium(self.mount)
        self.payload = payload
        payload.write(self.mount)
        self.slot = SlotFile(folder / "slot", b"\xaa" * (len(IMAGE) + CHUNK))

    def file(self, blob: Blob) -> Path:
        return self.payload.file(self.mount, blob)

    def install(self) -> None:
        image = self.slot.open()
        try:
            Installer(self.payload.manifest, self.medium, {ROOTFS: image}).install(Silent())
        finally:
            image.close()

    def verify(self) -> None:
        image = self.slot.open()
        try:
            Installer(self.payload.manifest, self.medium, {ROOTFS: image}).verify(Silent())
        finally:
            image.close()

    def rejects(self, error: type[RejectedError]) -> None:
        """Require the error, and that nothing unproven was written."""
        with pytest.raises(error):
            self.install()
        self.slot.require_only_proven_bytes(IMAGE)

    def rejects_at_once(self, error: type[RejectedError]) -> None:
        """Require the error, and that nothing at all was written."""
        self.rejects(error)
        assert self.slot.contents == self.slot.before
        with pytest.raises(error):
            open_supplies(self.payload.manifest, self.medium)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def flip(file: Path, bit: int) -> None:
    contents = bytearray(file.read_bytes())
    contents[bit // 8] ^= 1 << bit % 8
    file.write_bytes(contents)


@attack(By.STICK, On.SLOT, "a flipped bit in a pack", "everything that is needed is proven before the first write")
@pytest.mark.parametrize("bit", [0, 8 * 40, -1])
@pytest.mark.parametrize("blob", range(len(BLOBS)))
def test_one_flipped_bit_is_found_before_anything_is_written(bench: Bench, blob: int, bit: int) -> None:
    file = bench.file(BLOBS[blob])
    flip(file, bit if bit >= 0 else 8 * file.stat().st_size + bit)

    with pytest.raises(FileDigestError if blob == 0 else StoredBytesDifferError):
        bench.verify()
    assert bench.slot.contents == bench.slot.before


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_one_flipped_bit_anywhere_never_reaches_the_slot(tmp_path: Path, data: st.DataObject) -> None:
    bench = Bench(tmp_path)
    blob = data.draw(st.sampled_from(BLOBS))
    flip(bench.file(blob), data.draw(st.integers(0, 8 * blob.size - 1)))

    bench.rejects(FileDigestError if blob == PAYLOAD.artifact.index else StoredBytesDifferError)


@attack(By.STICK, On.SLOT, "a pack that is cut", "signed sizes")
@pytest.mark.parametrize("blob", BLOBS, ids=["index", *(f"pack{number}" for number in range(len(PACKS)))])
@pytest.mark.parametrize("size", [0, 1, -1, -100])
def test_a_truncated_file_is_found_before_anything_is_written(bench: Bench, blob: Blob, size: int) -> None:
    os.truncate(bench.file(blob), size if size >= 0 else blob.size + size)

    bench.rejects_at_once(MediumFileSizeError)


@attack(By.STICK, On.SERVICE, "a pack that is too large", "signed sizes")
@pytest.mark.parametrize("blob", BLOBS, ids=["index", *(f"pack{number}" for number in range(len(PACKS)))])
@pytest.mark.parametrize("size", [1, 1 << 32, (1 << 40) + 1])
def test_an_oversized_file_is_found_before_anything_is_written(bench: Bench, blob: Blob, size: int) -> None:
    os.truncate(bench.file(blob), blob.size + size)

    bench.rejects_at_once(MediumFileSizeError)


@pytest.mark.parametrize("blob", BLOBS, ids=["index", *(f"pack{number}" for number in range(len(PACKS)))])
def test_a_missing_file_is_found_before_anything_is_written(bench: Bench, blob: Blob) -> None:
    bench.file(blob).unlink()

    bench.rejects_at_once(MediumFileMissingError)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
@pytest.mark.parametrize("blob", BLOBS[:2], ids=["index", "pack"])
def test_what_is_no_ordinary_file_is_found_before_anything_is_written(bench: Bench, blob: Blob, kind: str) -> None:
    file = bench.file(blob)
    aside = file.rename(file.with_name("aside"))
    match kind:
        case "link":
            file.symlink_to(aside)
        case "fifo":
            os.mkfifo(file)
        case _:
            file.mkdir()

    bench.rejects_at_once(MediumFileKindError)


@attack(By.STICK, On.SLOT, "two chunks change places", "the index names each chunk's digest")
def test_swapped_chunks_are_rejected(bench: Bench) -> None:
    # Frames of equal length, so that only their places tell them apart.
    file = bench.file(PACKS[0])
    contents = file.read_bytes()
    half = len(contents) // 2
    file.write_bytes(contents[half:] + contents[:half])

    bench.rejects(StoredBytesDifferError)


@attack(By.STICK, On.SLOT, "two packs change places", "packs are named by their digest")
def test_swapped_packs_are_rejected(bench: Bench) -> None:
    pair = packed({ROOTFS: b"".join(an_image(1, seed=seed) for seed in (3, 4))}, chunks_per_pack=1)
    pair.write(bench.mount)
    first, second = (pair.file(bench.mount, pack) for pack in pair.artifact.packs)
    contents = first.read_bytes(), second.read_bytes()
    assert len(contents[0]) == len(contents[1])
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])

    with pytest.raises(StoredBytesDifferError):
        Installer(pair.manifest, bench.medium, {ROOTFS: bench.slot.open()}).install(Silent())
    assert bench.slot.contents == bench.slot.before


@attack(By.STICK, On.SLOT, "manifest of one release over the payload of another", "the manifest names its index by digest")
def test_the_index_of_another_genuine_release_is_rejected(bench: Bench) -> None:
    other = packed({ROOTFS: an_image(6, seed=8)})
    other.write(bench.mount)
    bench.file(PAYLOAD.artifact.index).write_bytes(other.files[other.artifact.index.sha256])

    bench.rejects_at_once(FileDigestError)


@attack(
    By.SIGNER, On.SLOT, "a manifest in which one image has the payload of another", "each image's digest is proven by itself"
)
def test_an_image_with_the_payload_of_another_one_is_rejected(tmp_path: Path) -> None:
    # As long as the other, so that nothing but the digest tells them apart.
    pair = packed({ROOTFS: IMAGE, APP: an_image(6, seed=8, last=4321)})
    mine, other = pair.manifest.artifacts
    mixed = replace(mine, index=other.index, packs=other.packs, chunk_size=other.chunk_size)
    mount, slot = tmp_path / "stick", SlotFile(tmp_path / "slot", b"\xaa" * len(IMAGE))
    mount.mkdir()
    pair.write(mount)
    image = slot.open()
    with pytest.raises(ImageDiffersError):
        Installer(replace(pair.manifest, artifacts=(mixed,)), DirectoryMedium(mount), {ROOTFS: image}).install(Silent())
    image.close()


def _lies_about_its_size(raw: bytes) -> bytes:
    stored = bytearray(frame(raw))
    parameters = zstandard.get_frame_parameters(bytes(stored))
    assert parameters.content_size == len(raw)
    position = bytes(stored).index(struct.pack("<I", len(raw)) if len(raw) > 65791 else struct.pack("<H", len(raw) - 256))
    stored[position] ^= 1
    return bytes(stored)


def _without_size(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_content_size=False).compress(raw)


SIGNED_FLAWS: dict[str, tuple[Callable[[bytes], bytes], type[RejectedError]]] = {
    "a frame that lies about its content size": (_lies_about_its_size, FrameBrokenError),
    "a frame that does not tell its content size": (_without_size, FrameBrokenError),
    "a frame with trailing bytes": (lambda raw: frame(raw) + b"\0", FrameBrokenError),
    "two frames": (lambda raw: frame(raw[:100]) + frame(raw[100:]), FrameBrokenError),
    "a frame and an empty frame": (lambda raw: frame(raw) + frame(b""), FrameBrokenError),
    "a skippable frame before": (lambda raw: struct.pack("<II", 0x184D2A50, 4) + b"skip" + frame(raw), FrameBrokenError),
    "a skippable frame alone": (lambda _: struct.pack("<II", 0x184D2A50, 4) + b"skip", FrameBrokenError),
    "a frame that is cut": (lambda raw: frame(raw)[:-1], FrameBrokenError),
    "a frame of more bytes": (lambda raw: frame(raw + b"\0"), FrameBrokenError),
    "a bomb": (lambda _: frame(bytes(1 << 26)), FrameBrokenError),
    "a magic number": (lambda _: b"\x28\xb5\x2f\xfd", FrameBrokenError),
    "no frame": (lambda _: b"no frame", FrameBrokenError),
    "one byte": (lambda _: b"\0", FrameBrokenError),
    "a frame of other bytes": (lambda raw: frame(raw[::-1]), ContentsDifferError),
}


@attack(
    By.SIGNER,
    On.SERVICE,
    "signed frames that lie about their size, bombs, several frames, trailing bytes",
    "announced size and window are bounded, one frame, nothing left over",
)
@pytest.mark.parametrize("flaw", SIGNED_FLAWS)
def test_a_flaw_that_was_signed_does_not_reach_the_slot(tmp_path: Path, flaw: str) -> None:
    framed, error = SIGNED_FLAWS[flaw]
    bench = Bench(tmp_path, packed({ROOTFS: IMAGE}, framed=framed))

    bench.rejects(error)

    assert bench.slot.contents[:CHUNK] == bench.slot.before[:CHUNK]


@attack(By.SIGNER, On.SLOT, "good chunks of another image than the signed one", "the digest over what was read back")
def test_chunks_that_do_not_add_up_to_the_signed_image_are_rejected(tmp_path: Path) -> None:
    Bench(tmp_path, packed({ROOTFS: IMAGE}, image_sha256=Digest("0" * 64))).rejects(ImageDiffersError)


@attack(By.SIGNER, On.SERVICE, "an index that points outside its packs", "every record is checked when the index is read")
def test_an_index_that_points_outside_its_packs_is_found_before_anything_is_written(tmp_path: Path) -> None:
    shorter = packed({ROOTFS: IMAGE}, chunks_per_pack=100)
    index = bytearray(shorter.files[shorter.artifact.index.sha256])
    index[-8:-4] = struct.pack(">I", shorter.artifact.packs[0].size)
    digest = Digest(hashlib.sha256(index).hexdigest())
    artifact = replace(shorter.artifact, index=replace(shorter.artifact.index, sha256=digest))
    files = {**shorter.files, digest: bytes(index)}

    Bench(tmp_path, Payload(replace(shorter.manifest, artifacts=(artifact,)), files)).rejects_at_once(MalformedError)


class Shifty:
    """A stick that answers truly but for one reading; implements `core.layout.MediumReader`."""

    def __init__(self, medium: DirectoryMedium, lie_at: int, lie: Callable[[bytes], bytes]) -> None:
        self._medium = medium
        self._lie_at = lie_at
        self._lie = lie
        self.readings = 0

    def read(self, path: MediumPath, limit: int) -> bytes:
        return self._told(self._medium.read(path, limit))

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        return self._told(self._medium.read_at(path, offset, size))

    def size(self, path: MediumPath) -> int:
        return self._medium.size(path)

    def names(self, path: MediumPath) -> tuple[str, ...]:
        return self._medium.names(path)

    def _told(self, truth: bytes) -> bytes:
        self.readings += 1
        return self._lie(truth) if self.readings == self._lie_at else truth


LIES: dict[str, Callable[[bytes], bytes]] = {
    "first bit": lambda truth: bytes([truth[0] ^ 1]) + truth[1:],
    "last bit": lambda truth: truth[:-1] + bytes([truth[-1] ^ 0x80]),
    "zeros": lambda truth: bytes(len(truth)),
    "nothing": lambda _: b"",
    "short": lambda truth: truth[:-1],
    "long": lambda truth: truth + b"\0",
}


@attack(
    By.STICK,
    On.SLOT,
    "a stick that gives other bytes at the second reading",
    "each byte is proven again just before it is used",
)
@pytest.mark.parametrize("workers", [1, WORKERS])
@pytest.mark.parametrize("lie", LIES)
def test_other_bytes_at_any_one_reading_are_rejected(bench: Bench, lie: str, workers: int) -> None:
    bench.verify()
    lied = 0
    for lie_at in count(1):
        stick = Shifty(bench.medium, lie_at, LIES[lie])
        slot = SlotFile(bench.slot.file, bench.slot.before)
        image = slot.open()
        try:
            Installer(PAYLOAD.manifest, stick, {ROOTFS: image}, workers=workers).install(Silent())
        except RejectedError:
            lied += 1
            slot.require_only_proven_bytes(IMAGE)
        else:
            assert stick.readings < lie_at
            break
        finally:
            image.close()
    # One reading of the index, which is kept, and one of each stored chunk.
    assert lied == 1 + 5
    assert bench.slot.contents[: len(IMAGE)] == IMAGE


@attack(
    By.TECHNICIAN,
    On.SLOT,
    "the stick is pulled at any moment",
    "only proven bytes are written, and the slot is condemned until it is whole",
)
def test_a_stick_that_is_pulled_at_any_reading_leaves_only_proven_bytes(bench: Bench) -> None:
    def pulled(_: bytes) -> bytes:
        raise MediumUnreadableError(name="usbupdate", problem="Input/output error")

    for lie_at in range(1, 7):
        slot = SlotFile(bench.slot.file, bench.slot.before)
        with pytest.raises(MediumError):
            Installer(PAYLOAD.manifest, Shifty(bench.medium, lie_at, pulled), {ROOTFS: slot.open()}).install(Silent())
        slot.require_only_proven_bytes(IMAGE)


class PowerCutError(Exception):
    """The power went."""


class Faulty(PassingOn):
    """A slot's device that fails at one call."""

    def __init__(self, image: OpenImage, method: str, fail_at: int, fault: Callable[[], None]) -> None:
        super().__init__(image)
        self._method = method
        self._left = fail_at
        self._fault = fault
        self.written: list[int] = []

    def read_at(self, offset: int, size: int) -> bytes:
        self._maybe("read_at")
        return super().read_at(offset, size)

    def write_at(self, offset: int, contents: bytes) -> None:
        if self._method == "torn" and self._left == 1:
            super().write_at(offset, contents[: len(contents) // 2])
        self._maybe("write_at")
        super().write_at(offset, contents)
        self.written.append(offset // CHUNK)
        self._maybe("after_write")

    def sync(self) -> None:
        self._maybe("sync")
        super().sync()

    def _maybe(self, method: str) -> None:
        if self._method == method or (self._method == "torn" and method == "write_at"):
            self._left -= 1
            if self._left == 0:
                self._fault()


def fault(error: Exception) -> Callable[[], None]:
    def raised() -> None:
        raise error

    return raised


NEVER = 10_000


@attack(By.CHANCE, On.SLOT, "a power cut at any write", "what the slot holds already is found by looking")
@pytest.mark.parametrize("method", ["write_at", "after_write", "torn"])
@pytest.mark.parametrize("cut_at", range(1, 7))
def test_after_a_cut_at_any_write_only_what_is_missing_is_written(bench: Bench, method: str, cut_at: int) -> None:
    cut = Faulty(bench.slot.open(), method, cut_at, fault(PowerCutError()))
    with pytest.raises(PowerCutError):
        Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: cut}).install(Silent())

    again = Faulty(bench.slot.open(), "", NEVER, fault(PowerCutError()))
    traffic = Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: again}).install(Silent())

    done = cut_at if method == "after_write" else cut_at - 1
    assert cut.written == list(range(done))
    assert again.written == list(range(done, 6))
    assert (traffic.equal, traffic.zero + traffic.full) == (done, 6 - done)
    assert bench.slot.contents[: len(IMAGE)] == IMAGE


def test_after_a_damaged_stick_a_good_one_writes_only_what_is_missing(bench: Bench) -> None:
    flip(bench.file(PACKS[-1]), 0)
    bench.rejects(StoredBytesDifferError)

    PAYLOAD.write(bench.mount)
    image = Faulty(bench.slot.open(), "", NEVER, fault(PowerCutError()))
    Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: image}).install(Silent())

    assert image.written == [4, 5]


@attack(By.CHANCE, On.SLOT, "a slot that cannot be written", "it is never activated")
@pytest.mark.parametrize("fail_at", range(1, 7))
def test_a_write_error_ends_the_installation(bench: Bench, fail_at: int) -> None:
    error = SlotWriteError(slot_class=ROOTFS, problem="No space left on device")
    image = Faulty(bench.slot.open(), "write_at", fail_at, fault(error))

    with pytest.raises(SlotWriteError):
        Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: image}).install(Silent())
    assert image.written == list(range(fail_at - 1))


@attack(By.CHANCE, On.SLOT, "a slot that fails to keep what was written", "errors of fsync count")
@pytest.mark.parametrize("fail_at", [1, 2])
def test_a_sync_that_fails_ends_the_installation(bench: Bench, fail_at: int) -> None:
    error = SlotWriteError(slot_class=ROOTFS, problem="Input/output error")

    with pytest.raises(SlotWriteError):
        Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: Faulty(bench.slot.open(), "sync", fail_at, fault(error))}).install(
            Silent()
        )


@attack(By.CHANCE, On.SLOT, "flash that forgets a chunk", "everything is read back from the device")
@pytest.mark.parametrize("chunk", range(6))
def test_a_slot_that_did_not_keep_a_chunk_is_found_by_reading_back(bench: Bench, chunk: int) -> None:
    def decays() -> None:
        flip(bench.slot.file, 8 * CHUNK * chunk + 3)

    image = Faulty(bench.slot.open(), "sync", 2, decays)

    with pytest.raises(ReadBackError) as caught:
        Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: image}).install(Silent())
    assert caught.value.chunk == chunk


def test_a_slot_that_cannot_be_read_back_is_not_taken_as_whole(bench: Bench) -> None:
    error = SlotReadError(slot_class=ROOTFS, problem="Input/output error")
    image = Faulty(bench.slot.open(), "read_at", 6 + 4, fault(error))

    with pytest.raises(SlotReadError):
        Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: image}).install(Silent())


def test_a_slot_that_shrinks_while_it_is_written_is_found(bench: Bench) -> None:
    def shrinks() -> None:
        os.truncate(bench.slot.file, 2 * CHUNK)

    image = Faulty(bench.slot.open(), "sync", 2, shrinks)

    with pytest.raises(SlotReadError, match="it ends at byte"):
        Installer(PAYLOAD.manifest, bench.medium, {ROOTFS: image}).install(Silent())


def test_files_of_the_payload_are_named_by_their_digest_only() -> None:
    assert all(payload_path(blob.sha256)[-1] == blob.sha256 for blob in BLOBS)
