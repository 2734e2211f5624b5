"""Which of the genuine bundles a device takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.matrix import By, On, attack
from usbupdate.core.authorisation import Authorisation
from usbupdate.core.manifest import Artifact, Blob, Kind, Manifest
from usbupdate.core.policy import Insertion, Offer, Recipient, choose, may_try, with_authorisations
from usbupdate.core.receipt import OUTCOMES, Event
from usbupdate.core.record import BundleOutcome, DeviceRecord, Installed, KnownRoot
from usbupdate.core.words import BundleName, DeviceId, Digest, Slot, SlotClass
from usbupdate.errors import (
    AuthorisationEndedError,
    AuthorisationError,
    AuthorisationFloorError,
    AuthorisationKeyError,
    AuthorisationUsedError,
    OlderSequenceError,
    OtherDevicesError,
    RefusedError,
    SteppingStoneError,
    TriedBeforeError,
    WrongCompatibleError,
)

ROOTFS = SlotClass("rootfs")
WHO = Recipient(DeviceId("gw-7"), frozenset({"north"}), "acme,gw", Digest("f" * 64))
NOW = "2026-06-01T00:00:00Z"


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


def allowed(what: Offer, number: int = 1, floor: int = 3, **changes: str) -> Authorisation:
    fields = {"device": WHO.id, "fingerprint": WHO.fingerprint, "expires": "2026-06-30T00:00:00Z", **changes}
    return Authorisation(
        DeviceId(fields["device"]), Digest(fields["fingerprint"]), number, what.manifest_sha256, floor, "T-1", fields["expires"]
    )


def chosen(
    offers: list[Offer], orders: list[Authorisation], record: DeviceRecord, insertion: Insertion = Insertion.NEW, now: str = NOW
) -> Offer | None:
    return choose(with_authorisations(offers, orders), WHO, record, insertion, now)


def tried(record: DeviceRecord, what: Offer, event: Event, **more: int) -> DeviceRecord:
    outcome = BundleOutcome(event, attempts=1, by_restart=bool(more.get("by_restart")), retakes=more.get("retakes", 0))
    return replace(record, outcomes={what.manifest_sha256: outcome})


def test_the_highest_sequence_that_suits_is_taken() -> None:
    offers = [offer(2), offer(4, compatible="acme,other"), offer(3)]
    assert choose(offers, WHO, running(1), Insertion.NEW, NOW) == offers[2]


def test_of_two_with_the_same_sequence_the_first_is_taken() -> None:
    first, second = offer(2), replace(offer(2), manifest_sha256=Digest("9" * 64))
    for offers in ([first, second], [second, first]):
        assert choose(offers, WHO, running(1), Insertion.NEW, NOW) == offers[0]


def test_stepping_stones_are_taken_one_after_the_other() -> None:
    first, second = offer(2), offer(5, from_min=2)
    assert choose([first, second], WHO, running(1), Insertion.NEW, NOW) == first
    assert choose([first, second], WHO, running(2), Insertion.FOUND, NOW) == second


def test_nothing_is_to_be_done_on_a_stick_without_bundles_or_with_what_runs() -> None:
    assert choose([], WHO, running(3), Insertion.NEW, NOW) is None
    assert choose([offer(3)], WHO, running(3), Insertion.NEW, NOW) is None
    assert choose([offer(3), offer(2)], WHO, running(3), Insertion.PERSON, NOW) is None


def test_what_is_not_for_this_device_is_passed_over_in_silence_beside_what_runs() -> None:
    for other in (offer(9, compatible="acme,other"), offer(9, devices="gw-70"), offer(2)):
        assert choose([offer(3), other], WHO, running(3), Insertion.NEW, NOW) is None


def test_of_two_refusals_that_came_equally_far_the_first_is_told() -> None:
    first, second = offer(2, from_min=2), offer(2, from_min=3)
    for offers, needed in (([first, second], 2), ([second, first], 3)):
        with pytest.raises(SteppingStoneError, match=f"needs sequence {needed} or higher"):
            choose(offers, WHO, running(1), Insertion.NEW, NOW)


def test_a_newer_bundle_that_may_not_be_tried_is_told_even_beside_the_one_that_runs() -> None:
    newer = offer(4)
    with pytest.raises(TriedBeforeError):
        choose([offer(3), newer], WHO, tried(running(3), newer, Event.CHECK_FAILED), Insertion.NEW, NOW)


@pytest.mark.parametrize("insertion", list(Insertion))
def test_an_older_sequence_is_refused_whoever_asks(insertion: Insertion) -> None:
    with pytest.raises(OlderSequenceError, match="above 3"):
        choose([offer(2)], WHO, running(3), insertion, NOW)


def test_the_same_sequence_with_another_image_is_refused() -> None:
    other = offer(3)
    forged = replace(other.manifest, artifacts=(replace(other.manifest.artifacts[0], image=image(99)),))
    with pytest.raises(OlderSequenceError):
        choose([replace(other, manifest=forged)], WHO, running(3), Insertion.PERSON, NOW)


def test_after_falling_back_the_release_at_the_floor_may_be_installed_again() -> None:
    fallen = replace(running(2), floor=3)
    again = offer(3)
    assert choose([again], WHO, tried(fallen, again, Event.COMMITTED), Insertion.NEW, NOW) == again
    with pytest.raises(OlderSequenceError, match="above 2"):
        choose([offer(2)], WHO, replace(fallen, committed=running(1).committed), Insertion.NEW, NOW)


@pytest.mark.parametrize("insertion", list(Insertion))
def test_a_bundle_for_other_hardware_is_refused(insertion: Insertion) -> None:
    with pytest.raises(WrongCompatibleError):
        choose([offer(9, compatible="acme,gw-100")], WHO, running(1), insertion, NOW)


def test_devices_and_groups_open_a_bundle_to_those_that_are_named() -> None:
    for open_to_us in (offer(2, devices="gw-6 gw-7"), offer(2, groups="south north"), offer(2, devices="gw-6", groups="north")):
        assert choose([open_to_us], WHO, running(1), Insertion.NEW, NOW) == open_to_us
    for closed in (offer(2, devices="gw-70"), offer(2, groups="nort"), offer(2, devices="north"), offer(2, groups="gw-7")):
        with pytest.raises(OtherDevicesError):
            choose([closed], WHO, running(1), Insertion.PERSON, NOW)


def test_a_stepping_stone_cannot_be_jumped_over() -> None:
    with pytest.raises(SteppingStoneError):
        choose([offer(5, from_min=3)], WHO, running(2), Insertion.PERSON, NOW)


def test_the_refusal_of_the_bundle_that_came_closest_is_told() -> None:
    with pytest.raises(OlderSequenceError):
        choose([offer(9, compatible="other"), offer(1), offer(8, devices="gw-1")], WHO, running(3), Insertion.NEW, NOW)


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (offer(9, compatible="other"), "The bundle gw 1.9 is not for this hardware (acme,gw)."),
        (offer(9, devices="gw-1"), "The bundle gw 1.9 is for other devices than gw-7."),
        (offer(2), "The bundle gw 1.2 has sequence 2; this device takes only sequences above 3."),
        (offer(9, from_min=5), "The bundle gw 1.9 needs sequence 5 or higher to start from; this device runs 3."),
        (
            offer(8),
            "The bundle gw 1.8 was tried on this device before (tries: 1); the last outcome was: check-failed.",
        ),
    ],
)
def test_a_refusal_names_the_bundle_and_what_is_in_its_way(refused: Offer, sentence: str) -> None:
    with pytest.raises(RefusedError) as caught:
        choose([refused], WHO, tried(running(3), offer(8), Event.CHECK_FAILED), Insertion.NEW, NOW)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (
            allowed(offer(1), 5, device="gw-8"),
            "The authorisation 5 to go back to gw 1.1 is for a device gw-8 that has another key than this one.",
        ),
        (
            allowed(offer(1), 4),
            "The authorisation 4 to go back to gw 1.1 counts no more: this device has used number 4.",
        ),
        (
            allowed(offer(1), 5, expires="2026-02-03T04:05:06Z"),
            "The authorisation 5 to go back to gw 1.1 ended 2026-02-03T04:05:06Z; for this device it is 2026-06-01T00:00:00Z.",
        ),
        (
            allowed(offer(1), 5, floor=2),
            "The authorisation 5 to go back to gw 1.1 is good from sequence 2 down; this device has had 3.",
        ),
    ],
)
def test_an_authorisation_that_does_not_count_says_why(order: Authorisation, sentence: str) -> None:
    with pytest.raises(AuthorisationError) as caught:
        chosen([offer(1)], [order], replace(running(3), downgrade_number=4))
    assert str(caught.value) == sentence


def test_a_bundle_that_was_never_tried_may_be_tried_on_every_occasion() -> None:
    assert all(may_try(None, insertion) for insertion in Insertion)


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


# --- Going back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("insertion", list(Insertion))
def test_a_device_goes_back_to_what_its_authorisation_names(insertion: Insertion) -> None:
    older = offer(1)
    order = allowed(older)
    assert chosen([older, offer(2)], [order], running(3), insertion) == replace(older, authorisation=order)


def test_an_order_comes_before_a_newer_release_and_stays_obeyed_on_its_stick() -> None:
    older, newer = offer(1), offer(9)
    order = allowed(older)
    taken = chosen([older, newer], [order], running(3))
    assert taken is not None
    assert taken.manifest == older.manifest
    back = replace(running(1), downgrade_number=1)
    for insertion in Insertion:
        assert chosen([older, newer], [order], back, insertion) is None, "the stick would undo its own order"
    assert chosen([older, newer], [], back) == newer, "a stick without the order"
    assert chosen([older, newer], [order], back, now="2026-06-30T00:00:00Z") == newer, "an order that has ended"


def test_of_several_orders_the_one_with_the_highest_number_counts() -> None:
    one, two = offer(1), offer(2)
    taken = chosen([one, two], [allowed(one, 5), allowed(two, 4), allowed(one, 3)], running(3))
    assert taken == replace(one, authorisation=allowed(one, 5))
    # One that does not count takes nothing from the others: whoever wants that withdraws them.
    earlier = allowed(one, 3, floor=3)
    assert chosen([one], [earlier, allowed(one, 5, floor=2)], running(3)) == replace(one, authorisation=earlier)
    # Where none counts, the latest one says why.
    with pytest.raises(AuthorisationFloorError, match="authorisation 5"):
        chosen([one], [allowed(one, 3, floor=1), allowed(one, 5, floor=2)], running(3))


def test_a_later_authorisation_that_does_not_count_does_not_hide_one_that_does() -> None:
    older = offer(1)
    counts, ended = allowed(older, 1), allowed(older, 2, expires="2026-05-01T00:00:00Z")
    assert chosen([older, offer(3)], [counts, ended], running(2)) == replace(older, authorisation=counts)


@attack(By.OLD_STICK, On.SLOT, "an authorisation to go back is used again", "its number is used up with the commit")
def test_a_used_authorisation_does_not_count_again() -> None:
    older = offer(1)
    again = replace(running(3), downgrade_number=2)
    for number in (1, 2):
        for insertion in Insertion:
            with pytest.raises(AuthorisationUsedError, match="has used number 2"):
                chosen([older], [allowed(older, number)], again, insertion)
    assert chosen([older], [allowed(older, 3)], again) is not None
    # Beside what runs, or something newer, it is passed over.
    assert chosen([older, offer(3)], [allowed(older, 2)], again) is None
    assert chosen([older, offer(4)], [allowed(older, 2)], again) == offer(4)


@attack(By.OWNER, On.SLOT, "an authorisation for another device of the same id", "it names the key, and an id is no key")
def test_an_authorisation_for_another_key_does_not_count() -> None:
    older = offer(1)
    with pytest.raises(AuthorisationKeyError):
        chosen([older], [allowed(older, fingerprint="e" * 64)], running(3), Insertion.PERSON)
    with pytest.raises(AuthorisationKeyError):
        chosen([older], [allowed(older, device="gw-8")], running(3), Insertion.PERSON)


@attack(By.TECHNICIAN, On.SLOT, "an authorisation beside another old release", "it names the manifest by digest")
def test_an_authorisation_for_another_manifest_lifts_nothing() -> None:
    older = offer(1)
    other = replace(older, manifest_sha256=Digest("9" * 64))
    for insertion in Insertion:
        with pytest.raises(OlderSequenceError):
            chosen([other], [allowed(older)], running(3), insertion)


@attack(By.OLD_STICK, On.SLOT, "an authorisation that has ended", "it counts until its end, by trusted time")
def test_an_authorisation_that_has_ended_does_not_count() -> None:
    older = offer(1)
    assert chosen([older], [allowed(older)], running(3), now="2026-06-29T23:59:59Z") is not None
    with pytest.raises(AuthorisationEndedError):
        chosen([older], [allowed(older)], running(3), Insertion.PERSON, now="2026-06-30T00:00:00Z")


@attack(
    By.OLD_STICK,
    On.SLOT,
    "an unused authorisation from before a later update",
    "it names the highest sequence from which it lets a device go back",
)
def test_an_authorisation_does_not_lift_a_floor_above_the_one_that_it_names() -> None:
    older = offer(1)
    assert chosen([older], [allowed(older, floor=3)], running(2)) is not None, "a lower floor is lifted too"
    with pytest.raises(AuthorisationFloorError):
        chosen([older], [allowed(older, floor=3)], running(4), Insertion.PERSON)
    fallen = replace(running(2), floor=4)
    with pytest.raises(AuthorisationFloorError):
        chosen([older], [allowed(older, floor=3)], fallen, Insertion.PERSON)


def test_an_authorisation_lifts_neither_hardware_nor_devices_nor_tried_before() -> None:
    order = allowed(offer(1))
    with pytest.raises(WrongCompatibleError):
        chosen([offer(1, compatible="other")], [order], running(3), Insertion.PERSON)
    with pytest.raises(OtherDevicesError):
        chosen([offer(1, devices="gw-70")], [order], running(3), Insertion.PERSON)
    failed = tried(running(3), offer(1), Event.CHECK_FAILED)
    with pytest.raises(TriedBeforeError):
        chosen([offer(1), offer(9)], [order], failed)
    assert chosen([offer(1)], [order], failed, Insertion.PERSON) is not None


def test_a_device_that_runs_what_it_is_ordered_to_stays_there() -> None:
    older, newer = offer(1), offer(2)
    assert chosen([older, newer], [allowed(older)], running(1)) is None


def test_an_authorisation_that_does_not_count_leaves_a_newer_release_an_ordinary_one() -> None:
    newer = offer(4)
    taken = chosen([newer], [allowed(newer, floor=5)], replace(running(3), downgrade_number=7))
    assert taken == newer
    assert taken.authorisation is None
