"""Keys that are stolen, lost or retired, role by role: what the thief can do to a device, and how the office goes on.

A thief here is a copy of the office without the keys that were not stolen; in their place stand keys of the thief's own.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import MetaFile, Root, Snapshot, Timestamp

from tests.field import NEXT, OFFERED, RUNNING, Field, load, metadata_file
from tests.matrix import By, On, attack
from usbupdate.core.rootrules import SIGNED_TIME
from usbupdate.core.timefloor import format_time
from usbupdate.core.words import SEQUENCE_MAX
from usbupdate.device.obligations import Rest
from usbupdate.packager import keys, office, sessions
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands

if TYPE_CHECKING:
    from pathlib import Path

    from tests.field import Rig

THEIRS, LATER = 40, 41
HIGH = 1_000_000


def thief_with(field: Field, *stolen: Role) -> Field:
    """Return an office of somebody who has the keys of some roles only, and the sticks that are in the field."""
    theirs = field.copy(field.folder.with_name("thief"))
    for role in set(Role) - set(stolen):
        for path in (theirs.repo / "keys").glob(f"{role}.pem*"):
            path.unlink()
    return theirs


def runs(rig: Rig, sequence: int) -> None:
    """Hold that a device runs a release, and that nothing is under way."""
    status = rig.status()
    assert (status["sequence"], status["state"], status["reboot_pending"]) == (sequence, "idle", False)


def is_turned_away(rig: Rig, mount: Path, reason: str) -> None:
    """Hold that a stick changes nothing on a device but what it reports and whom it believes, and why."""
    before = rig.picture()
    assert rig.error_of(mount).reason == reason
    assert rig.picture() == before


def key(field: Field, name: str) -> str:
    """Return the path of a new private key outside the repository."""
    path = field.folder / f"{name}.pem"
    keys.create(path)
    return str(path)


def rotate(field: Field, hands: Hands) -> None:
    """Have the roles change hands, signed by everybody who has to."""
    _, missing = office.rotate(field.office, field.now, hands)
    assert missing == ()


# --- Stolen ----------------------------------------------------------------------------------------------------------


@attack(
    By.STOLEN_KEY,
    On.SLOT,
    "stolen targets and online keys sign a release of their own, and devices run it",
    "once the keys are rotated, one newer stick replaces it and takes their sticks their power",
)
def test_release_of_a_thief_is_replaced_by_the_next_stick_after_targets_were_rotated(field: Field) -> None:
    thief = thief_with(field, Role.TARGETS, Role.SNAPSHOT, Role.TIMESTAMP)
    thief.release(THEIRS)
    theirs = thief.stick("theirs", "gw")
    thief.press.publish(theirs, step=HIGH)
    rig = field.rig
    assert rig.update(theirs).rest is Rest.IDLE
    runs(rig, THEIRS)

    rotate(field, Hands({Role.TARGETS: [key(field, "targets")], Role.TIMESTAMP: [key(field, "timestamp")]}))
    field.release(LATER)
    assert rig.update(field.stick("cures", "gw")).rest is Rest.IDLE
    runs(rig, LATER)
    thief.release(LATER + 1)
    newest = thief.stick("newest", "gw")
    thief.press.publish(newest, step=2 * HIGH)
    is_turned_away(rig, newest, "older-stick")


@attack(
    By.STOLEN_KEY,
    On.SERVICE,
    "a stolen timestamp key signs the highest version and a time far ahead",
    "timestamp and snapshot are rotated together, and the next stick is taken",
)
def test_stolen_timestamp_key_shuts_the_office_out_until_it_is_rotated(field: Field) -> None:
    def far_ahead(timestamp: Timestamp) -> None:
        timestamp.version = HIGH
        timestamp.unrecognized_fields[SIGNED_TIME] = format_time(field.now + timedelta(days=300))

    thief = thief_with(field, Role.TIMESTAMP)
    timestamp = load(thief.good, Timestamp)
    far_ahead(timestamp)
    metadata_file(thief.good, timestamp).write_bytes(thief.press.sign(timestamp))
    rig = field.rig
    rig.insert(thief.good)
    rig.boot()
    rig.remove()
    runs(rig, OFFERED)
    field.release(NEXT)
    is_turned_away(rig, field.stick("shut-out", "gw"), "older-stick")

    rotate(field, Hands({Role.TIMESTAMP: [key(field, "timestamp")]}))
    assert rig.update(field.stick("cures", "gw")).rest is Rest.IDLE
    runs(rig, NEXT)
    assert rig.record().time_floor < format_time(field.now + timedelta(days=1))


@attack(
    By.STOLEN_KEY,
    On.SERVICE,
    "a stolen timestamp key signs a version that the device's state cannot hold",
    "such a version is rejected, and the state that names one is never saved",
)
@pytest.mark.parametrize("version", [SEQUENCE_MAX + 1, 10**17 - 1])
def test_stolen_timestamp_key_leaves_no_state_that_cannot_be_read(version: int, field: Field) -> None:
    thief = thief_with(field, Role.TIMESTAMP)
    timestamp = load(thief.good, Timestamp)
    timestamp.version = version
    metadata_file(thief.good, timestamp).write_bytes(thief.press.sign(timestamp))
    rig = field.rig
    is_turned_away(rig, thief.good, "metadata-malformed")
    runs(rig, RUNNING)

    # The office cures the device as it always does.
    rotate(field, Hands({Role.TIMESTAMP: [key(field, "timestamp")]}))
    field.release(NEXT)
    assert rig.update(field.stick("cures", "gw")).rest is Rest.IDLE
    runs(rig, NEXT)


@attack(
    By.STOLEN_KEY,
    On.TRUST,
    "a stolen snapshot key lists other metadata",
    "the timestamp names the snapshot by its digest; once rotated, the key signs nothing",
)
def test_stolen_snapshot_key_alone_does_nothing_and_is_rotated(field: Field) -> None:
    thief = thief_with(field, Role.SNAPSHOT)

    def forge(mount: Path) -> Path:
        snapshot = load(mount, Snapshot)
        snapshot.meta["targets.json"] = MetaFile(HIGH)
        metadata_file(mount, snapshot).write_bytes(thief.press.sign(snapshot))
        return mount

    rig = field.rig
    is_turned_away(rig, forge(thief.good), "metadata-mixed")
    rotate(field, Hands({Role.SNAPSHOT: [key(field, "snapshot")]}))
    assert rig.update(field.stick("cures", "gw")).rest is Rest.IDLE
    runs(rig, OFFERED)
    field.release(NEXT)
    is_turned_away(rig, forge(field.stick("newest", "gw")), "metadata-mixed")


@pytest.fixture
def three(field: Field) -> Field:
    """Return a field whose root has three keys outside the repository, two of which must sign."""
    shutil.rmtree(field.repo)
    names = {name: key(field, name) for name in ("root1", "root2", "root3")}
    root = [f"{path}.pub" for path in names.values()]
    made, _ = office.create(field.repo, field.now, Hands({Role.ROOT: root}, {Role.ROOT: 2}))
    assert sign(field, "root1", "root2")
    assert made.metadata.root() is not None
    field.release(OFFERED)
    shutil.rmtree(field.good)
    field.stick("good", "gw")
    shutil.rmtree(field.rig.folder)
    field.device("gw-1")
    return field


def sign(field: Field, *names: str) -> bool:
    """Sign with root keys, and tell whether everything is whole then."""
    return sessions.sign(field.office, field.now, extra=[str(field.folder / f"{name}.pem") for name in names]).missing == ()


def public(field: Field, *names: str) -> list[str]:
    return [str(field.folder / f"{name}.pem.pub") for name in names]


@attack(
    By.STOLEN_KEY,
    On.TRUST,
    "one of three root keys is stolen with all online keys",
    "a root needs its threshold; the others replace the stolen key, and the next stick brings that",
)
def test_stolen_root_key_under_the_threshold_is_replaced_by_the_others(three: Field) -> None:
    thief = thief_with(three, *Role)
    shutil.copy(three.folder / "root1.pem", thief.repo / "keys" / "root.pem")

    def theirs_alone(root: Root) -> None:
        stolen = thief.press.signer("root").public_key
        root.add_key(stolen, Role.ROOT)
        root.roles[Role.ROOT].threshold = 1
        root.roles[Role.ROOT].keyids = [stolen.keyid]

    thief.press.root(thief.good, theirs_alone, "root")
    rig = three.rig
    is_turned_away(rig, thief.good, "metadata-signature")
    assert rig.record().root.version == 1

    three_new = (*public(three, "root2", "root3"), f"{key(three, 'root4')}.pub")
    office.rotate(three.office, three.now, Hands({Role.ROOT: three_new}))
    assert sign(three, "root2", "root3")
    assert rig.update(three.stick("cures", "gw")).rest is Rest.IDLE
    assert rig.record().root.version == 2
    # With a second key of those that were retired the old threshold would be met, and counts no more.
    shutil.copy(three.folder / "root3.pem", thief.repo / "keys" / "second.pem")
    again = three.stick("again", "gw")
    thief.press.root(again, theirs_alone, "root", "second")
    is_turned_away(rig, again, "metadata-signature")
    assert rig.record().root.version == 2


@attack(
    By.STOLEN_KEY,
    On.TRUST,
    "root keys that were all retired sign another root",
    "only the keys of the newest root count on a device that has seen it",
)
def test_retired_root_keys_sign_no_root_any_more(three: Field) -> None:
    thief = three.copy(three.folder.with_name("thief"))
    for name in ("root1", "root2"):
        shutil.copy(three.folder / f"{name}.pem", thief.repo / "keys" / f"{name}.pem")
    new = [f"{key(three, name)}.pub" for name in ("new1", "new2", "new3")]
    office.rotate(three.office, three.now, Hands({Role.ROOT: new}))
    assert sign(three, "root1", "root2", "new1", "new2")
    rig = three.rig
    rig.update(three.stick("newer", "gw"))
    for mount, reason in ((three.stick("after", "gw"), "metadata-signature"), (thief.good, "metadata-mixed")):
        thief.press.root(mount, lambda root: None, "root1", "root2")
        is_turned_away(rig, mount, reason)
    assert rig.record().root.version == 2


@attack(
    By.SIGNER,
    On.SLOT,
    "one of the signers publishes alone after the threshold was raised",
    "the next stick brings the new threshold, and one signature is not enough any more",
)
def test_raised_threshold_counts_as_soon_as_any_newer_stick_was_seen(field: Field) -> None:
    alone = field.copy(field.folder.with_name("alone"))
    two = [str(field.repo / "keys/targets.pem"), key(field, "second")]
    rotate(field, Hands({Role.TARGETS: two}, {Role.TARGETS: 2}))
    rig = field.rig
    assert rig.update(field.stick("raises", "gw")).rest is Rest.IDLE
    runs(rig, OFFERED)
    field.release(NEXT)
    newest = field.stick("newest", "gw")
    alone.press.publish(newest)
    is_turned_away(rig, newest, "metadata-signature")


# --- Lost ------------------------------------------------------------------------------------------------------------


@attack(By.CHANCE, On.SERVICE, "all keys of a role are lost", "root names others, and the next stick brings them")
@pytest.mark.parametrize("role", [Role.TARGETS, Role.SNAPSHOT, Role.TIMESTAMP])
def test_lost_keys_of_a_role_are_replaced_and_the_next_stick_is_taken(role: Role, field: Field) -> None:
    (field.repo / "keys" / f"{role}.pem").unlink()
    rotate(field, Hands({role: [key(field, "new")]}))
    field.release(NEXT)
    rig = field.rig
    assert rig.update(field.stick("next", "gw")).rest is Rest.IDLE
    runs(rig, NEXT)


@attack(By.CHANCE, On.SERVICE, "a root key is lost", "the others are enough to replace it")
def test_lost_root_key_is_replaced_by_those_that_are_left(three: Field) -> None:
    (three.folder / "root3.pem").unlink()
    left = (*public(three, "root1", "root2"), f"{key(three, 'root4')}.pub")
    office.rotate(three.office, three.now, Hands({Role.ROOT: left}))
    assert sign(three, "root1", "root2")
    # And the new key does the work of the lost one.
    office.rotate(three.office, three.now, Hands({Role.TARGETS: [key(three, "targets")]}))
    assert sign(three, "root2", "root4")
    three.release(NEXT)
    rig = three.rig
    assert rig.update(three.stick("next", "gw")).rest is Rest.IDLE
    runs(rig, NEXT)
    assert rig.record().root.version == 3


@attack(
    By.CHANCE,
    On.SERVICE,
    "more root keys are lost than the threshold bears",
    "the other roles go on under the last root until it ends; a root that nobody can sign stops nothing",
)
def test_lost_root_stops_rotation_and_nothing_else(three: Field) -> None:
    office.rotate(three.office, three.now, Hands({Role.ROOT: [f"{key(three, 'new')}.pub"]}, {Role.ROOT: 1}))
    assert not sign(three, "root1", "new")
    three.release(NEXT)
    rig = three.rig
    assert rig.update(three.stick("next", "gw")).rest is Rest.IDLE
    runs(rig, NEXT)
    assert rig.record().root.version == 1
