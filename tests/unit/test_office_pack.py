from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from tests.office import CHUNK
from usbupdate.core.chunks import restore_chunk
from usbupdate.core.index import Index
from usbupdate.core.words import SlotClass
from usbupdate.errors import UnusableFileError
from usbupdate.packager import pack
from usbupdate.packager.pack import Packing, payload_file

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.manifest import Artifact

ROOTFS = SlotClass("rootfs")


def noise(seed: int, size: int = CHUNK) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - bytes that look like an image, not a secret


def packed(folder: Path, image: bytes, how: Packing | None = None) -> Artifact:
    path = folder / "image.img"
    path.write_bytes(image)
    payload = folder / "payload"
    payload.mkdir(exist_ok=True)
    return pack.pack_image(path, ROOTFS, payload, how or Packing(level=1, threads=2))


def unpacked(folder: Path, artifact: Artifact) -> bytes:
    class Packs:
        def read(self, pack: int, offset: int, size: int) -> bytes:
            return payload_file(folder / "payload", artifact.packs[pack].sha256).read_bytes()[offset : offset + size]

    raw = payload_file(folder / "payload", artifact.index.sha256).read_bytes()
    return b"".join(restore_chunk(chunk, Packs()) for chunk in Index(raw, artifact))


@pytest.mark.parametrize(
    "image",
    [
        b"x",
        bytes(3 * CHUNK),
        noise(1, 3 * CHUNK),
        noise(2, CHUNK + 1) + bytes(CHUNK) + b"text " * 100_000,
        noise(3) * 3 + b"tail",
    ],
    ids=["one byte", "zeros", "noise", "mixed", "repeated"],
)
def test_what_was_packed_comes_back(tmp_path: Path, image: bytes) -> None:
    artifact = packed(tmp_path, image)
    assert unpacked(tmp_path, artifact) == image
    assert artifact.image.sha256 == hashlib.sha256(image).hexdigest()


def test_files_are_named_by_their_digest(tmp_path: Path) -> None:
    artifact = packed(tmp_path, noise(1, 2 * CHUNK))
    files = [path for path in (tmp_path / "payload").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {artifact.index.sha256, *(blob.sha256 for blob in artifact.packs)}
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in files)
    assert all(path.parent.name == path.name[:2] for path in files)


def test_zeros_take_no_room_and_equal_chunks_are_stored_once(tmp_path: Path) -> None:
    once = packed(tmp_path, noise(1))
    often = packed(tmp_path, noise(1) + bytes(CHUNK) + noise(1) * 4)
    assert [blob.size for blob in often.packs] == [blob.size for blob in once.packs]
    assert packed(tmp_path, bytes(8 * CHUNK)).packs == ()


def test_packs_stay_below_their_limit(tmp_path: Path) -> None:
    image = noise(1, 5 * CHUNK)
    artifact = packed(tmp_path, image, Packing(level=1, pack_size=2 * CHUNK + 1000))
    assert [blob.size <= 2 * CHUNK + 1000 for blob in artifact.packs] == [True] * 3
    assert unpacked(tmp_path, artifact) == image


def test_the_result_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    image = b"".join(noise(seed) + b"text " * 60_000 for seed in range(6))
    assert packed(tmp_path, image, Packing(threads=1)) == packed(tmp_path, image, Packing(threads=7))


def test_progress_counts_every_byte_of_the_image(tmp_path: Path) -> None:
    told: list[int] = []
    packed(tmp_path, noise(1, 2 * CHUNK + 5), Packing(level=1, progress=told.append))
    assert sum(told) == 2 * CHUNK + 5


def test_an_empty_image_or_a_folder_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError):
        packed(tmp_path, b"")
    with pytest.raises(UnusableFileError):
        pack.pack_image(tmp_path, ROOTFS, tmp_path / "payload", Packing())
    with pytest.raises(UnusableFileError):
        pack.pack_image(tmp_path / "missing", ROOTFS, tmp_path / "payload", Packing())
    assert list((tmp_path / "payload").iterdir()) == []


def test_an_image_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.img"
    path.write_bytes(noise(1, 2 * CHUNK))
    (tmp_path / "payload").mkdir()

    def grow(_: int) -> None:
        with path.open("ab") as image:
            image.write(b"more")

    with pytest.raises(UnusableFileError, match="changes while"):
        pack.pack_image(path, ROOTFS, tmp_path / "payload", Packing(level=1, progress=grow))
    assert list((tmp_path / "payload").iterdir()) == []
