"""Sticks that hold what this device must not install."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refdevice.machine import Stick
from refdevice.stickimage import make_stick
from tests.vm import sticks, testbed
from tests.vm.steps import answer, await_commit, events, nothing_changed, reason, receipts_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from refdevice.guest import Guest


def test_a_stick_for_other_hardware_is_refused(at_rest: Guest, tmp_path: Path) -> None:
    stick = sticks.small_stick(tmp_path / "stick.img", sticks.other_hardware_folder())
    with nothing_changed(at_rest):
        at_rest.machine.plug(Stick(stick))
        assert answer(at_rest).startswith("refused, nothing changed: The bundle another 9.0 is not for this hardware")
    assert at_rest.status()["last_event"] == "refused"
    at_rest.machine.pull()
    receipts = receipts_on(stick)
    assert events(receipts) == ["provisioned", "refused"]
    assert reason(receipts[1]) == "wrong-compatible"


def _spoil_pack(folder: Path) -> None:
    sticks.flip_in_every_page(sticks.pack_in(folder))


def _spoil_index(folder: Path) -> None:
    sticks.flip_one(sticks.index_in(folder))


def _spoil_manifest(folder: Path) -> None:
    sticks.flip_one(next(folder.glob("usbupdate/targets/*.json")))


def _spoil_targets(folder: Path) -> None:
    sticks.flip_one(folder / "usbupdate/metadata/2.targets.json")


def _spoil_timestamp(folder: Path) -> None:
    """Say that the metadata is newer than it is, without a key."""
    path = folder / "usbupdate/metadata/timestamp.json"
    signed = path.read_bytes()
    spoilt = signed.replace(b'"version":2', b'"version":9').replace(b'"version": 2', b'"version": 9')
    assert spoilt != signed
    path.write_bytes(spoilt)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_spoil_pack, id="pack", marks=pytest.mark.smoke),
        pytest.param(_spoil_index, id="index"),
        pytest.param(_spoil_manifest, id="manifest"),
        pytest.param(_spoil_targets, id="targets"),
        pytest.param(_spoil_timestamp, id="timestamp"),
    ],
)
def test_a_tampered_stick_is_rejected(at_rest: Guest, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = sticks.copy_of(testbed.stick_folder(testbed.next_release()), tmp_path / "folder")
    spoil(folder)
    make_stick(tmp_path / "stick.img", folder, size=testbed.STICK_SIZE)
    with nothing_changed(at_rest):
        at_rest.machine.plug(Stick(tmp_path / "stick.img"))
        assert "Do not use this stick" in (said := answer(at_rest))
        assert said.startswith("refused, nothing changed: ")
    status = at_rest.status()
    assert (status["state"], status["last_event"], status["receipts"]) == ("idle", "rejected", 2)
    at_rest.machine.pull()
    assert events(receipts_on(tmp_path / "stick.img")) == ["provisioned", "rejected"]


def test_a_stick_with_unreadable_sectors_changes_nothing_and_another_one_updates(
    at_rest: Guest, stick: Path, tmp_path: Path
) -> None:
    pack = sticks.pack_in(testbed.stick_folder(testbed.next_release()))
    # One in each 4 KiB, so that some lie in what the device lacks.
    broken = sticks.sectors_of(stick, pack, every=8)
    with nothing_changed(at_rest):
        at_rest.machine.plug(Stick(stick, broken_sectors=broken))
        assert "could not be read from the stick" in (said := answer(at_rest))
        assert said.startswith("refused, nothing changed: ")
    at_rest.machine.pull()
    # What was read in vain proves nothing about the release.
    receipts = receipts_on(stick)
    assert events(receipts) == ["provisioned", "refused"]
    assert reason(receipts[1]) == "medium-unreadable"

    other = testbed.stick_image(tmp_path / "other.img", testbed.next_release())
    at_rest.machine.plug(Stick(other, serial="0002"))
    assert await_commit(at_rest) == "done, remove"
    at_rest.machine.pull()
    assert events(receipts_on(other)) == ["provisioned", "refused", "committed"]
