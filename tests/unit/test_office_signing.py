"""Thresholds over separate sessions, rotation, refreshing: what is published is what enough people signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Role as KeysOfRole

from tests.matrix import By, On, attack
from tests.office import NOW, Bench, open_bench
from usbupdate.errors import (
    NoOfficeError,
    OfficeClockError,
    OfficeExistsError,
    OfficeFileError,
    SameKeyTwiceError,
    ThresholdError,
    UnusableValueError,
    UselessKeyError,
)
from usbupdate.packager import keys, office, sessions, settings, thresholds, upkeep
from usbupdate.packager.keys import no_passphrase
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands, Office

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return open_bench(tmp_path)


@pytest.fixture
def board(tmp_path: Path) -> Bench:
    """An office in which two of three people sign root and targets; bob and carol are never at this computer."""
    people = [str(tmp_path / f"{name}.pem") for name in ("alice", "bob", "carol")]
    for path in people:
        keys.create(tmp_path / path)
    for name in ("bob", "carol"):
        (tmp_path / f"{name}.pem").rename(tmp_path / f"{name}-at-home.pem")
    known = [people[0], f"{people[1]}.pub", f"{people[2]}.pub"]
    hands = Hands({Role.ROOT: known, Role.TARGETS: known}, {Role.ROOT: 2, Role.TARGETS: 2})
    made, _ = office.create(tmp_path / "repo", NOW, hands)
    return Bench(tmp_path, made)


def roles(missing: tuple[thresholds.Missing, ...]) -> list[str]:
    return [str(each.role) for each in missing]


def test_an_office_for_one_person_is_complete_at_once(bench: Bench) -> None:
    folder = bench.office.metadata
    assert thresholds.missing(folder) == ()
    root = folder.root()
    assert root is not None
    assert root.signed.consistent_snapshot
    assert root.signed.unrecognized_fields["x-usbupdate-time"] == "2026-11-23T12:00:00Z"
    assert {role: (root.signed.roles[role].threshold, len(root.signed.roles[role].keyids)) for role in Role} == dict.fromkeys(
        Role, (1, 1)
    )
    timestamp = folder.timestamp()
    assert timestamp is not None
    assert timestamp.signed.unrecognized_fields["x-usbupdate-time"] == "2026-11-23T12:00:00Z"
    lives = {role: (upkeep.check(bench.office, NOW).roles[number].days_left) for number, role in enumerate(Role)}
    assert lives == {Role.ROOT: 1825, Role.TARGETS: 730, Role.SNAPSHOT: 365, Role.TIMESTAMP: 365}


def test_lifetimes_are_the_owners(tmp_path: Path) -> None:
    made, _ = office.create(tmp_path / "repo", NOW, lifetimes={Role.TIMESTAMP: 30})
    assert upkeep.check(made, NOW).roles[3].days_left == 30
    with pytest.raises(UnusableValueError):
        office.create(tmp_path / "other", NOW, lifetimes={Role.TIMESTAMP: 0})


def test_nothing_is_published_before_enough_people_have_signed(board: Bench) -> None:
    assert board.office.metadata.root() is None
    assert roles(thresholds.missing(board.office.metadata)) == ["root", "targets"]
    missing = sessions.sign(board.office, NOW, extra=[str(board.folder / "bob-at-home.pem")]).missing
    assert missing == ()
    assert board.office.metadata.timestamp() is not None


def test_a_second_signature_of_the_same_person_does_not_count(board: Bench) -> None:
    missing = sessions.sign(board.office, NOW, extra=[str(board.folder / "alice.pem")]).missing
    assert roles(missing) == ["root", "targets"]
    assert [each.needed for each in missing] == [1, 1]


def test_an_edit_drops_the_signatures_that_were_given(board: Bench) -> None:
    bob = [str(board.folder / "bob-at-home.pem")]
    sessions.sign(board.office, NOW, extra=bob)
    offer = board.release(1)
    assert not offer.bundle.published
    assert roles(offer.missing) == ["targets"]
    board.release(2)
    waiting = board.office.metadata.staged_targets()
    assert waiting is not None
    assert sorted(waiting.signed.targets) == ["gw-1.json", "gw-2.json"]
    assert len(waiting.signatures) == 1
    assert sessions.sign(board.office, NOW, extra=bob).missing == ()
    published = board.office.metadata.targets()
    assert published is not None
    assert sorted(published.signed.targets) == ["gw-1.json", "gw-2.json"]


def test_what_is_signed_is_shown_before(board: Bench) -> None:
    sessions.sign(board.office, NOW, extra=[str(board.folder / "bob-at-home.pem")])
    assert sessions.changes(board.office) == ()
    offer = board.release(1)
    text = "\n".join(change.text for change in sessions.changes(board.office))
    assert f"+ gw-1.json, sha256 {offer.bundle.sha256}" in text


def test_a_list_that_other_people_have_to_sign_again_is_shown_before(board: Bench) -> None:
    bob, dave = [str(board.folder / "bob-at-home.pem")], board.key("dave")
    offer = board.release(1)
    assert sessions.sign(board.office, NOW, extra=bob).missing == ()
    (board.folder / "dave.pem").rename(board.folder / "dave-at-home.pem")
    office.rotate(board.office, NOW, Hands({Role.TARGETS: [f"{dave}.pub"]}, {Role.TARGETS: 1}))
    assert board.office.metadata.staged_targets() is None
    shown = [change.text for change in sessions.changes(board.office) if change.role is Role.TARGETS]
    assert shown[0] == "version 2, the same 1 target for other people to sign"
    assert shown[1] == f"  = gw-1.json, sha256 {offer.bundle.sha256}"
    assert any(text.startswith("      image of rootfs: ") for text in shown)

    visit = sessions.sign(board.office, NOW, extra=[*bob, str(board.folder / "dave-at-home.pem")])
    assert visit.missing == ()
    targets = board.office.metadata.targets()
    assert targets is not None
    assert (targets.signed.version, list(targets.signed.targets)) == (2, ["gw-1.json"])
    assert set(targets.signatures) == {keys.public_key(f"{dave}.pub", no_passphrase).keyid}


def test_a_list_to_sign_again_whose_manifest_is_gone_is_shown_all_the_same(board: Bench) -> None:
    board.release(1)
    sessions.sign(board.office, NOW, extra=[str(board.folder / "bob-at-home.pem")])
    office.rotate(board.office, NOW, Hands({Role.TARGETS: [f"{board.key('dave')}.pub"]}, {Role.TARGETS: 1}))
    (manifest,) = (board.office.path / "targets").iterdir()
    manifest.unlink()
    assert "  = gw-1.json, whose manifest cannot be read" in [change.text for change in sessions.changes(board.office)]


@attack(
    By.NETWORK,
    On.OFFICE,
    "the published list of bundles is exchanged, and a root that names its signer waits beside it",
    "a list that was not shown is not signed",
)
def test_a_list_that_was_not_shown_is_not_signed(board: Bench) -> None:
    board.release(1)
    sessions.sign(board.office, NOW, extra=[str(board.folder / "bob-at-home.pem")])
    mallory = keys.public_key(board.key("mallory"), no_passphrase)
    signer = keys.open_signer(board.key("mallory"), mallory, no_passphrase)
    root, targets = board.office.metadata.root(), board.office.metadata.targets()
    assert root is not None
    assert targets is not None
    assert signer is not None
    root.signed.version += 1
    root.signed.roles[Role.TARGETS] = KeysOfRole([], 1)
    root.signed.add_key(mallory, Role.TARGETS)
    root.signatures.clear()
    board.office.metadata.stage(root)
    targets.signed.targets["gw-9.json"] = targets.signed.targets["gw-1.json"]
    targets.sign(signer)
    board.office.metadata.publish(targets)

    # The threshold of root still wants somebody else, so the published root goes on saying whose list counts.
    shown = [change.role for change in sessions.changes(board.office)]
    visit = sessions.sign(board.office, NOW)
    assert Role.TARGETS not in shown
    assert {role for role, _ in visit.added} <= set(shown)
    assert board.office.metadata.staged_targets() is None


def test_a_forged_signature_is_not_counted_and_not_kept(board: Bench) -> None:
    path = board.office.path / "staged" / "root.json"
    waiting = board.office.metadata.staged_root()
    assert waiting is not None
    (alice,) = waiting.signatures.values()
    other = next(each for each in waiting.signed.roles["root"].keyids if each != alice.keyid)
    path.write_bytes(path.read_bytes().replace(alice.keyid.encode(), other.encode(), 1))
    assert roles(sessions.sign(board.office, NOW).missing) == ["root", "targets"]


def test_a_key_that_nobody_asked_for_is_told_so(board: Bench) -> None:
    with pytest.raises(UselessKeyError):
        sessions.sign(board.office, NOW, extra=[board.key("mallory")])


@pytest.mark.parametrize("threshold", [0, 2])
def test_a_threshold_that_cannot_be_met_is_refused_and_makes_nothing(tmp_path: Path, threshold: int) -> None:
    with pytest.raises(ThresholdError):
        office.create(tmp_path / "repo", NOW, Hands(thresholds={Role.ROOT: threshold}))
    assert not (tmp_path / "repo").exists()


def test_one_person_cannot_stand_for_two(tmp_path: Path) -> None:
    keys.create(tmp_path / "alice.pem")
    twice = [str(tmp_path / "alice.pem"), str(tmp_path / "alice.pem.pub")]
    with pytest.raises(SameKeyTwiceError):
        office.create(tmp_path / "repo", NOW, Hands({Role.ROOT: twice}, {Role.ROOT: 2}))


def test_one_public_key_under_two_key_ids_is_refused(bench: Bench) -> None:
    root = bench.office.metadata.root()
    assert root is not None
    key = root.signed.keys[root.signed.roles["root"].keyids[0]]
    root.signed.add_key(SSlibKey("0" * 64, key.keytype, key.scheme, {"public": key.keyval["public"].upper()}), "root")
    with pytest.raises(SameKeyTwiceError):
        office.require_distinct_keys(root.signed)


def test_a_repository_is_never_made_over_something_else(bench: Bench) -> None:
    with pytest.raises(OfficeExistsError):
        office.create(bench.office.path, NOW)
    with pytest.raises(NoOfficeError):
        Office.open(bench.folder)


def test_rotation_is_signed_by_the_old_and_the_new_root_keys(bench: Bench) -> None:
    new = bench.key("new")
    (bench.folder / "new.pem").rename(bench.folder / "new-at-home.pem")
    changed, missing = office.rotate(bench.office, NOW, Hands({Role.ROOT: [f"{new}.pub"]}))
    assert roles(missing) == ["root"]
    assert changed.metadata.versions(Role.ROOT) == (1,)
    assert sessions.sign(changed, NOW, extra=[str(bench.folder / "new-at-home.pem")]).missing == ()
    assert changed.metadata.versions(Role.ROOT) == (1, 2)


def test_rotating_targets_signs_the_same_list_again(bench: Bench) -> None:
    bench.release(1)
    changed, missing = office.rotate(bench.office, NOW, Hands({Role.TARGETS: [bench.key("new")]}))
    assert missing == ()
    targets = changed.metadata.targets()
    assert targets is not None
    assert list(targets.signed.targets) == ["gw-1.json"]
    assert set(targets.signatures) == {keys.public_key(bench.key("new"), no_passphrase).keyid}


def test_timestamp_and_snapshot_change_hands_together(bench: Bench) -> None:
    before = bench.office.metadata.root()
    changed, missing = office.rotate(bench.office, NOW, Hands({Role.TIMESTAMP: [bench.key("new")]}))
    after = changed.metadata.root()
    assert missing == ()
    assert before is not None
    assert after is not None
    for role in (Role.TIMESTAMP, Role.SNAPSHOT):
        assert not set(before.signed.roles[role].keyids) & set(after.signed.roles[role].keyids)
    assert before.signed.roles["targets"].keyids == after.signed.roles["targets"].keyids


def test_rotation_with_nothing_named_replaces_every_key_in_the_repository(bench: Bench) -> None:
    before = bench.office.metadata.root()
    changed, missing = office.rotate(bench.office, NOW, Hands())
    after = changed.metadata.root()
    assert missing == ()
    assert before is not None
    assert after is not None
    assert not set(before.signed.keys) & set(after.signed.keys)


def test_a_new_threshold_keeps_the_keys(board: Bench) -> None:
    sessions.sign(board.office, NOW, extra=[str(board.folder / "bob-at-home.pem")])
    changed, _ = office.rotate(board.office, NOW, Hands(thresholds={Role.ROOT: 3}))
    assert [(each.role, each.needed) for each in thresholds.missing(changed.metadata)] == [(Role.ROOT, 2)]
    people = [str(board.folder / f"{name}-at-home.pem") for name in ("bob", "carol")]
    assert sessions.sign(changed, NOW, extra=people).missing == ()


def test_refreshing_renews_the_timestamp_and_never_targets(bench: Bench) -> None:
    later = NOW + timedelta(days=30)
    assert upkeep.refresh(bench.office, later) == ()
    states = {state.role: state for state in upkeep.check(bench.office, later).roles}
    assert (states[Role.TIMESTAMP].version, states[Role.TIMESTAMP].days_left) == (2, 365)
    assert states[Role.SNAPSHOT].version == 1
    assert states[Role.TARGETS].version == 1


def test_refreshing_renews_a_snapshot_whose_end_comes_near(bench: Bench) -> None:
    later = NOW + timedelta(days=200)
    upkeep.refresh(bench.office, later)
    states = {state.role: state for state in upkeep.check(bench.office, later).roles}
    assert (states[Role.SNAPSHOT].version, states[Role.SNAPSHOT].days_left) == (2, 365)
    assert states[Role.TARGETS].version == 1


def test_a_clock_behind_what_was_signed_signs_nothing(bench: Bench) -> None:
    with pytest.raises(OfficeClockError):
        upkeep.refresh(bench.office, NOW - timedelta(seconds=1))
    assert upkeep.check(bench.office, NOW).roles[3].version == 1


def test_a_clock_that_was_far_ahead_once_is_cured_by_rotating(bench: Bench) -> None:
    upkeep.refresh(bench.office, NOW + timedelta(days=4000))
    with pytest.raises(OfficeClockError):
        upkeep.refresh(bench.office, NOW)
    changed, missing = office.rotate(bench.office, NOW, Hands({Role.TIMESTAMP: [bench.key("new")]}))
    assert missing == ()
    assert upkeep.refresh(changed, NOW) == ()


def test_a_cut_between_two_publications_is_made_good_by_the_next_command(bench: Bench) -> None:
    bench.release(1)
    folder = bench.office.path / "metadata"
    (folder / "2.snapshot.json").unlink()
    assert roles(thresholds.missing(bench.office.metadata)) == ["snapshot", "timestamp"]
    assert upkeep.refresh(bench.office, NOW) == ()


def test_damaged_metadata_end_in_a_sentence(bench: Bench) -> None:
    (bench.office.path / "metadata" / "1.root.json").write_bytes(b"{")
    with pytest.raises(OfficeFileError):
        upkeep.check(bench.office, NOW)


def test_keys_stay_where_they_are_when_the_repository_moves(bench: Bench) -> None:
    outside = bench.key("outside")
    changed, _ = office.rotate(bench.office, NOW, Hands({Role.TARGETS: [outside]}))
    changed.path.rename(bench.folder / "moved")
    moved = Office.open(bench.folder / "moved")
    assert upkeep.refresh(moved, NOW) == ()
    assert all(key.within_reach for state in upkeep.check(moved, NOW).roles for key in state.keys)


def test_settings_come_back_as_they_were(bench: Bench) -> None:
    assert settings.decode(settings.encode(bench.office.settings)) == bench.office.settings
    raw = settings.encode(bench.office.settings)
    (bench.office.path / "office.json").write_bytes(raw[:-1] + b',"x":1}')
    with pytest.raises(OfficeFileError):
        Office.open(bench.office.path)


def test_the_checkup_says_how_many_keys_may_be_lost(board: Bench) -> None:
    states = {state.role: state for state in upkeep.check(board.office, NOW).roles}
    assert states[Role.ROOT].losable == 1
    assert [key.within_reach for key in states[Role.ROOT].keys] == [True, False, False]
    assert states[Role.ROOT].expires is None
    assert any("targets" not in line for line in upkeep.check(replace(board, now=NOW).office, NOW).advice) is False
