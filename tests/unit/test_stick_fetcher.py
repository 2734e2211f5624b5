"""What the TUF library is given when it asks for metadata: from the stick, or what the device knows better."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from tests.attack.metadata_office import Office, new_key
from tests.inmemory import AskedMedium
from usbupdate.core.layout import MediumPath, metadata_path, shown
from usbupdate.core.rootrules import SIZE_MAX, Document, read_document
from usbupdate.core.stickfetcher import BASE, MetadataOnStick, NewestFetcher, RootFetcher
from usbupdate.errors import ForkedOfficeError, MetadataMissingError, OlderStickError

if TYPE_CHECKING:
    from collections.abc import Mapping

BELOW = (Snapshot.type, Targets.type)


@pytest.fixture
def office() -> Office:
    return Office()


def known(office: Office) -> dict[str, Document]:
    """Return what a device holds that has accepted all that the office has published."""
    versions = {Timestamp.type: None, Snapshot.type: office.snapshot.version, Targets.type: office.targets.version}
    return {role: read_document(role, office.files[metadata_path(role, version)]) for role, version in versions.items()}


def fetcher(
    office: Office,
    stored: Mapping[str, Document],
    older: tuple[Root, ...] = (),
    files: Mapping[MediumPath, bytes] | None = None,
) -> NewestFetcher:
    stick = MetadataOnStick(AskedMedium(office.files if files is None else files))
    return NewestFetcher(stick, office.root, lambda: iter(older), stored)


def given(who: RootFetcher | NewestFetcher, name: str) -> bytes:
    return b"".join(who.fetch(f"{BASE}{name}"))


def has_nothing(who: RootFetcher | NewestFetcher, name: str) -> None:
    with pytest.raises(DownloadHTTPError) as caught:
        given(who, name)
    assert caught.value.status_code == 404


def refusal(who: NewestFetcher, name: str) -> BaseException | None:
    """Return what the library's error hands on."""
    with pytest.raises(DownloadError) as caught:
        given(who, name)
    return caught.value.__cause__


# --- The stick -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Root.type, Timestamp.type, *BELOW])
def test_a_document_is_read_under_its_name_and_no_larger_than_its_role_may_be(role: str, office: Office) -> None:
    stick = AskedMedium(office.files)
    version = None if role == Timestamp.type else 1
    found = MetadataOnStick(stick).find(role, version)
    assert found is not None
    assert found.raw == office.files[metadata_path(role, version)]
    assert stick.asked == [(shown(metadata_path(role, version)), SIZE_MAX[role])]
    assert MetadataOnStick(stick).get(role, version).raw == found.raw


def test_a_document_that_is_not_there_is_none_or_named(office: Office) -> None:
    stick = MetadataOnStick(AskedMedium(office.files))
    assert stick.find(Targets.type, 9) is None
    with pytest.raises(MetadataMissingError) as caught:
        stick.get(Targets.type, 9)
    assert (caught.value.role, caught.value.name) == (Targets.type, "usbupdate/metadata/9.targets.json")


# --- Roots only ------------------------------------------------------------------------------------------------------


def test_the_walk_is_given_roots_and_nothing_else(office: Office) -> None:
    walk = RootFetcher(MetadataOnStick(AskedMedium(office.files)))
    assert given(walk, "1.root.json") == office.first_root
    for name in (
        "2.root.json",
        "timestamp.json",
        "1.snapshot.json",
        "1.targets.json",
        "01.root.json",
        "root.json",
        "x/1.root.json",
    ):
        has_nothing(walk, name)


# --- Everything but roots --------------------------------------------------------------------------------------------


def test_a_new_device_is_given_what_is_on_the_stick(office: Office) -> None:
    who = fetcher(office, {})
    assert (who.asked, who.is_stick_older) == (Root.type, False)
    has_nothing(who, "1.root.json")
    assert who.asked == Root.type
    for role, name in (
        (Timestamp.type, "timestamp.json"),
        (Snapshot.type, "1.snapshot.json"),
        (Targets.type, "1.targets.json"),
    ):
        raw = office.files["usbupdate", "metadata", name]
        assert given(who, name) == raw
        assert (who.asked, who.seen[role].raw) == (role, raw)
    assert list(who.seen) == [Timestamp.type, Snapshot.type, Targets.type]
    assert not who.is_stick_older


def test_the_stick_of_the_present_state_is_not_older(office: Office) -> None:
    who = fetcher(office, known(office))
    given(who, "timestamp.json")
    assert not who.is_stick_older


def test_a_newer_stick_is_taken_at_its_word(office: Office) -> None:
    before = known(office)
    office.publish()
    who = fetcher(office, before)
    assert given(who, "timestamp.json") == office.files[metadata_path(Timestamp.type, None)]
    assert given(who, "2.targets.json") == office.files[metadata_path(Targets.type, 2)]
    assert not who.is_stick_older


def test_an_older_stick_is_judged_by_the_devices_own_timestamp(office: Office) -> None:
    old = copy.copy(office.files)
    office.publish()
    own = known(office)
    who = fetcher(office, own, files=old)
    assert given(who, "timestamp.json") == own[Timestamp.type].raw
    assert who.is_stick_older
    for name in ("2.snapshot.json", "2.targets.json"):
        error = refusal(who, name)
        assert isinstance(error, OlderStickError)
        assert error.newer == "timestamp version 2 of 2026-01-01T00:00:00Z"


def test_an_older_stick_gives_what_the_newer_timestamp_still_calls_for(office: Office) -> None:
    old = copy.copy(office.files)
    office.publish(Timestamp.type)
    who = fetcher(office, known(office), files=old)
    assert given(who, "timestamp.json") == office.files[metadata_path(Timestamp.type, None)]
    assert who.is_stick_older
    for role in BELOW:
        assert given(who, f"1.{role}.json") == old[metadata_path(role, 1)]


def test_what_a_stick_of_the_present_state_lacks_is_missing(office: Office) -> None:
    who = fetcher(office, known(office))
    given(who, "timestamp.json")
    for role in BELOW:
        error = refusal(who, f"9.{role}.json")
        assert isinstance(error, MetadataMissingError)
        assert (error.role, error.name) == (role, f"usbupdate/metadata/9.{role}.json")


def test_a_timestamp_of_retired_keys_is_older_and_one_of_strangers_is_the_sticks_own(office: Office) -> None:
    first = copy.deepcopy(office.root)
    old = copy.copy(office.files)
    office.signers[Timestamp.type] = [new_key()]
    office.publish_root()
    office.publish()
    own = known(office)
    # Its version does not matter: the keys that signed it are gone.
    who = fetcher(office, own, (Office().root, first), old)
    assert given(who, "timestamp.json") == own[Timestamp.type].raw
    assert who.is_stick_older
    for strangers in ((), (Office().root,)):
        who = fetcher(office, own, strangers, old)
        assert given(who, "timestamp.json") == old[metadata_path(Timestamp.type, None)]
        assert not who.is_stick_older


@pytest.mark.parametrize("role", [Timestamp.type, *BELOW])
def test_a_second_document_of_a_known_version_is_a_fork_if_it_is_signed(role: str, office: Office) -> None:
    own = known(office)
    name = "timestamp.json" if role == Timestamp.type else f"1.{role}.json"
    signed = {Timestamp.type: office.timestamp, Snapshot.type: office.snapshot, Targets.type: office.targets}[role]
    signed.unrecognized_fields["x-other"] = "history"
    office.sign(signed, office.signers[role])
    error = refusal(fetcher(office, own), name)
    assert isinstance(error, ForkedOfficeError)
    assert (error.role, error.version) == (role, 1)
    # One that nobody signed is the library's to reject.
    office.sign(signed, [new_key()])
    assert given(fetcher(office, own), name) == office.files["usbupdate", "metadata", name]
    # Signed again, it says the same: no fork.
    del signed.unrecognized_fields["x-other"]
    office.sign(signed, [*office.signers[role], new_key()])
    assert given(fetcher(office, own), name) == office.files["usbupdate", "metadata", name]
