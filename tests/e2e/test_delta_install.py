"""Devices that get by with what differs from what they run, and those that cannot."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.field import APP, CHUNK, CHUNKS, OFFERED, RUNNING
from usbupdate.core.delta import RECORD_SIZE
from usbupdate.core.payload import read_delta_index
from usbupdate.core.receipt import Event, Traffic
from usbupdate.device.obligations import Rest
from usbupdate.device.supply import Base, Way, open_supplies
from usbupdate.errors import (
    BaseChangedError,
    DeltaOnlyError,
    FileDigestError,
    MediumFileMissingError,
    NoDeltasError,
    StoredBytesDifferError,
    UnusableValueError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import bundle, inspection, stick
from usbupdate.packager.stick import Wishes
from usbupdate.simulate.setup import ROOTFS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.field import Field, Rig
    from usbupdate.core.manifest import Artifact, Delta

BOTH, DELTA_ONLY = "both", "delta-only"
SEQUENCE = OFFERED + 5
"""Above what the field's own stick offers."""


def make_sticks(field: Field, *, base: int = RUNNING) -> None:
    """Release an image with a delta from another, and write one stick with all of it and one with the delta only."""
    field.release(SEQUENCE, bases={ROOTFS: (field.image(base),)})
    field.stick(BOTH)
    write_delta_only(field)


def write_delta_only(field: Field) -> None:
    (field.folder / DELTA_ONLY).mkdir()
    stick.write(stick.plan(field.office, field.now, Wishes(only_deltas=True)), field.folder / DELTA_ONLY)


def the_artifact(field: Field) -> Artifact:
    (artifact,) = bundle.chosen(field.office)[0].manifest.artifacts
    return artifact


def the_delta(field: Field) -> Delta:
    return the_artifact(field).deltas[0]


def traffic(rig: Rig) -> Traffic:
    found = rig.last().traffic
    assert found is not None
    return found


def size_of(mount: Path) -> int:
    return sum(path.stat().st_size for path in (mount / "usbupdate/payload").rglob("*") if path.is_file())


def damage(rig: Rig, chunk: int) -> None:
    """Change a byte of the running slot."""
    with (rig.folder / "slots/a.img").open("r+b") as file:
        file.seek(chunk * CHUNK + 100)
        file.write(b"!")


@pytest.mark.parametrize("which", [BOTH, DELTA_ONLY])
def test_device_that_runs_the_base_reads_only_what_differs(field: Field, which: str) -> None:
    make_sticks(field)
    rig = field.rig
    assert rig.update(field.folder / which).rest is Rest.IDLE
    assert rig.last().event is Event.COMMITTED
    assert rig.slot_image("b") == field.image_sha256(SEQUENCE)
    counts = traffic(rig)
    # The two chunks of zeros are there already.
    assert (counts.full, counts.delta, counts.equal) == (0, 14, 2)
    whole = the_delta(field)
    sizes = whole.index.size + sum(pack.size for pack in whole.packs)
    assert counts.read < 3 * sizes + 10_000


def test_stick_with_deltas_only_is_smaller_and_says_what_it_is(field: Field) -> None:
    make_sticks(field)
    small = field.folder / DELTA_ONLY
    (artifact,) = bundle.chosen(field.office)[0].manifest.artifacts
    assert size_of(field.folder / BOTH) - size_of(small) == sum(pack.size for pack in artifact.packs)
    found = inspection.inspect(inspection.opened(small), None, field.now)
    assert [each.deltas_only for each in found.stick.bundles] == [True]
    assert "only what differs" in (small / "usbupdate/READ-ME.txt").read_text()
    whole = inspection.inspect(inspection.opened(field.folder / BOTH), None, field.now)
    assert [each.deltas_only for each in whole.stick.bundles] == [False]


def test_chunks_of_a_base_that_changed_come_from_the_whole_frames(field: Field) -> None:
    make_sticks(field)
    rig = field.rig
    damage(rig, 1)
    # One that stands in the base as it is, too.
    damage(rig, 4)
    assert rig.update(field.folder / BOTH).rest is Rest.IDLE
    assert rig.last().event is Event.COMMITTED
    assert rig.slot_image("b") == field.image_sha256(SEQUENCE)
    counts = traffic(rig)
    assert counts.full == 1
    assert counts.delta == 13


def test_base_that_changed_ends_an_installation_from_deltas_only_and_a_whole_stick_completes_it(field: Field) -> None:
    make_sticks(field)
    rig = field.rig
    damage(rig, 4)
    with pytest.raises(BaseChangedError):
        rig.insert(field.folder / DELTA_ONLY)
    rig.remove()
    assert rig.last().event is Event.INTERRUPTED
    assert rig.status()["booted"] == "a"
    assert rig.update(field.folder / BOTH).rest is Rest.IDLE
    assert rig.last().event is Event.COMMITTED
    assert rig.slot_image("b") == field.image_sha256(SEQUENCE)


def test_device_that_runs_another_release_takes_the_whole_and_refuses_deltas_only(field: Field) -> None:
    make_sticks(field, base=OFFERED)
    rig = field.rig
    before = rig.picture()
    assert isinstance(rig.error_of(field.folder / DELTA_ONLY), DeltaOnlyError)
    assert rig.picture() == before
    assert rig.last().event is Event.REFUSED
    assert rig.update(field.folder / BOTH).rest is Rest.IDLE
    assert traffic(rig).delta == 0
    assert rig.slot_image("b") == field.image_sha256(SEQUENCE)


def test_device_that_does_not_know_its_image_finds_out_by_looking(field: Field) -> None:
    # Of the other base hardly a chunk is its own.
    other = field.image(OFFERED, chunks=CHUNKS + 1)
    field.release(SEQUENCE, bases={ROOTFS: (other, field.image(RUNNING))})
    field.stick(BOTH)
    rig = field.rig
    record = rig.record()
    unknown = replace(record.committed, images={})
    rig.save_record(replace(record, committed=unknown, whole={unknown.slot: unknown}))
    assert rig.update(field.folder / BOTH).rest is Rest.IDLE
    assert (traffic(rig).full, traffic(rig).delta) == (0, 14)
    assert rig.slot_image("b") == field.image_sha256(SEQUENCE)


def test_of_several_bases_the_right_one_is_used(field: Field) -> None:
    field.release(SEQUENCE, bases={ROOTFS: (field.image(OFFERED), field.image(RUNNING), field.image(RUNNING))})
    (artifact,) = bundle.chosen(field.office)[0].manifest.artifacts
    assert len(artifact.deltas) == 2
    rig = field.rig
    rig.update(field.stick(BOTH))
    assert (traffic(rig).full, traffic(rig).delta) == (0, 14)


def test_of_the_base_no_more_is_read_than_a_tenth_above_what_has_changed(field: Field) -> None:
    make_sticks(field)
    running = field.image(RUNNING).read_bytes()
    read = 0

    class Counting:
        def read_at(self, offset: int, size: int) -> bytes:
            nonlocal read
            read += size
            return running[offset : offset + size]

    (bundled,) = (each for each in bundle.chosen(field.office) if each.manifest.sequence == SEQUENCE)
    medium = DirectoryMedium(field.folder / DELTA_ONLY)
    ((artifact, supply),) = open_supplies(bundled.manifest, medium, {ROOTFS: Base(the_delta(field), Counting())})
    changed = {record.number for record in read_delta_index(artifact, the_delta(field), medium)}
    of_changed = of_others = 0
    for chunk in supply.index:
        if chunk.is_zero:
            continue
        before = read
        assert supply.chunk(chunk).way is Way.DELTA
        if chunk.number in changed:
            of_changed += read - before
        else:
            of_others += read - before
            assert read - before == chunk.size
    assert 0 < of_changed <= 1.1 * CHUNK * len(changed)
    assert of_others > 0


def test_the_image_itself_is_no_base(field: Field) -> None:
    field.release(SEQUENCE, bases={ROOTFS: (field.image(SEQUENCE),)})
    assert the_artifact(field).deltas == ()
    with pytest.raises(NoDeltasError):
        write_delta_only(field)


def test_a_base_of_no_whole_number_of_blocks_makes_a_delta_that_devices_accept(field: Field) -> None:
    odd = field.folder.with_name("odd.img")
    tail = random.Random(5).randbytes(1000)  # noqa: S311 - contents for tests, the same each time
    odd.write_bytes(field.image(RUNNING).read_bytes() + tail)
    image = field.folder.with_name("next.img")
    # What stands at the base's very end has moved: it must not be looked for there.
    image.write_bytes(field.image(SEQUENCE).read_bytes()[: -len(tail)] + tail)
    field.release(SEQUENCE, images={ROOTFS: image}, bases={ROOTFS: (odd,)})
    mount = field.stick(BOTH)
    inspection.inspect(inspection.opened(mount), None, field.now)
    assert field.rig.update(mount).rest is Rest.IDLE


def zeros_elsewhere(image: bytes) -> bytes:
    """Return an image that differs only where this one has a chunk of zeros."""
    assert not any(image[3 * CHUNK : 4 * CHUNK])
    return image[: 3 * CHUNK] + b"!" * CHUNK + image[4 * CHUNK :]


@pytest.mark.parametrize("changed", [lambda image: image + b"more" * 5000, zeros_elsewhere], ids=["longer", "zeros elsewhere"])
def test_a_base_that_has_every_chunk_in_its_place_makes_a_delta_that_devices_use(
    field: Field, changed: Callable[[bytes], bytes]
) -> None:
    image = field.image(RUNNING)
    base = field.folder.with_name("base.img")
    base.write_bytes(changed(image.read_bytes()))
    field.release(SEQUENCE, images={ROOTFS: image}, bases={ROOTFS: (base,)})
    assert the_delta(field).index.size == RECORD_SIZE
    write_delta_only(field)
    rig = field.device("gw-2", images={ROOTFS: base})
    assert rig.update(field.folder / DELTA_ONLY).rest is Rest.IDLE
    assert (traffic(rig).full, traffic(rig).delta) == (0, 14)


def test_an_image_of_zeros_needs_no_delta(field: Field) -> None:
    zeros = field.folder.with_name("zeros.img")
    zeros.write_bytes(bytes(4 * CHUNK))
    field.release(SEQUENCE, images={ROOTFS: zeros}, bases={ROOTFS: (field.image(RUNNING),)})
    assert the_artifact(field).deltas == ()
    assert field.rig.update(field.stick(BOTH)).rest is Rest.IDLE


def test_a_base_for_a_class_that_the_bundle_lacks_is_refused(field: Field) -> None:
    with pytest.raises(UnusableValueError):
        field.release(SEQUENCE, bases={APP: (field.image(RUNNING),)})


@pytest.mark.parametrize("part", ["index", "pack"])
def test_a_delta_that_is_not_what_was_signed_changes_nothing(field: Field, part: str) -> None:
    make_sticks(field)
    delta = the_delta(field)
    blob = delta.index if part == "index" else delta.packs[0]
    path = field.folder / BOTH / "usbupdate/payload" / blob.sha256[:2] / blob.sha256
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    rig = field.rig
    before = rig.picture()
    assert isinstance(rig.error_of(field.folder / BOTH), FileDigestError if part == "index" else StoredBytesDifferError)
    assert rig.picture() == before
    with pytest.raises(FileDigestError if part == "index" else StoredBytesDifferError):
        inspection.inspect(inspection.opened(field.folder / BOTH), None, field.now)


def test_a_stick_that_lost_some_of_its_packs_is_rejected_and_not_taken_for_deltas_only(field: Field) -> None:
    image = field.image(SEQUENCE)
    order_base = {ROOTFS: (field.image(OFFERED),)}
    field.release(SEQUENCE, bases=order_base, images={ROOTFS: image, APP: field.image(RUNNING)})
    mount = field.stick(BOTH)
    artifact = next(each for each in bundle.chosen(field.office)[0].manifest.artifacts if each.slot_class == APP)
    (pack,) = artifact.packs
    (mount / "usbupdate/payload" / pack.sha256[:2] / pack.sha256).unlink()
    with pytest.raises(MediumFileMissingError):
        inspection.inspect(inspection.opened(mount), None, field.now)


def test_deltas_are_the_same_however_many_threads_make_them(field: Field) -> None:
    make_sticks(field)
    first = the_delta(field)
    twin = field.copy(field.folder.with_name("twin"))
    twin.release(SEQUENCE + 1, images={ROOTFS: twin.image(SEQUENCE)}, bases={ROOTFS: (twin.image(RUNNING),)})
    assert the_delta(twin) == first
