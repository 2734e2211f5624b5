"""Who may acknowledge receipts, what the office acknowledges, and how that gets onto sticks."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.office import Bench, open_bench
from tests.receipts import chain, device
from usbupdate.core import acknowledgements, checkpoint, cosignature, merkle
from usbupdate.core.acknowledgements import Received
from usbupdate.core.acknowledgers import ACKNOWLEDGERS_MAX
from usbupdate.core.layout import ACKNOWLEDGEMENTS
from usbupdate.core.words import DeviceId
from usbupdate.errors import (
    AcknowledgerTakenError,
    KeyUnusableError,
    NoSuchAcknowledgerError,
    NotAcknowledgerError,
    OfficeFileError,
    UnusableValueError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import acknowledgers, acknowledging, keys, office as offices, sessions, upkeep
from usbupdate.packager.inspection import inspect
from usbupdate.packager.keys import Algorithm
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands

if TYPE_CHECKING:
    from pathlib import Path

GW = DeviceId("gw-0001")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return open_bench(tmp_path)


def received(count: int, name: str = "gw-0001", key: str = "", *, text: str = "") -> Received:
    identity, signer = device(name, key)
    leaves = tuple(map(merkle.leaf_hash, chain(count, name, key, text=text)))
    return Received(identity, checkpoint.sign(identity, count, merkle.root(leaves), signer), leaves)


def named(bench: Bench, name: str = "audit") -> str:
    """Make a key, have it named, and return it."""
    key = bench.key(name)
    assert acknowledgers.name(bench.office, f"{key}.pub", None, bench.now).missing == ()
    return key


def acknowledge(bench: Bench, key: str, *heads: Received) -> acknowledging.Done:
    return acknowledging.acknowledge(bench.office, heads, key, bench.now)


def note_on(mount: Path, name: DeviceId = GW) -> bytes | None:
    return acknowledgements.find(DirectoryMedium(mount), name)


def test_a_named_key_is_called_as_its_file_and_listed(bench: Bench) -> None:
    named(bench)
    (found,) = acknowledgers.listed(bench.office)
    assert (found.cosigner.name, found.published, found.leaving) == ("audit", True, False)
    change = acknowledgers.name(bench.office, bench.key("other"), "office.example/second", bench.now)
    assert [each.cosigner.name for each in change.acknowledgers] == ["office.example/second"]
    assert [each.cosigner.name for each in acknowledgers.listed(bench.office)] == ["audit", "office.example/second"]


def test_the_rest_of_the_list_stays_when_somebody_is_named_and_dropped(bench: Bench) -> None:
    bench.release(2)
    before = bench.office.metadata.targets()
    named(bench)
    bench.release(3)
    during = bench.office.metadata.targets()
    acknowledgers.drop(bench.office, "audit", bench.now)
    after = bench.office.metadata.targets()
    assert before
    assert during
    assert after
    assert (len(before.signed.targets), len(during.signed.targets), len(after.signed.targets)) == (1, 2, 2)
    assert during.signed.unrecognized_fields
    assert not after.signed.unrecognized_fields
    assert acknowledgers.listed(bench.office) == ()
    with pytest.raises(NoSuchAcknowledgerError):
        acknowledgers.drop(bench.office, "audit", bench.now)


def test_a_renewed_list_names_the_same_people(bench: Bench) -> None:
    named(bench)
    before = acknowledgers.published(bench.office)
    upkeep.renew_targets(bench.office, bench.now)
    assert acknowledgers.published(bench.office) == before != ()


def test_a_name_or_key_is_named_once(bench: Bench) -> None:
    key = named(bench)
    for reference, name in ((key, "somebody-else"), (bench.key("other"), "audit")):
        with pytest.raises(AcknowledgerTakenError):
            acknowledgers.name(bench.office, reference, name, bench.now)
    assert len(acknowledgers.listed(bench.office)) == 1


@pytest.mark.parametrize("name", ["", "Audit", "a b", "a+b", "x" * 64, "/office"])
def test_a_name_that_no_note_could_bear_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(UnusableValueError):
        acknowledgers.name(bench.office, bench.key("audit"), name, bench.now)


def test_only_ed25519_keys_acknowledge(bench: Bench) -> None:
    path = bench.folder / "curve.pem"
    keys.create(path, algorithm=Algorithm.P256)
    with pytest.raises(KeyUnusableError, match="Ed25519"):
        acknowledgers.name(bench.office, str(path), None, bench.now)


def test_more_than_devices_read_are_not_named(bench: Bench) -> None:
    for number in range(ACKNOWLEDGERS_MAX):
        named(bench, f"audit-{number}")
    with pytest.raises(UnusableValueError):
        named(bench, "one-more")


def test_whoever_signs_sees_the_key_and_it_counts_only_then(bench: Bench) -> None:
    first, second = bench.key("first"), bench.key("second")
    bench.office, _ = offices.rotate(
        bench.office, bench.now, Hands({Role.TARGETS: (f"{first}.pub", f"{second}.pub")}, {Role.TARGETS: 2})
    )
    sessions.sign(bench.office, bench.now, extra=(first,))
    sessions.sign(bench.office, bench.now, extra=(second,))
    change = acknowledgers.name(bench.office, bench.key("audit"), None, bench.now)
    assert [each.role for each in change.missing] == [Role.TARGETS]
    assert [(each.published, each.leaving) for each in acknowledgers.listed(bench.office)] == [(False, False)]
    keyid = keys.show(f"{bench.key('audit')}.pub", keys.no_passphrase).id
    assert any(f"+ acknowledger audit, key id {keyid}" in each.text for each in sessions.changes(bench.office))
    with pytest.raises(NotAcknowledgerError):
        acknowledge(bench, bench.key("audit"), received(1))
    for key in (first, second):
        sessions.sign(bench.office, bench.now, extra=(key,))
    acknowledge(bench, bench.key("audit"), received(1))
    acknowledgers.drop(bench.office, "audit", bench.now)
    assert [(each.published, each.leaving) for each in acknowledgers.listed(bench.office)] == [(True, True)]
    assert any("- acknowledger audit" in each.text for each in sessions.changes(bench.office))


def test_what_is_acknowledged_is_cosigned_by_the_named_key_and_kept(bench: Bench) -> None:
    key = named(bench)
    done = acknowledge(bench, key, received(3), received(2, "gw-0002"))
    assert (done.counts, done.fresh, done.refused) == ({GW: 3, "gw-0002": 2}, (GW, "gw-0002"), {})
    note = acknowledging.load(bench.office)[GW]
    found = cosignature.open_note(note, acknowledgers.published(bench.office))
    assert (found.checkpoint.size, found.since) == (3, int(bench.now.timestamp()))


def test_acknowledging_the_same_again_changes_nothing(bench: Bench) -> None:
    key = named(bench)
    acknowledge(bench, key, received(3))
    path = bench.office.path / acknowledging.FILE
    before = (path.read_bytes(), path.stat().st_ino)
    bench.now = bench.now.replace(year=bench.now.year + 1)
    assert acknowledge(bench, key, received(3)).fresh == ()
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_an_acknowledgement_only_grows(bench: Bench) -> None:
    key = named(bench)
    acknowledge(bench, key, received(3))
    assert acknowledge(bench, key, received(5)).counts == {GW: 5}
    kept = acknowledging.load(bench.office)
    done = acknowledge(bench, key, received(4))
    assert (done.counts, done.refused) == ({GW: 5}, {GW: "5 receipts were acknowledged before, and 4 are at hand"})
    assert acknowledging.load(bench.office) == kept


@pytest.mark.parametrize("count", [3, 4])
def test_another_history_than_was_acknowledged_is_refused_and_the_others_go_on(bench: Bench, count: int) -> None:
    key = named(bench)
    acknowledge(bench, key, received(3))
    kept = acknowledging.load(bench.office)
    done = acknowledge(bench, key, received(count, text="another history"), received(1, "gw-0002"))
    assert list(done.refused) == [GW]
    assert "others than were acknowledged before" in done.refused[GW]
    after = acknowledging.load(bench.office)
    assert (after[GW], sorted(after)) == (kept[GW], ["gw-0001", "gw-0002"])


def test_receipts_that_are_not_those_of_the_checkpoint_are_not_acknowledged(bench: Bench) -> None:
    head = received(3)
    done = acknowledge(bench, named(bench), replace(head, leaves=head.leaves[:2]))
    assert (done.counts, list(done.refused)) == ({}, [GW])
    assert not (bench.office.path / acknowledging.FILE).exists()


def test_a_device_that_was_provisioned_anew_begins_anew(bench: Bench) -> None:
    key = named(bench)
    acknowledge(bench, key, received(3))
    assert acknowledge(bench, key, received(1, key="another key")).counts == {GW: 1}


def test_a_second_key_cosigns_beside_the_first_and_one_that_was_dropped_leaves(bench: Bench) -> None:
    first, second = named(bench, "first"), named(bench, "second")
    acknowledge(bench, first, received(3))
    acknowledge(bench, second, received(3))
    people = acknowledgers.published(bench.office)
    assert len(cosignature.open_note(acknowledging.load(bench.office)[GW], people).by) == 2
    acknowledgers.drop(bench.office, "first", bench.now)
    acknowledge(bench, second, received(3))
    assert [each.name for each in cosignature.open_note(acknowledging.load(bench.office)[GW], people).by] == ["second"]


def test_a_key_that_is_not_named_or_public_only_acknowledges_nothing(bench: Bench) -> None:
    key = named(bench)
    with pytest.raises(NotAcknowledgerError):
        acknowledge(bench, bench.key("other"), received(1))
    with pytest.raises(KeyUnusableError, match="only a private one signs"):
        acknowledge(bench, f"{key}.pub", received(1))
    assert acknowledging.load(bench.office) == {}


def test_a_damaged_file_of_acknowledgements_is_named_and_not_written_over(bench: Bench) -> None:
    key = named(bench)
    path = bench.office.path / acknowledging.FILE
    path.write_bytes(b"{}\n")
    for step in (lambda: acknowledge(bench, key, received(1)), bench.stick):
        with pytest.raises(OfficeFileError, match="acknowledgements"):
            step()
    assert path.read_bytes() == b"{}\n"


def test_sticks_bring_what_was_acknowledged_and_an_older_one_is_brought_up_to_it(bench: Bench) -> None:
    bench.release(2)
    mount = bench.stick()
    assert not mount.joinpath(*ACKNOWLEDGEMENTS).exists()
    key = named(bench)
    for count in (2, 3):
        acknowledge(bench, key, received(count))
        assert bench.write(mount).acknowledged == (GW,)
        note = note_on(mount)
        assert note is not None
        assert cosignature.peek_unproven(note).size == count
    os.unlink(bench.office.path / acknowledging.FILE)  # noqa: PTH108 - what somebody may do by hand
    bench.write(mount)
    assert not mount.joinpath(*ACKNOWLEDGEMENTS).exists()


def test_inspecting_a_stick_tells_of_acknowledgements_and_of_such_as_devices_cannot_read(bench: Bench) -> None:
    acknowledge(bench, named(bench), received(1))
    mount = bench.stick()
    found = inspect(DirectoryMedium(mount), None, bench.now).stick
    assert (found.acknowledged, found.acknowledgements_problem) == ((GW,), "")
    mount.joinpath(*ACKNOWLEDGEMENTS).write_bytes(b"x\n")
    found = inspect(DirectoryMedium(mount), None, bench.now).stick
    assert found.acknowledged == ()
    assert "acknowledgements" in found.acknowledgements_problem
