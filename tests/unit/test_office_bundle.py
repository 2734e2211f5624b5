from __future__ import annotations

from pathlib import Path

import pytest

from tests.office import NOW, Bench, open_bench
from usbupdate.errors import (
    InputError,
    NoSuchBundleError,
    OfficeFileError,
    SequenceJumpError,
    SequenceTakenError,
    UnusableFileError,
)
from usbupdate.packager import bundle


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return open_bench(tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_listed_with_what_it_is_for(bench: Bench) -> None:
    bench.release(7, devices=("gw-0001",), groups=("pilot",), notes="It is better.\n", from_sequence_min=3)
    (found,) = bundle.listed(bench.office)
    assert found.published
    assert (found.manifest.sequence, found.manifest.devices, found.manifest.groups) == (7, ("gw-0001",), ("pilot",))
    assert found.manifest.notes == "It is better.\n"
    assert found.manifest.created == "2026-11-23T12:00:00Z"


def test_a_bundle_has_an_image_for_each_slot_class(bench: Bench) -> None:
    offer = bench.release(1, images={"rootfs": bench.image(1), "app": bench.image(2)})
    assert [each.slot_class for each in offer.bundle.manifest.artifacts] == ["rootfs", "app"]


def test_a_sequence_belongs_to_one_bundle_for_the_same_hardware(bench: Bench) -> None:
    bench.release(1, compatible=("acme,gw-100", "acme,gw-200"))
    before = tree(bench.office.path)
    for name, compatible in (("other", ("acme,gw-200",)), ("gw", ("acme,pump",))):
        with pytest.raises(SequenceTakenError):
            bench.release(1, name, compatible=compatible)
    assert tree(bench.office.path) == before
    bench.release(1, "pump", compatible=("acme,pump",))


def test_the_sequence_of_a_withdrawn_bundle_stays_taken(bench: Bench) -> None:
    bench.release(1)
    bundle.withdraw(bench.office, "gw", None, NOW)
    assert bundle.listed(bench.office) == ()
    with pytest.raises(SequenceTakenError):
        bench.release(1)


def test_a_jump_is_asked_about_and_a_first_number_is_not(bench: Bench) -> None:
    bench.release(20_261_123)
    with pytest.raises(SequenceJumpError):
        bench.release(20_262_124)
    bench.release(20_262_123)
    bench.release(30_000_000, jump_is_meant=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Gateway"},
        {"name": "allow-gw"},
        {"name": "../gw"},
        {"version": "one two"},
        {"sequence": 0},
        {"sequence": 2**53},
        {"compatible": ()},
        {"compatible": ("a b",)},
        {"compatible": ("a", "a")},
        {"devices": ("GW",)},
        {"from_sequence_min": 9},
        {"notes": "x" * 20_001},
        {"notes": "\x1b[2J"},
        {"images": {"Root FS": Path("/nowhere")}},
        {"images": {}},
        {"images": {"rootfs": Path("/nowhere")}},
        {"sbom": Path("/nowhere")},
    ],
    ids=str,
)
def test_an_order_that_no_device_could_read_is_refused_and_changes_nothing(bench: Bench, wrong: dict[str, object]) -> None:
    before = tree(bench.office.path)
    with pytest.raises(InputError):
        bench.release(**{"sequence": 5, **wrong})  # type: ignore[arg-type] # fields by name
    assert tree(bench.office.path) == before


def test_an_unreadable_image_names_the_file(bench: Bench) -> None:
    with pytest.raises(UnusableFileError, match="nowhere"):
        bench.release(1, images={"rootfs": Path("/nowhere")})


def test_what_is_not_offered_cannot_be_withdrawn(bench: Bench) -> None:
    bench.release(1)
    with pytest.raises(NoSuchBundleError):
        bundle.withdraw(bench.office, "gw", 2, NOW)
    with pytest.raises(NoSuchBundleError):
        bundle.withdraw(bench.office, "pump", None, NOW)


def test_a_stick_takes_the_newest_of_each_name_or_what_is_named(bench: Bench) -> None:
    for sequence in (1, 2, 10):
        bench.release(sequence)
    bench.release(3, "pump", compatible=("acme,pump",))

    def targets(*names: str) -> list[str]:
        return [each.target for each in bundle.chosen(bench.office, names)]

    assert targets() == ["gw-10.json", "pump-3.json"]
    assert targets("gw") == ["gw-10.json"]
    assert targets("gw-2", "gw") == ["gw-2.json", "gw-10.json"]
    with pytest.raises(NoSuchBundleError):
        targets("gw-3")


def test_a_damaged_manifest_of_the_repository_is_named(bench: Bench) -> None:
    bench.release(1)
    (manifest,) = bench.office.manifests.iterdir()
    manifest.write_bytes(manifest.read_bytes().replace(b"1.1", b"1.2"))
    with pytest.raises(OfficeFileError):
        bundle.listed(bench.office)
