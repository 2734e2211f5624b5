"""Files of the payload, read as they were signed or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.delta import DeltaIndex
from usbupdate.core.index import RECORD_SIZE, Index
from usbupdate.core.layout import PAYLOAD, MediumPath, payload_path
from usbupdate.core.manifest import CHUNK_SIZE_MIN, INDEX_SIZE_MAX, Artifact, Blob, Delta
from usbupdate.core.payload import holds_deltas_only, read_delta_index, read_index, read_signed, require_signed_size
from usbupdate.core.words import Digest, SlotClass
from usbupdate.errors import FileDigestError, MediumFileKindError, MediumFileMissingError, MediumFileSizeError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENTS = b"twelve bytes"
PLACE: MediumPath = (*PAYLOAD, "some", "where")


def blob(contents: bytes) -> Blob:
    return Blob(Digest(hashlib.sha256(contents).hexdigest()), len(contents))


class Stick:
    """A stick that holds these files, and does not care how much of one is asked for."""

    def __init__(self, files: Mapping[MediumPath, bytes]) -> None:
        self.files = files
        self.asked: list[int] = []

    def read(self, path: MediumPath, limit: int) -> bytes:
        self.asked.append(limit)
        return self._file(path)

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        return self._file(path)[offset : offset + size]

    def size(self, path: MediumPath) -> int:
        return len(self._file(path))

    def names(self, path: MediumPath) -> tuple[str, ...]:
        return ()

    def _file(self, path: MediumPath) -> bytes:
        if path not in self.files:
            raise MediumFileMissingError(name="/".join(path))
        return self.files[path]


class Folder(Stick):
    """A stick with a folder where a file should be."""

    def size(self, path: MediumPath) -> int:
        raise MediumFileKindError(name="/".join(path))


def test_a_file_that_is_what_was_signed_is_read_and_no_more_of_it_is_asked_for() -> None:
    stick = Stick({PLACE: CONTENTS})
    assert read_signed(stick, PLACE, blob(CONTENTS), len(CONTENTS)) == CONTENTS
    assert stick.asked == [len(CONTENTS)]


def test_a_file_that_is_signed_larger_than_is_allowed_is_not_read() -> None:
    stick = Stick({PLACE: CONTENTS})
    with pytest.raises(MediumFileSizeError) as caught:
        read_signed(stick, PLACE, blob(CONTENTS), len(CONTENTS) - 1)
    assert (caught.value.name, caught.value.size, caught.value.allowed) == ("usbupdate/payload/some/where", 12, 11)
    assert stick.asked == []


@pytest.mark.parametrize("contents", [CONTENTS[:-1], CONTENTS + b"!"])
def test_a_file_of_another_size_is_rejected(contents: bytes) -> None:
    with pytest.raises(MediumFileSizeError) as caught:
        read_signed(Stick({PLACE: contents}), PLACE, blob(CONTENTS), 100)
    assert (caught.value.name, caught.value.size, caught.value.allowed) == (
        "usbupdate/payload/some/where",
        len(contents),
        len(CONTENTS),
    )


def test_a_file_of_other_contents_is_rejected() -> None:
    with pytest.raises(FileDigestError) as caught:
        read_signed(Stick({PLACE: b"TWELVE BYTES"}), PLACE, blob(CONTENTS), 100)
    assert caught.value.name == "usbupdate/payload/some/where"


def test_the_size_of_a_file_of_the_payload_is_looked_at_under_its_digest() -> None:
    there = blob(CONTENTS)
    name = f"usbupdate/payload/{there.sha256[:2]}/{there.sha256}"
    require_signed_size(Stick({payload_path(there.sha256): CONTENTS}), there)
    with pytest.raises(MediumFileSizeError) as caught:
        require_signed_size(Stick({payload_path(there.sha256): b"short"}), there)
    assert (caught.value.name, caught.value.size, caught.value.allowed) == (name, 5, 12)
    with pytest.raises(MediumFileMissingError):
        require_signed_size(Stick({PLACE: CONTENTS}), there)


# --- An artifact and its deltas --------------------------------------------------------------------------------------

PACKS = (b"one pack", b"another pack")
ZERO_CHUNK = hashlib.sha256(bytes(CHUNK_SIZE_MIN)).digest() + bytes(44)
DELTA = Delta(blob(b"base").sha256, 4, blob(b""), ())
"""From a base of which everything was kept: its index names no chunk."""


def artifact(*, packs: tuple[bytes, ...] = PACKS, deltas: tuple[Delta, ...] = (DELTA,), index: bytes = ZERO_CHUNK) -> Artifact:
    image = bytes(CHUNK_SIZE_MIN)
    return Artifact(SlotClass("rootfs"), blob(image), CHUNK_SIZE_MIN, blob(index), tuple(map(blob, packs)), deltas)


def holding(*contents: bytes) -> dict[MediumPath, bytes]:
    return {payload_path(blob(each).sha256): each for each in contents}


def test_a_stick_without_any_pack_holds_deltas_only() -> None:
    assert holds_deltas_only(artifact(), Stick({}))
    for held in ([PACKS[0]], [PACKS[1]], PACKS):
        assert not holds_deltas_only(artifact(), Stick(holding(*held)))


def test_what_has_no_deltas_or_needs_no_packs_holds_more_than_deltas() -> None:
    assert not holds_deltas_only(artifact(deltas=()), Stick({}))
    assert not holds_deltas_only(artifact(packs=()), Stick({}))


def test_something_else_in_the_place_of_a_pack_is_rejected() -> None:
    with pytest.raises(MediumFileKindError):
        holds_deltas_only(artifact(), Folder({}))


def test_an_index_is_read_under_its_digest_and_no_larger_than_an_index_may_be() -> None:
    read = read_index(artifact(), Stick(holding(ZERO_CHUNK)))
    assert isinstance(read, Index)
    assert [chunk.is_zero for chunk in read] == [True]
    larger = bytes(INDEX_SIZE_MAX + RECORD_SIZE)
    with pytest.raises(MediumFileSizeError):
        read_index(artifact(index=larger), Stick(holding(larger)))


def test_the_index_of_a_delta_is_read_under_its_digest_and_no_larger_than_an_index_may_be() -> None:
    read = read_delta_index(artifact(), DELTA, Stick(holding(b"")))
    assert isinstance(read, DeltaIndex)
    assert (list(read), read.base_size) == ([], 4)
    larger = bytes(INDEX_SIZE_MAX + 1)
    with pytest.raises(MediumFileSizeError):
        read_delta_index(artifact(), replace(DELTA, index=blob(larger)), Stick(holding(larger)))
