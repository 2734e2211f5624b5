"""What a stick can try with its metadata, and what a device says to it."""

from __future__ import annotations

import copy
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, TargetFile, Timestamp

from tests.attack.metadata_office import START, TIME, Office, new_key
from tests.matrix import By, On, attack
from usbupdate.core import trust
from usbupdate.core.layout import metadata_path, target_path
from usbupdate.core.receipt import ClockQuality
from usbupdate.core.timefloor import BELIEVABLE
from usbupdate.core.trust import ClockReading, Trusted
from usbupdate.core.words import SEQUENCE_MAX
from usbupdate.errors import (
    AliasedTargetError,
    ConfiguredRootError,
    FileDigestError,
    ForkedOfficeError,
    MediumFileKindError,
    MediumFileMissingError,
    MediumFileSizeError,
    MetadataExpiredError,
    MetadataMalformedError,
    MetadataMissingError,
    MetadataMixedError,
    MetadataRollbackError,
    MetadataSignatureError,
    RejectedError,
    RepeatedKeyError,
    RootConflictError,
    StoredTrustError,
    UsbupdateError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from pathlib import Path

TIMESTAMP = metadata_path("timestamp", None)
SOON = ClockReading(START + timedelta(days=30), trusted=True)
NO_CLOCK = ClockReading(START, trusted=False)


class Device:
    """A device that was provisioned with the office's first root; `insert` is one refresh."""

    def __init__(self, office: Office, folder: Path, mount: Path) -> None:
        folder.mkdir()
        self.files = TrustFiles(folder)
        self.root = office.first_root
        self.mount = mount
        self.clock = SOON

    def insert(self, office: Office) -> Trusted:
        office.write(self.mount)
        return self.insert_as_is()

    def insert_as_is(self) -> Trusted:
        return trust.refresh(self.files, self.root, DirectoryMedium(self.mount), self.clock)

    def rejects(self, office: Office, error: type[UsbupdateError], match: str = ".") -> None:
        with pytest.raises(error, match=match):
            self.insert(office)

    @property
    def root_version(self) -> int:
        return self.files.root_versions()[-1]


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def device(office: Office, tmp_path: Path, mount: Path) -> Device:
    return Device(office, tmp_path / "trust", mount)


def days(number: float) -> timedelta:
    return timedelta(days=number)


# --- What is good ----------------------------------------------------------------------------------------------------


def test_genuine_stick_is_believed_and_tells_what_is_offered(office: Office, device: Device) -> None:
    trusted = device.insert(office)
    assert (trusted.root_version, trusted.timestamp_version, trusted.snapshot_version, trusted.targets_version) == (1, 1, 1, 1)
    assert trusted.signers == (office.signers["targets"][0].public_key.keyid,)
    assert trust.bundle_names(trusted) == ("gateway-1.json",)
    assert trusted.newer_than_medium == ""
    assert trusted.expires == "2027-01-01T00:00:00Z"
    assert (trusted.floor, trusted.now, trusted.clock) == ("2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z", ClockQuality.SYSTEM)
    bundle, _ = trust.read_manifest(trusted, "gateway-1.json", DirectoryMedium(device.mount))
    assert (bundle.name, bundle.sequence) == ("gateway", 1)


def test_same_stick_again_is_the_same(office: Office, device: Device) -> None:
    assert device.insert(office) == device.insert(office)


def test_stick_with_metadata_and_no_bundle_is_valid(office: Office, device: Device) -> None:
    office.targets.targets.clear()
    office.publish()
    assert trust.bundle_names(device.insert(office)) == ()


@attack(By.CHANCE, On.SERVICE, "a device that missed five key rotations", "every stick carries every root")
def test_device_five_roots_behind_walks_the_chain(office: Office, device: Device) -> None:
    for number in range(5):
        office.now += days(10)
        office.signers = {role: [new_key()] for role in office.signers}
        office.publish_root()
        assert office.root.version == number + 2
    office.publish()
    device.clock = ClockReading(office.now, trusted=True)
    assert device.insert(office).root_version == 6
    assert device.files.root_versions() == (1, 2, 3, 4, 5, 6)


@attack(By.STICK, On.SERVICE, "thousands of roots to walk through", "256 at a time, and the next stick goes on")
def test_one_refresh_accepts_256_roots_and_the_next_goes_on(office: Office, device: Device) -> None:
    for _ in range(257):
        office.publish_root()
    office.publish()
    assert device.insert(office).root_version == 257
    assert device.insert_as_is().root_version == 258


def test_ecdsa_keys_and_thresholds_are_accepted(office: Office, device: Device) -> None:
    office.signers["targets"] = [CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ecdsa(), new_key()]
    office.thresholds["targets"] = 2
    office.publish_root()
    office.publish()
    assert len(device.insert(office).signers) == 3


# --- Signatures ------------------------------------------------------------------------------------------------------


@attack(By.STICK, On.TRUST, "metadata without a signature (arbitrary software)", "every role needs its threshold of signatures")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_unsigned_metadata_is_rejected(role: str, office: Office, device: Device) -> None:
    office.publish_root()
    _resign(office, role, [])
    device.rejects(office, MetadataSignatureError, role)


@attack(By.STICK, On.TRUST, "metadata signed by a key that the root does not name", "only keys of the role count")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_metadata_signed_by_an_unknown_key_is_rejected(role: str, office: Office, device: Device) -> None:
    office.publish_root()
    _resign(office, role, [new_key()])
    device.rejects(office, MetadataSignatureError, role)


@attack(By.SIGNER, On.TRUST, "one signer alone publishes", "thresholds, counted by keys")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_metadata_under_its_threshold_is_rejected(role: str, office: Office, device: Device) -> None:
    office.signers[role] = [new_key(), new_key(), new_key()]
    office.thresholds[role] = 2
    office.publish_root()
    office.publish()
    _resign(office, role, office.signers[role][:1])
    device.rejects(office, MetadataSignatureError, role)


@attack(By.SIGNER, On.TRUST, "one signer signs twice to reach the threshold", "a key counts once")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_same_key_signing_twice_counts_once(role: str, office: Office, device: Device) -> None:
    office.signers[role] = [new_key(), new_key()]
    office.thresholds[role] = 2
    office.publish_root()
    office.publish()
    _resign(office, role, office.signers[role][:1])
    path = metadata_path(role, _version(office, role))
    table = json.loads(office.files[path])
    table["signatures"] *= 2
    office.files[path] = json.dumps(table).encode()
    _vouch_again(office, role)
    device.rejects(office, MetadataMalformedError, role)


@attack(By.SIGNER, On.TRUST, "one public key under two key ids counts twice", "roots with a repeated key are rejected")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_one_public_key_under_two_ids_is_rejected_before_what_it_signed(role: str, office: Office, device: Device) -> None:
    office.publish_root()
    signer = office.signers[role][0]
    twin = copy.deepcopy(signer.public_key)
    twin.keyid = "ab" * 32
    twin.keyval["public"] = twin.keyval["public"].upper()
    office.thresholds[role] = 2
    keys = {each: [one.public_key for one in signers] for each, signers in office.signers.items()}
    keys[role].append(twin)
    office.root.version += 1
    office.set_root_keys(keys)
    office.sign(office.root, office.signers["root"])
    device.rejects(office, RepeatedKeyError, role)
    assert device.root_version == 2


@attack(
    By.SIGNER,
    On.TRUST,
    "one key written in two ways counts twice",
    "keys are compared by what they are, not by how they are spelled",
)
def test_one_key_in_two_pem_spellings_is_one_key(office: Office, device: Device) -> None:
    signer = CryptoSigner.generate_ecdsa()
    twin = copy.deepcopy(signer.public_key)
    twin.keyid = "cd" * 32
    twin.keyval["public"] = "a comment\n" + twin.keyval["public"].replace("\n", "\r\n")
    office.signers["targets"] = [signer]
    keys = {each: [one.public_key for one in signers] for each, signers in office.signers.items()}
    keys["targets"].append(twin)
    office.root.version += 1
    office.set_root_keys(keys)
    office.sign(office.root, office.signers["root"])
    device.rejects(office, RepeatedKeyError, "targets")


@attack(By.STICK, On.TRUST, "a whole genuine stick of another office", "the root with which the device was provisioned")
def test_another_offices_stick_is_rejected(office: Office, device: Device) -> None:
    device.insert(office)
    device.rejects(Office(), MetadataSignatureError)


@attack(By.STICK, On.TRUST, "another office's root as the next one", "a new root is signed by the old one's threshold")
def test_another_offices_later_root_is_rejected(office: Office, device: Device) -> None:
    other = Office()
    other.publish_root()
    device.rejects(other, MetadataSignatureError, "root")
    assert device.root_version == 1


@attack(By.STICK, On.TRUST, "a forged timestamp makes a stick look newer", "times count only where they are signed")
def test_unsigned_timestamp_of_a_later_stick_is_not_taken_for_an_older_stick(office: Office, device: Device) -> None:
    device.insert(office)
    office.publish()
    _resign(office, "timestamp", [])
    device.rejects(office, MetadataSignatureError, "timestamp")


@attack(By.STOLEN_KEY, On.TRUST, "a stolen timestamp key signs bundles", "each role has keys of its own")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_another_roles_key_does_not_count(role: str, office: Office, device: Device) -> None:
    office.publish_root()
    _resign(office, role, [office.signers[other][0] for other in office.signers if other != role])
    device.rejects(office, MetadataSignatureError, role)


# --- Freeze and expiry -----------------------------------------------------------------------------------------------


@attack(By.OLD_STICK, On.TRUST, "freeze: an old stick is shown for ever", "every role's metadata expire")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_frozen_office_ends_with_each_role_in_turn(role: str, office: Office, device: Device) -> None:
    signed = {"root": office.root, "timestamp": office.timestamp, "snapshot": office.snapshot, "targets": office.targets}[role]
    signed.expires = START + days(10)
    office.sign(signed, office.signers[role])
    _vouch_again(office, role)
    if role == "root":
        device.root = office.first_root
    device.rejects(office, MetadataExpiredError, f"The {role} metadata ended 2026-01-11T00:00:00Z")


@attack(By.OLD_STICK, On.TRUST, "metadata in the very second in which they end", "the end itself is too late")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("past", [-1, 0])
def test_metadata_are_good_until_the_second_before_their_end(role: str, past: int, office: Office, device: Device) -> None:
    end = START + days(10)
    signed = {"root": office.root, "timestamp": office.timestamp, "snapshot": office.snapshot, "targets": office.targets}[role]
    signed.expires = end
    office.sign(signed, office.signers[role])
    _vouch_again(office, role)
    device.root = office.first_root
    device.clock = ClockReading(end + timedelta(seconds=past), trusted=True)
    if past:
        assert device.insert(office).expires == "2026-01-11T00:00:00Z"
    else:
        device.rejects(office, MetadataExpiredError, f"The {role} metadata ended 2026-01-11T00:00:00Z; for this device")


def test_an_end_in_the_very_second_of_the_floor_is_too_late(office: Office, device: Device) -> None:
    device.clock = NO_CLOCK
    office.now = START + days(730)
    office.publish("timestamp")
    device.rejects(office, MetadataExpiredError, "snapshot")
    office.publish("snapshot", "timestamp")
    device.rejects(office, MetadataExpiredError, "targets metadata ended (.*); for this device it is \\1")


@attack(
    By.OLD_STICK, On.TRUST, "a stick that lay in a drawer for a year", "expiry, by the latest time that the device can prove"
)
def test_stick_of_last_year_ends_on_the_device_too(office: Office, device: Device) -> None:
    device.insert(office)
    device.clock = ClockReading(START + days(400), trusted=True)
    device.rejects(office, MetadataExpiredError)


def test_expired_root_in_the_middle_of_the_chain_does_not_matter(office: Office, device: Device) -> None:
    device.root = office.first_root
    office.now += days(2000)
    office.publish_root()
    office.publish()
    device.clock = ClockReading(office.now, trusted=True)
    assert device.insert(office).root_version == 2


@attack(
    By.OLD_STICK, On.TRUST, "expired bundles under a fresh timestamp", "the timestamp's own time is proof that time has passed"
)
def test_timestamp_proves_that_the_targets_beside_it_ended(office: Office, device: Device) -> None:
    device.clock = NO_CLOCK
    office.now += days(800)
    office.publish("timestamp")
    device.rejects(office, MetadataExpiredError)
    device.rejects(office, MetadataExpiredError)


# --- Rollback and mix-and-match --------------------------------------------------------------------------------------


def test_older_stick_is_judged_by_newer_metadata_and_named(office: Office, device: Device) -> None:
    old = copy.copy(office.files)
    office.now += days(1)
    office.add_bundle("gateway", 2)
    office.publish()
    device.insert(office)
    office.files = old
    trusted = device.insert(office)
    assert trusted.timestamp_version == 2
    assert trusted.newer_than_medium == "timestamp version 2 of 2026-01-02T00:00:00Z"
    assert trust.bundle_names(trusted) == ("gateway-1.json", "gateway-2.json")
    stick = DirectoryMedium(device.mount)
    assert trust.read_manifest(trusted, "gateway-1.json", stick)[0].sequence == 1
    with pytest.raises(MediumFileMissingError):
        trust.read_manifest(trusted, "gateway-2.json", stick)


def test_older_stick_from_before_a_rotation_of_timestamp_keys_is_still_judged(office: Office, device: Device) -> None:
    old = copy.copy(office.files)
    office.signers["timestamp"] = [new_key()]
    office.publish_root()
    office.publish()
    device.insert(office)
    office.files = old
    assert device.insert(office).newer_than_medium != ""


@attack(
    By.OLD_STICK,
    On.SLOT,
    "a withdrawn release on an older stick",
    "the device judges older sticks by the newest metadata it has seen",
)
def test_withdrawn_bundle_on_an_older_stick_is_offered_no_more(office: Office, device: Device) -> None:
    old = copy.copy(office.files)
    office.targets.targets.clear()
    office.publish()
    device.insert(office)
    office.files = old
    assert trust.bundle_names(device.insert(office)) == ()


@attack(By.OLD_STICK, On.TRUST, "an older root from the image replaces the newer one", "the root's version never falls")
def test_root_never_goes_backwards_to_the_configured_one(office: Office, device: Device) -> None:
    office.signers = {role: [new_key()] for role in office.signers}
    office.publish_root()
    office.publish()
    device.insert(office)
    assert device.root == office.first_root
    assert device.insert(office).root_version == 2


@attack(By.STOLEN_KEY, On.TRUST, "revoked keys come back with the old release", "trust lies in the state, not in the slot")
def test_stick_signed_by_revoked_keys_is_rejected_after_a_rollback_of_the_slot(office: Office, device: Device) -> None:
    thief = copy.copy(office.signers)
    stolen = copy.deepcopy(office.files)
    office.signers = {role: [new_key()] for role in office.signers}
    office.publish_root()
    device.rejects(office, MetadataSignatureError)
    office.files, office.signers = stolen, thief
    office.root.version = 1
    office.publish()
    device.rejects(office, MetadataSignatureError)
    assert device.root_version == 2


def test_configured_root_counts_when_it_is_newer(office: Office, device: Device) -> None:
    device.insert(office)
    office.signers["timestamp"] = [new_key()]
    office.publish_root()
    office.publish_root()
    office.publish()
    device.root = office.newest_root
    del office.files[metadata_path("root", 2)], office.files[metadata_path("root", 3)]
    assert device.insert(office).root_version == 3


def test_configured_root_of_the_same_version_with_other_bytes_stops(office: Office, device: Device) -> None:
    device.insert(office)
    device.root = Office().first_root
    device.rejects(office, RootConflictError)


def test_configured_root_that_is_not_signed_by_itself_stops(office: Office, device: Device) -> None:
    office.sign(office.root, [new_key()])
    device.root = office.first_root
    device.rejects(office, ConfiguredRootError, "its own keys")


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_unusable_configured_root_stops(raw: bytes, office: Office, device: Device) -> None:
    device.root = raw
    device.rejects(office, ConfiguredRootError)


@attack(By.STICK, On.TRUST, "rollback: an older snapshot under a new timestamp", "versions never fall")
def test_timestamp_with_an_older_snapshot_is_a_rollback(office: Office, device: Device) -> None:
    office.publish()
    device.insert(office)
    office.snapshot.version = 1
    office.publish("timestamp")
    device.rejects(office, MetadataRollbackError, "timestamp")


@attack(By.STICK, On.TRUST, "rollback: older targets in a new snapshot", "versions never fall")
def test_snapshot_with_older_targets_is_a_rollback(office: Office, device: Device) -> None:
    office.publish()
    device.insert(office)
    office.targets.version = 1
    office.publish("snapshot", "timestamp")
    device.rejects(office, MetadataRollbackError, "snapshot")


@attack(By.STICK, On.TRUST, "rollback: older targets in a file with a newer name", "the version inside counts")
def test_older_targets_under_a_newer_name_are_a_rollback(office: Office, device: Device) -> None:
    office.targets.version = 5
    office.sign_again("targets")
    office.targets.version = 3
    office.sign(office.targets, office.signers["targets"])
    office.files[metadata_path("targets", 5)] = office.files[metadata_path("targets", 3)]
    office.targets.version = 5
    office.publish("snapshot", "timestamp")
    device.rejects(office, MetadataRollbackError, "targets")


@attack(By.STICK, On.TRUST, "a snapshot that no longer lists the targets", "a role that was listed stays listed")
def test_snapshot_that_drops_a_role_is_rejected(office: Office, device: Device) -> None:
    device.insert(office)
    office.snapshot.version += 1
    office.snapshot.meta = {}
    office.sign(office.snapshot, office.signers["snapshot"])
    office.publish("timestamp")
    device.rejects(office, MetadataMalformedError, "snapshot")


@attack(
    By.STICK,
    On.TRUST,
    "mix and match: snapshot and targets of two states",
    "the snapshot names the targets' version and digest",
)
def test_snapshot_of_one_state_with_targets_of_another_is_rejected(office: Office, device: Device) -> None:
    other = copy.deepcopy(office.targets)
    office.add_bundle("gateway", 2)
    office.publish()
    other.version = office.targets.version
    office.sign(other, office.signers["targets"])
    device.rejects(office, MetadataMixedError, "targets")


@attack(
    By.STICK,
    On.TRUST,
    "mix and match: timestamp and snapshot of two states",
    "the timestamp names the snapshot's version and digest",
)
def test_timestamp_of_one_state_with_snapshot_of_another_is_rejected(office: Office, device: Device) -> None:
    office.snapshot.expires += days(1)
    office.sign(office.snapshot, office.signers["snapshot"])
    device.rejects(office, MetadataMixedError, "snapshot")


@attack(By.SIGNER, On.TRUST, "two histories of one office with equal versions", "what was seen under a version stays that")
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_forked_office_is_rejected(role: str, office: Office, device: Device) -> None:
    device.insert(office)
    before = dict(office.files)
    office.now += days(1)
    for each in ("targets", "snapshot", "timestamp"):
        if each == role or (each == "timestamp" and role == "snapshot"):
            office.sign_again(each)
    if role == "targets":
        office.publish("snapshot", "timestamp")
    if role == "snapshot":
        office.timestamp.version += 1
        office.sign_again("timestamp")
    assert office.files != before
    device.rejects(office, ForkedOfficeError, role)


def laid_out_anew(raw: bytes) -> bytes:
    """Return metadata that say the same, as anybody can write them who has held the stick."""
    return json.dumps(json.loads(raw), indent=3).encode()


@attack(By.STICK, On.SERVICE, "re-spelled metadata, to make genuine sticks look forked", "only what is signed is compared")
@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_a_stranger_who_lays_metadata_out_anew_turns_no_device_against_genuine_sticks(
    role: str, office: Office, device: Device
) -> None:
    office.publish_root()
    office.publish()
    path = metadata_path(role, 2 if role == "root" else None)
    genuine = office.files[path]
    office.files[path] = laid_out_anew(genuine)
    assert device.insert(office).root_version == 2
    office.files[path] = genuine
    assert device.insert(office).root_version == 2
    device.root = office.newest_root
    assert device.insert(office).root_version == 2, "nor against the root that comes with a new image"


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_damage_is_found_on_a_stick_whose_contents_the_device_has_already(role: str, office: Office, device: Device) -> None:
    device.insert(office)
    office.files[metadata_path(role, 1)] = office.files[metadata_path(role, 1)].replace(b'"sig":"', b'"sig":"0', 1)
    device.rejects(office, MetadataMixedError, role)
    del office.files[metadata_path(role, 1)]
    device.rejects(office, MetadataMissingError, role)


@attack(By.STICK, On.TRUST, "a root is left out of the chain", "every root from the known one on")
def test_root_chain_with_a_gap_is_rejected(office: Office, device: Device) -> None:
    office.publish_root()
    office.publish_root()
    office.publish_root()
    del office.files[metadata_path("root", 3)]
    device.rejects(office, MetadataMissingError, r"3\.root\.json")
    assert device.root_version == 2


@attack(By.STICK, On.TRUST, "a root under another number", "name and version agree")
def test_root_under_another_number_is_rejected(office: Office, device: Device) -> None:
    office.publish_root()
    office.publish_root()
    office.files[metadata_path("root", 2)] = office.files[metadata_path("root", 3)]
    device.rejects(office, MetadataMixedError, "root")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_missing_metadata_is_named(role: str, office: Office, device: Device) -> None:
    del office.files[metadata_path(role, _version(office, role))]
    device.rejects(office, MetadataMissingError, role)


# --- Recovery --------------------------------------------------------------------------------------------------------


@attack(By.STOLEN_KEY, On.TRUST, "a revocation is hidden behind damaged metadata", "roots count as soon as they are proven")
def test_revocation_takes_effect_even_from_a_stick_whose_other_metadata_are_bad(office: Office, device: Device) -> None:
    device.insert(office)
    stolen = office.signers["targets"]
    office.signers["targets"] = [new_key()]
    office.publish_root()
    good = dict(office.files)
    office.files[TIMESTAMP] = b"{}"
    device.rejects(office, MetadataMalformedError, "timestamp")
    assert device.root_version == 2
    office.files = good
    office.signers["targets"] = stolen
    office.publish()
    device.rejects(office, MetadataSignatureError, "targets")


@attack(
    By.STOLEN_KEY,
    On.SERVICE,
    "fast-forward: versions driven to the end with stolen keys",
    "rotating the keys forgets the versions",
)
def test_fast_forward_is_cured_by_rotating_timestamp_and_snapshot_together(office: Office, device: Device) -> None:
    honest = dict(office.files)
    versions = (office.timestamp.version, office.snapshot.version)
    office.timestamp.version = office.snapshot.version = 2**40
    office.publish("snapshot", "timestamp")
    device.insert(office)
    office.files = honest
    office.timestamp.version, office.snapshot.version = versions
    office.publish()
    assert device.insert(office).newer_than_medium != ""
    office.signers["timestamp"], office.signers["snapshot"] = [new_key()], [new_key()]
    office.publish_root()
    office.publish()
    trusted = device.insert(office)
    assert (trusted.timestamp_version, trusted.newer_than_medium) == (3, "")


@attack(By.STOLEN_KEY, On.SERVICE, "a timestamp of the far future ends all metadata", "rotating the key forgets its times")
@pytest.mark.parametrize("clock", [SOON, NO_CLOCK])
def test_far_future_timestamp_of_a_stolen_key_is_cured_by_rotating_it(
    clock: ClockReading, office: Office, device: Device
) -> None:
    device.clock = clock
    device.insert(office)
    stolen = office.signers["timestamp"]
    honest_now = office.now
    office.now = datetime(2060, 1, 1, tzinfo=UTC)
    office.publish("timestamp")
    device.rejects(office, MetadataExpiredError, "root")
    device.rejects(office, MetadataExpiredError, "2060")
    office.now = honest_now + days(1)
    office.signers["timestamp"] = [new_key()]
    office.publish_root()
    office.publish()
    trusted = device.insert(office)
    assert trusted.floor == "2026-01-02T00:00:00Z"
    office.signers["timestamp"] = stolen
    office.now = datetime(2060, 1, 1, tzinfo=UTC)
    office.publish("timestamp")
    # Signed by keys that were good once: judged by what the device knows, and its time is not believed.
    trusted = device.insert(office)
    assert (trusted.floor, trusted.newer_than_medium[:9]) == ("2026-01-02T00:00:00Z", "timestamp")


@attack(By.STOLEN_KEY, On.SERVICE, "times of a stolen key come back with it", "times belong to a rotation, not to a key")
def test_rotating_back_to_a_stolen_key_does_not_bring_back_its_times(office: Office, device: Device) -> None:
    stolen = office.signers["timestamp"]
    device.insert(office)
    office.now = datetime(2028, 1, 1, tzinfo=UTC)
    office.publish()
    device.insert(office)
    office.now = START + days(3)
    office.signers["timestamp"], office.signers["snapshot"] = [new_key()], [new_key()]
    office.publish_root()
    office.publish()
    device.insert(office)
    office.signers["timestamp"] = stolen
    office.publish_root()
    office.publish()
    assert device.insert(office).floor == "2026-01-04T00:00:00Z"


def test_keys_that_come_back_after_a_failed_refresh_bring_no_times(office: Office, device: Device) -> None:
    office.now += days(200)
    office.publish()
    device.insert(office)
    stolen = office.signers["timestamp"]
    office.now -= days(190)
    office.signers["timestamp"] = [new_key()]
    office.publish_root()
    device.rejects(office, MetadataSignatureError, "timestamp")
    office.signers["timestamp"] = stolen
    office.publish_root()
    office.publish()
    assert device.insert(office).floor == "2026-01-11T00:00:00Z"


def test_floor_remembers_the_newest_timestamp_under_the_same_keys(office: Office, device: Device) -> None:
    device.clock = NO_CLOCK
    office.now += days(100)
    office.publish()
    device.insert(office)
    office.now -= days(50)
    office.publish()
    assert device.insert(office).floor == "2026-04-11T00:00:00Z"


# --- Time ------------------------------------------------------------------------------------------------------------


@attack(By.CHANCE, On.SERVICE, "a clock that is years off", "a clock only counts where it is trusted, and then only forwards")
@pytest.mark.parametrize("year", [1970, 2099])
@pytest.mark.parametrize("believed", [True, False])
def test_wrong_clock_neither_blocks_nor_decides(year: int, believed: bool, office: Office, device: Device) -> None:
    device.clock = ClockReading(datetime(year, 1, 1, tzinfo=UTC), trusted=believed)
    trusted = device.insert(office)
    assert (trusted.clock, trusted.now) == (ClockQuality.FLOOR, trusted.floor)


def test_untrusted_clock_is_not_used_even_when_it_is_right(office: Office, device: Device) -> None:
    device.clock = ClockReading(SOON.utc, trusted=False)
    assert device.insert(office).clock is ClockQuality.FLOOR


@pytest.mark.parametrize(
    ("past", "quality"), [(timedelta(0), ClockQuality.SYSTEM), (timedelta(seconds=1), ClockQuality.FLOOR)], ids=["at", "past"]
)
def test_a_clock_is_believed_for_ten_years_after_the_floor_and_not_a_second_more(
    past: timedelta, quality: ClockQuality, office: Office, device: Device
) -> None:
    device.insert(office)
    device.clock = ClockReading(START + BELIEVABLE + past, trusted=True)
    if quality is ClockQuality.SYSTEM:
        device.rejects(office, MetadataExpiredError)
    else:
        assert device.insert(office).clock is quality


def test_a_configured_root_of_an_office_that_signs_no_times_stops(office: Office, device: Device) -> None:
    del office.root.unrecognized_fields[TIME]
    office.sign(office.root, office.signers["root"])
    device.root = office.newest_root
    device.rejects(office, ConfiguredRootError, TIME)


@pytest.mark.parametrize("role", ["root", "timestamp"])
@pytest.mark.parametrize("value", [None, "", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+00:00", 1, [], {}])
def test_missing_or_odd_signed_time_is_rejected(role: str, value: object, office: Office, device: Device) -> None:
    office.publish_root()
    signed = office.root if role == "root" else office.timestamp
    signed.unrecognized_fields[TIME] = value
    if value is None:
        del signed.unrecognized_fields[TIME]
    office.sign(signed, office.signers[role])
    device.rejects(office, MetadataMalformedError, TIME)


@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_signed_time_after_its_own_end_is_rejected(role: str, office: Office, device: Device) -> None:
    office.publish_root()
    signed = office.root if role == "root" else office.timestamp
    signed.unrecognized_fields[TIME] = "2040-01-01T00:00:00Z"
    office.sign(signed, office.signers[role])
    device.rejects(office, MetadataMalformedError, "later than its own end")


# --- Hostile bytes ---------------------------------------------------------------------------------------------------

BOMBS = {
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 3_000,
    "nested inside": b'{"signatures":[],"signed":' + b"[" * 15_000 + b"]" * 15_000 + b"}",
    "huge integer": b'{"a":' + b"9" * 10_000 + b"}",
    "duplicate key": b'{"signatures":[],"signed":{},"signed":{}}',
    "float": b'{"a":1e400}',
    "not a number": b'{"a":NaN}',
    "nothing": b"",
    "null": b"null",
    "no utf-8": b"\xff\xfe{}",
    "no signed": b'{"signatures":[]}',
    "signed is a list": b'{"signatures":[],"signed":[]}',
}


@attack(By.STICK, On.SERVICE, "JSON that is nested a hundred thousand deep", "strict decoder with a depth limit")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_json_bomb_is_malformed(role: str, bomb: str, office: Office, device: Device) -> None:
    version = 2 if role == "root" else _version(office, role)
    office.files[metadata_path(role, version)] = BOMBS[bomb]
    device.rejects(office, RejectedError, role)


@attack(By.STICK, On.SERVICE, "endless data in place of metadata", "sizes are compared before anything is read")
@pytest.mark.parametrize(
    ("role", "cap"), [("root", 512_000), ("timestamp", 16_384), ("snapshot", 2_000_000), ("targets", 5_000_000)]
)
def test_endless_metadata_is_not_read(role: str, cap: int, office: Office, device: Device) -> None:
    office.write(device.mount)
    path = device.mount.joinpath(*metadata_path(role, 2 if role == "root" else _version(office, role)))
    with path.open("wb") as file:
        file.truncate(cap + 1)
    with pytest.raises(MediumFileSizeError, match=role):
        device.insert_as_is()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_something_else_in_place_of_a_file_is_rejected(role: str, kind: str, office: Office, device: Device) -> None:
    office.publish_root()
    office.write(device.mount)
    path = device.mount.joinpath(*metadata_path(role, _version(office, role)))
    path.rename(path.with_name("elsewhere"))
    if kind == "link":
        path.symlink_to("elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(MediumFileKindError, match=role):
        device.insert_as_is()


@attack(By.STICK, On.TRUST, "one role's signed metadata in place of another's", "the role is part of what is signed")
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_of_another_role_is_rejected(role: str, office: Office, device: Device) -> None:
    office.files[metadata_path(role, _version(office, role))] = office.first_root
    device.rejects(office, MetadataMalformedError, role)


@pytest.mark.parametrize(
    ("field", "value"),
    [("spec_version", "2.0.0"), ("spec_version", 1), ("version", True), ("version", "1"), ("version", 0), ("expires", 5)],
)
def test_signed_nonsense_is_malformed(field: str, value: object, office: Office, device: Device) -> None:
    _sign_raw(office, {**office.timestamp.to_dict(), field: value})
    device.rejects(office, MetadataMalformedError, "timestamp")


def test_version_is_as_large_as_a_record_can_hold_and_no_larger(office: Office, device: Device) -> None:
    office.timestamp.version = SEQUENCE_MAX
    office.sign_again("timestamp")
    assert device.insert(office).timestamp_version == SEQUENCE_MAX
    office.timestamp.version += 1
    office.sign_again("timestamp")
    device.rejects(office, MetadataMalformedError, r"^The timestamp metadata is malformed: its version is too large\.$")


@attack(By.STICK, On.SERVICE, "a root with nonsense for signatures", "an error of the tree, never a crash")
@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("consistent_snapshot",), False),
        (("roles", "targets", "threshold"), 0),
        (("roles", "targets", "threshold"), True),
        (("roles", "targets", "threshold"), "1"),
        (("roles", "targets", "keyids"), ["ab" * 32]),
        (("roles", "targets", "keyids"), "ab"),
        (("roles", "targets"), None),
        (("roles", "extra"), {"keyids": [], "threshold": 1}),
        (("keys",), []),
    ],
)
def test_root_signed_with_nonsense_is_malformed(where: tuple[str, ...], value: object, office: Office, device: Device) -> None:
    office.publish_root()
    table = office.root.to_dict()
    inner = table
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    _sign_raw(office, table)
    device.rejects(office, MetadataMalformedError, "root")


@pytest.mark.parametrize("public", ["", "zz", "ab", "ab" * 33, "é", "-----BEGIN PUBLIC KEY-----"])
@pytest.mark.parametrize("kind", [("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "rsassa-pss-sha256")])
def test_root_with_an_unreadable_key_is_malformed(public: str, kind: tuple[str, str], office: Office, device: Device) -> None:
    keys = {each: [one.public_key for one in signers] for each, signers in office.signers.items()}
    keys["targets"].append(SSlibKey("ab" * 32, *kind, {"public": public}))
    office.root.version += 1
    office.set_root_keys(keys)
    office.sign(office.root, office.signers["root"])
    device.rejects(office, MetadataMalformedError, "root")


@attack(By.STICK, On.SERVICE, "signatures that are none", "an error of the tree, never a crash")
def test_signature_that_is_no_hexadecimal_is_rejected(office: Office, device: Device) -> None:
    table = json.loads(office.files[TIMESTAMP])
    table["signatures"][0]["sig"] = "no hexadecimal"
    office.files[TIMESTAMP] = json.dumps(table).encode()
    device.rejects(office, RejectedError, "timestamp")


@attack(By.STICK, On.TRUST, "signatures of no bytes, too few or too many", "a signature has one length")
@pytest.mark.parametrize("scheme", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128, -1])
def test_signature_of_another_length_is_none(scheme: str, size: int, office: Office, device: Device) -> None:
    if scheme == "ecdsa":
        office.signers["timestamp"] = [CryptoSigner.generate_ecdsa()]
        office.publish_root()
        office.publish()
    table = json.loads(office.files[TIMESTAMP])
    genuine = bytes.fromhex(table["signatures"][0]["sig"])
    table["signatures"][0]["sig"] = (genuine + bytes(128))[: size if size >= 0 else len(genuine) - 1].hex()
    office.files[TIMESTAMP] = json.dumps(table).encode()
    device.rejects(office, MetadataSignatureError, "timestamp")


# --- Targets ---------------------------------------------------------------------------------------------------------


@attack(
    By.STICK,
    On.SLOT,
    "one release's manifest under the name of another (wrong software)",
    "the manifest's digest stands in the targets",
)
def test_manifest_signed_under_another_releases_name_is_rejected(office: Office, device: Device) -> None:
    office.add_bundle("gateway", 1, target="gateway-9.json")
    office.publish()
    trusted = device.insert(office)
    with pytest.raises(AliasedTargetError, match=r"gateway-9\.json"):
        trust.read_manifest(trusted, "gateway-9.json", DirectoryMedium(device.mount))


@attack(By.STICK, On.SLOT, "a changed manifest", "the manifest's digest stands in the targets")
def test_changed_manifest_is_rejected(office: Office, device: Device) -> None:
    trusted = device.insert(office)
    path = device.mount.joinpath(*target_path(trusted.targets["gateway-1.json"].sha256, "gateway-1.json"))
    stick = DirectoryMedium(device.mount)
    raw = path.read_bytes()
    for other, error in [
        (raw.replace(b"1.1", b"1.2"), FileDigestError),
        (raw + b" ", MediumFileSizeError),
        (raw[:-1], MediumFileSizeError),
    ]:
        path.write_bytes(other)
        with pytest.raises(error):
            trust.read_manifest(trusted, "gateway-1.json", stick)


@attack(By.SIGNER, On.SLOT, "a release that is listed without a digest", "no digest, no release")
@pytest.mark.parametrize(
    "hashes", [{}, {"sha512": "ab" * 64}, {"sha256": ""}, {"sha256": "ab" * 31}, {"sha256": "AB" * 32}, {"sha256": None}]
)
def test_target_without_a_whole_digest_is_rejected(hashes: dict[str, object], office: Office, device: Device) -> None:
    table = office.targets.to_dict()
    table["targets"]["gateway-1.json"]["hashes"] = hashes
    office.targets.version += 1
    table["version"] = office.targets.version
    _sign_raw(office, table, office.targets.version)
    office.publish("snapshot", "timestamp")
    device.rejects(office, RejectedError, "targets")


@attack(
    By.SIGNER,
    On.SLOT,
    "a list of bundles is signed by people who saw part of it wiped off their terminal, by the digest of a target that is none",
    "a list with a target whose digest is none is rejected, whatever the target is called",
)
def test_target_of_any_name_with_a_digest_that_steers_terminals_is_rejected(office: Office, device: Device) -> None:
    office.targets.targets["allow-me"] = TargetFile(1, {"sha256": "\x1b[2A\x1b[0J"}, "allow-me")
    office.publish()
    device.rejects(office, MetadataMalformedError, "a target has no SHA-256")


@attack(By.STICK, On.SERVICE, "a manifest without end", "its size is signed")
def test_huge_manifest_is_not_read(office: Office, device: Device) -> None:
    office.add_target("gateway-2.json", b" " * ((1 << 20) + 1))
    office.publish()
    trusted = device.insert(office)
    with pytest.raises(MediumFileSizeError):
        trust.read_manifest(trusted, "gateway-2.json", DirectoryMedium(device.mount))


@attack(By.STICK, On.TRUST, "names that lead out of the stick's folder", "names are built from our own grammar")
def test_names_that_climb_or_are_not_ours_are_never_asked_for(office: Office, device: Device) -> None:
    for name in (
        "../../etc/passwd",
        "a/b-1.json",
        "..-1.json",
        "UPPER-1.json",
        "allow-gw-1.json",
        "notes.txt",
        "x" * 300 + "-1.json",
    ):
        office.add_target(name.replace("/", "%"), b"{}")
        office.targets.targets[name] = office.targets.targets.pop(name.replace("/", "%"))
        office.targets.targets[name].path = name
    office.publish()
    office.files = {path: raw for path, raw in office.files.items() if len(path) == 3 and len(path[-1]) < 200}
    trusted = device.insert(office)
    assert trust.bundle_names(trusted) == ("gateway-1.json",)
    assert set(trusted.targets) == {"gateway-1.json", "allow-gw-1.json"}


# --- What is stored --------------------------------------------------------------------------------------------------


@attack(By.CHANCE, On.TRUST, "stored trust that the flash has damaged", "nothing is installed on trust that cannot be read")
@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "floor.json", "root_history/1.root.json"])
@pytest.mark.parametrize("contents", [b"", b"{}", b"\x00" * 4096])
def test_broken_stored_file_stops_the_refresh(name: str, contents: bytes, office: Office, device: Device) -> None:
    device.insert(office)
    path = device.files.path / name
    path.unlink()
    path.write_bytes(contents)
    office.publish()
    device.rejects(office, StoredTrustError, name)
    assert path.read_bytes() == contents


def test_lost_stored_timestamp_or_roots_stop_the_refresh(office: Office, device: Device) -> None:
    device.insert(office)
    (device.files.path / "timestamp.json").unlink()
    device.rejects(office, StoredTrustError, "timestamp")
    (device.files.path / "root_history" / "1.root.json").unlink()
    device.rejects(office, StoredTrustError, "root_history")


def test_stored_root_under_another_number_stops_the_refresh(office: Office, device: Device) -> None:
    device.insert(office)
    history = device.files.path / "root_history"
    (history / "2.root.json").write_bytes((history / "1.root.json").read_bytes())
    device.rejects(office, StoredTrustError, r"2\.root\.json")


def test_damaged_old_root_in_the_history_does_not_stop_the_device(office: Office, device: Device) -> None:
    old = dict(office.files)
    office.signers["timestamp"] = [new_key()]
    office.publish_root()
    office.publish()
    device.insert(office)
    (device.files.path / "root_history" / "1.root.json").write_bytes(b"")
    assert device.insert(office).root_version == 2
    office.files = old
    # Whether this older stick is genuine can no longer be told.
    device.rejects(office, MetadataSignatureError)


@attack(By.TECHNICIAN, On.TRUST, "another office's files in the device's trust", "the chain must begin at the configured root")
def test_stored_file_of_another_office_stops_the_refresh(office: Office, device: Device) -> None:
    device.insert(office)
    (device.files.path / "timestamp.json").write_bytes(Office().files[TIMESTAMP])
    device.rejects(office, StoredTrustError, "timestamp")


# --- Doing one thing wrong -------------------------------------------------------------------------------------------


def _version(office: Office, role: str) -> int | None:
    return {
        "root": office.root.version,
        "timestamp": None,
        "snapshot": office.snapshot.version,
        "targets": office.targets.version,
    }[role]


def _resign(office: Office, role: str, signers: list[CryptoSigner]) -> None:
    signed = {"root": office.root, "timestamp": office.timestamp, "snapshot": office.snapshot, "targets": office.targets}[role]
    office.sign(signed, signers)
    _vouch_again(office, role)


def _vouch_again(office: Office, role: str) -> None:
    """Let what vouches for a role's file name its present bytes, as a thief of the keys above would."""
    if role == "targets":
        expires = office.snapshot.expires
        office.sign_again("snapshot")
        office.snapshot.expires = expires
    if role in {"targets", "snapshot"}:
        office.sign_again("timestamp")


def _sign_raw(office: Office, table: dict[str, object], version: int | None = None) -> None:
    """Sign what the library would refuse to write."""
    role = str(table["_type"])

    class Raw(Timestamp):
        def to_dict(self) -> dict[str, object]:
            return table

    raw = Raw()
    document = Metadata(raw)
    for signer in office.signers[role]:
        document.sign(signer, append=True)
    version = None if role == "timestamp" else version or office.root.version
    office.files[metadata_path(role, version)] = json.dumps(document.to_dict()).encode()
