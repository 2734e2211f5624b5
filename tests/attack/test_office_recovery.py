"""What a thief of keys can do to devices, and how the office takes it back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from tests.matrix import By, On, attack
from tests.office import NOW, Bench, open_bench
from usbupdate.core import trust
from usbupdate.core.timefloor import ClockReading
from usbupdate.errors import RejectedError
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import bundle, keys, office
from usbupdate.packager.keys import no_passphrase
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.trust import Trusted

HIGH = 1_000_000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = open_bench(tmp_path)
    made.release(1)
    return made


def insert(bench: Bench, mount: Path) -> Trusted:
    """Insert a stick into the one device of these tests, which has no clock of its own."""
    folder = bench.folder / "device"
    folder.mkdir(exist_ok=True)
    return trust.refresh(TrustFiles(folder), bench.root, DirectoryMedium(mount), ClockReading(utc=NOW, trusted=False))


def stolen(bench: Bench, role: Role) -> CryptoSigner:
    path = str(bench.office.path / "keys" / f"{role}.pem")
    signer = keys.open_signer(path, keys.public_key(path, no_passphrase), no_passphrase)
    assert isinstance(signer, CryptoSigner)
    return signer


def forge(bench: Bench, mount: Path) -> None:
    """Drive the versions of snapshot and timestamp high, and the time far ahead, with their stolen keys."""
    folder = mount / "usbupdate" / "metadata"
    (old,) = folder.glob("*.snapshot.json")
    snapshot = Metadata[Snapshot].from_file(str(old))
    snapshot.signed.version = HIGH
    timestamp = Metadata[Timestamp].from_file(str(folder / "timestamp.json"))
    timestamp.signed.version = HIGH
    timestamp.signed.snapshot_meta.version = HIGH
    timestamp.signed.snapshot_meta.hashes = None
    timestamp.signed.snapshot_meta.length = None
    timestamp.signed.expires = NOW + timedelta(days=720)
    timestamp.signed.unrecognized_fields["x-usbupdate-time"] = "2028-06-01T00:00:00Z"
    snapshot.signed.expires = NOW + timedelta(days=720)
    snapshot.sign(stolen(bench, Role.SNAPSHOT))
    (folder / f"{HIGH}.snapshot.json").write_bytes(snapshot.to_bytes())
    timestamp.sign(stolen(bench, Role.TIMESTAMP))
    (folder / "timestamp.json").write_bytes(timestamp.to_bytes())


@attack(
    By.STOLEN_KEY,
    On.SERVICE,
    "stolen online keys sign the far future",
    "two commands of the office cure every device by the next stick",
)
def test_versions_driven_high_and_a_time_far_ahead_are_cured_by_rotating_timestamp_and_snapshot(bench: Bench) -> None:
    forged = bench.stick("forged")
    forge(bench, forged)
    assert insert(bench, forged).timestamp_version == HIGH

    # The honest office is locked out of that device as long as the stolen keys count.
    bench.release(2)
    assert insert(bench, bench.stick("honest", "gw")).newer_than_medium

    bench.office, missing = office.rotate(bench.office, NOW, Hands({Role.TIMESTAMP: [bench.key("new")]}))
    assert missing == ()
    cured = insert(bench, bench.stick("cured"))
    assert not cured.newer_than_medium
    assert cured.floor == "2026-11-23T12:00:00Z"
    assert "gw-2.json" in cured.targets

    # And the thief's stick has lost its power.
    assert insert(bench, forged).timestamp_version < HIGH


@attack(By.OLD_STICK, On.SLOT, "sticks that nobody can call back", "any newer stick brings the withdrawal")
def test_a_withdrawal_carried_by_any_newer_stick_counts_for_all_older_ones(bench: Bench) -> None:
    bench.release(2)
    older = bench.stick("older")
    assert "gw-2.json" in insert(bench, older).targets
    bundle.withdraw(bench.office, "gw", 2, NOW)
    assert "gw-2.json" not in insert(bench, bench.stick("newer")).targets
    judged = insert(bench, older)
    assert judged.newer_than_medium
    assert "gw-2.json" not in judged.targets


@attack(By.STOLEN_KEY, On.TRUST, "stolen targets keys sign a root", "only root keys sign roots")
def test_a_root_of_stolen_targets_keys_is_not_enough(bench: Bench) -> None:
    mount = bench.stick()
    root = bench.office.metadata.root()
    assert root is not None
    root.signed.version = 2
    root.signatures.clear()
    root.sign(stolen(bench, Role.TARGETS))
    (mount / "usbupdate" / "metadata" / "2.root.json").write_bytes(root.to_bytes())
    with pytest.raises(RejectedError):
        insert(bench, mount)
