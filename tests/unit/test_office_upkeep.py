"""What keeps an office alive: what ends when, what to do next, and lists of bundles that are renewed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Metadata

from tests.office import NOW, Bench, open_bench
from usbupdate.packager import keys, office, upkeep
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands

if TYPE_CHECKING:
    from pathlib import Path

    from securesystemslib.signer import Key


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return open_bench(tmp_path)


def advice(bench: Bench) -> str:
    return " ".join(upkeep.check(bench.office, bench.now).advice)


def test_the_checkup_says_what_sticks_are_good_for_and_what_is_next(bench: Bench) -> None:
    found = upkeep.check(bench.office, NOW)
    assert found.first_to_end is not None
    assert found.first_to_end.role in {Role.SNAPSHOT, Role.TIMESTAMP}
    assert found.next_renewal is not None
    assert found.next_renewal[1].startswith("2027-08-2")
    assert [state.stealable for state in found.roles] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("days", "role", "command"),
    [(300, "timestamp", "repo refresh'"), (600, "targets", "repo refresh --targets'"), (1500, "root", "repo rotate'")],
)
def test_the_checkup_names_the_command_that_renews_what_ends(days: int, role: str, command: str, bench: Bench) -> None:
    assert f"{role} ends" not in advice(bench)
    bench.now += timedelta(days=days)
    assert f"{role} ends in" in advice(bench)
    assert command in advice(bench)
    bench.now += timedelta(days=400)
    assert f"{role} HAS ENDED" in advice(bench)


def test_renewing_a_list_gives_it_a_new_end_and_nothing_else(bench: Bench) -> None:
    bench.release(1)
    before = bench.office.metadata.targets()
    later = NOW + timedelta(days=500)
    assert upkeep.renew_targets(bench.office, later) == ()
    after = bench.office.metadata.targets()
    assert before is not None
    assert after is not None
    assert (after.signed.version, after.signed.targets) == (before.signed.version + 1, before.signed.targets)
    assert after.signed.expires == later + timedelta(days=730)


def test_a_list_that_waits_is_signed_and_not_proposed_again(bench: Bench) -> None:
    absent = bench.key("absent")
    bench.office, _ = office.rotate(bench.office, NOW, Hands({Role.TARGETS: [f"{absent}.pub"]}))
    for _ in range(2):
        missing = upkeep.renew_targets(bench.office, NOW)
        assert [(each.role, each.needed) for each in missing] == [(Role.TARGETS, 1)]
        waiting = bench.office.metadata.staged_targets()
        assert waiting is not None
        assert waiting.signed.version == 2


def test_a_key_for_root_and_for_daily_work_is_warned_of(tmp_path: Path) -> None:
    bench = open_bench(tmp_path)
    both = bench.key("both")
    bench.office, _ = office.rotate(bench.office, NOW, Hands({Role.ROOT: [both], Role.TARGETS: [both]}))
    assert "signs for root and for targets" in advice(bench)


def test_a_list_that_is_signed_and_not_published_is_not_called_whole(bench: Bench) -> None:
    published = bench.office.metadata.targets()
    assert published is not None
    again = published.signed
    again.version += 1
    signer = keys.open_signer(str(bench.office.path / "keys/targets.pem"), root_key(bench, Role.TARGETS), keys.no_passphrase)
    assert signer is not None
    waiting = Metadata(again)
    waiting.sign(signer)
    bench.office.metadata.stage(waiting)
    found = upkeep.check(bench.office, NOW)
    assert [each.role for each in found.missing] == [Role.SNAPSHOT, Role.TIMESTAMP]
    assert "run 'usbupdate repo sign'" in advice(bench)


def root_key(bench: Bench, role: Role) -> Key:
    root = bench.office.metadata.root()
    assert root is not None
    return root.signed.keys[root.signed.roles[role].keyids[0]]


def test_a_signature_that_does_not_verify_is_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other, genuine = CryptoSigner.generate_ed25519(), CryptoSigner.sign

    def spoilt(signer: CryptoSigner, payload: bytes) -> Signature:
        return Signature(signer.public_key.keyid, genuine(other, payload).signature)

    monkeypatch.setattr(CryptoSigner, "sign", spoilt)
    missing = upkeep.refresh(bench.office, NOW + timedelta(days=1))
    assert [each.role for each in missing] == [Role.TIMESTAMP]
    assert "does not verify" in missing[0].unopened[0].problem
    waiting = bench.office.metadata.staged_timestamp()
    assert waiting is not None
    assert waiting.signatures == {}
