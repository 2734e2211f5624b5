"""Which of the genuine bundles a device takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from usbupdate.core.manifest import Artifact, Blob, Kind, Manifest
from usbupdate.core.policy import Insertion, Offer, Recipient, choose, may_try
from usbupdate.core.receipt import OUTCOMES, Event
from usbupdate.core.record import BundleOutcome, DeviceRecord, Installed, KnownRoot
from usbupdate.core.words import BundleName, DeviceId, Digest, Slot, SlotClass
from usbupdate.errors import (
    OlderSequenceError,
    OtherDevicesError,
    SteppingStoneError,
    TriedBeforeError,
    WrongCompatibleError,
)

ROOTFS = SlotClass("rootfs")
WHO = Recipient(DeviceId("gw-7"), frozenset({"north"}), "acme,gw")


def image(number: int) -> Blob:
    return Blob(Digest(f"{number:064x}"), 10)


def running(sequence: int) -> DeviceRecord:
    committed = Installed(Slot.A, "1", sequence, {ROOTFS: image(sequence)})
    return DeviceRecord(committed, {Slot.A: committed}, sequence, KnownRoot(1, Digest("0" * 64)))


def offer(sequence: int, *, compatible: str = "acme,gw", from_min: int = 0, devices: str = "", groups: str = "") -> Offer:
    artifact = Artifact(ROOTFS, image(sequence), 1 << 18, Blob(Digest("1" * 64), 1), ())
    manifest = Manifest(
        BundleName("gw"), f"1.{sequence}", sequence, (compatible,), Kind.FEATURE, "2026-01-01T00:00:00Z", (artifact,),
        from_sequence_min=from_min, devices=tuple(devices.split()), groups=tuple(groups.split()),
    )  # fmt: skip
    return Offer(manifest, Digest(f"{sequence + 1000:064x}"))


def tried(record: DeviceRecord, what: Offer, event: Event, **more: int) -> DeviceRecord:
    outcome = BundleOutcome(event, attempts=1, by_restart=bool(more.get("by_restart")), retakes=more.get("retakes", 0))
    return replace(record, outcomes={what.manifest_sha256: outcome})


def test_the_highest_sequence_that_suits_is_taken() -> None:
    offers = [offer(2), offer(4, compatible="acme,other"), offer(3)]
    assert choose(offers, WHO, running(1), Insertion.NEW) == offers[2]


def test_stepping_stones_are_taken_one_after_the_other() -> None:
    first, second = offer(2), offer(5, from_min=2)
    assert choose([first, second], WHO, running(1), Insertion.NEW) == first
    assert choose([first, second], WHO, running(2), Insertion.FOUND) == second


def test_nothing_is_to_be_done_on_a_stick_without_bundles_or_with_what_runs() -> None:
    assert choose([], WHO, running(3), Insertion.NEW) is None
    assert choose([offer(3)], WHO, running(3), Insertion.NEW) is None
    assert choose([offer(3), offer(2)], WHO, running(3), Insertion.PERSON) is None


def test_a_newer_bundle_that_may_not_be_tried_is_told_even_beside_the_one_that_runs() -> None:
    newer = offer(4)
    with pytest.raises(TriedBeforeError):
        choose([offer(3), newer], WHO, tried(running(3), newer, Event.CHECK_FAILED), Insertion.NEW)


@pytest.mark.parametrize("insertion", list(Insertion))
def test_an_older_sequence_is_refused_whoever_asks(insertion: Insertion) -> None:
    with pytest.raises(OlderSequenceError, match="above 3"):
        choose([offer(2)], WHO, running(3), insertion)


def test_the_same_sequence_with_another_image_is_refused() -> None:
    other = offer(3)
    forged = replace(other.manifest, artifacts=(replace(other.manifest.artifacts[0], image=image(99)),))
    with pytest.raises(OlderSequenceError):
        choose([replace(other, manifest=forged)], WHO, running(3), Insertion.PERSON)


def test_after_falling_back_the_release_at_the_floor_may_be_installed_again() -> None:
    fallen = replace(running(2), floor=3)
    again = offer(3)
    assert choose([again], WHO, tried(fallen, again, Event.COMMITTED), Insertion.NEW) == again
    with pytest.raises(OlderSequenceError, match="above 2"):
        choose([offer(2)], WHO, replace(fallen, committed=running(1).committed), Insertion.NEW)


@pytest.mark.parametrize("insertion", list(Insertion))
def test_a_bundle_for_other_hardware_is_refused(insertion: Insertion) -> None:
    with pytest.raises(WrongCompatibleError):
        choose([offer(9, compatible="acme,gw-100")], WHO, running(1), insertion)


def test_devices_and_groups_open_a_bundle_to_those_that_are_named() -> None:
    for open_to_us in (offer(2, devices="gw-6 gw-7"), offer(2, groups="south north"), offer(2, devices="gw-6", groups="north")):
        assert choose([open_to_us], WHO, running(1), Insertion.NEW) == open_to_us
    for closed in (offer(2, devices="gw-70"), offer(2, groups="nort"), offer(2, devices="north"), offer(2, groups="gw-7")):
        with pytest.raises(OtherDevicesError):
            choose([closed], WHO, running(1), Insertion.PERSON)


def test_a_stepping_stone_cannot_be_jumped_over() -> None:
    with pytest.raises(SteppingStoneError):
        choose([offer(5, from_min=3)], WHO, running(2), Insertion.PERSON)


def test_the_refusal_of_the_bundle_that_came_closest_is_told() -> None:
    with pytest.raises(OlderSequenceError):
        choose([offer(9, compatible="other"), offer(1), offer(8, devices="gw-1")], WHO, running(3), Insertion.NEW)


@pytest.mark.parametrize("event", sorted(OUTCOMES))
def test_retry_rules(event: Event) -> None:
    outcome = BundleOutcome(event, attempts=2)
    assert may_try(outcome, Insertion.PERSON)
    assert may_try(outcome, Insertion.NEW) == (event not in {Event.FAILED, Event.CHECK_FAILED})
    assert not may_try(outcome, Insertion.FOUND), "never again while the same stick merely stays in"


@pytest.mark.parametrize(("retakes", "allowed"), [(0, True), (2, True), (3, False)])
def test_an_install_cut_by_a_restart_is_taken_up_at_most_three_times_without_progress(retakes: int, *, allowed: bool) -> None:
    outcome = BundleOutcome(Event.INTERRUPTED, attempts=5, by_restart=True, retakes=retakes)
    assert may_try(outcome, Insertion.FOUND) is allowed
    assert may_try(outcome, Insertion.NEW)
