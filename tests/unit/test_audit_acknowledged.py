"""Logs that begin behind what the office has acknowledged: what they prove alone, with others, and with the office's word."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from tests.receipts import acknowledgement, acknowledger, chain, device, write_log
from usbupdate.audit import wording
from usbupdate.audit.answers import answers
from usbupdate.audit.asked import Asked
from usbupdate.audit.copies import find_copies
from usbupdate.audit.depth import Depth
from usbupdate.audit.devices import Devices, Enrolment, Trust
from usbupdate.audit.findings import Flaw
from usbupdate.audit.proof import LABELS
from usbupdate.audit.received import received
from usbupdate.audit.unread import KnownBy, Unread
from usbupdate.audit.verdict import Standing, verify
from usbupdate.core import acknowledged, checkpoint, cosignature, merkle
from usbupdate.core.acknowledged import Acknowledged

if TYPE_CHECKING:
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.cosignature import Cosigner

IDENTITY, SIGNER = device("gw-0001")
NAMED = (acknowledger()[0],)
LINES = chain(12)


@dataclass(frozen=True, slots=True)
class Desk:
    """An auditor's table: sticks in folders, and what he has seen."""

    top: Path

    @property
    def devices(self) -> Devices:
        return Devices(self.top / "devices")

    def whole(self, count: int, name: str = "whole") -> Path:
        write_log(self.top / name / "usbupdate/logs/gw-0001", count)
        return self.top / name

    def later(self, begin: int, count: int = 12, *, to: int | None = None, name: str = "later", by: str = "office") -> Path:
        """Return a stick whose log lacks the receipts up to `begin`, which were acknowledged, or those up to `to`."""
        log = write_log(self.top / name / "usbupdate/logs/gw-0001", count)
        (log / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in LINES[begin:count]))
        known = LINES[: begin if to is None else to]
        tree = merkle.GrowingTree(map(merkle.leaf_hash, known))
        (log / "acknowledged").write_bytes(acknowledged.encode(Acknowledged(acknowledgement(known, by=by), tree.subtrees)))
        return self.top / name

    def verdict(self, *places: Path, named: tuple[Cosigner, ...] = (), depth: Depth = Depth.CONTENTS) -> Verdict:
        (verdict,) = verify(find_copies(places), self.devices, depth, Asked(named=named))
        return verdict


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.devices.save(Enrolment(IDENTITY, Trust.FINGERPRINT))
    return desk


def flaws(verdict: Verdict) -> list[tuple[Flaw, int | None, int | None]]:
    return [(each.flaw, each.receipt, each.until) for each in verdict.findings]


@pytest.mark.parametrize("depth", Depth)
def test_with_the_receipts_before_it_is_as_if_all_were_there(desk: Desk, depth: Depth) -> None:
    verdict = desk.verdict(desk.later(8), desk.whole(8), depth=depth)
    assert (verdict.standing, verdict.findings) == (Standing.OK, ())
    assert verdict.count == 12
    if depth is not Depth.QUICK:
        assert [each.number for each in verdict.receipts] == list(range(1, 13))
    known = desk.devices.get(IDENTITY.device)
    assert known is not None
    assert known.leaves == tuple(map(merkle.leaf_hash, LINES))


@pytest.mark.parametrize("depth", Depth)
def test_what_was_seen_before_accounts_for_it_too(desk: Desk, depth: Depth) -> None:
    assert desk.verdict(desk.whole(9)).standing is Standing.OK
    verdict = desk.verdict(desk.later(8), depth=depth)
    assert (verdict.standing, verdict.count, verdict.findings) == (Standing.OK, 12, ())


def test_logs_that_begin_later_and_later_are_joined(desk: Desk) -> None:
    places = (desk.later(9, 12, name="c"), desk.later(4, 9, name="b"), desk.whole(4, "a"))
    verdict = desk.verdict(*places)
    assert (verdict.standing, [each.number for each in verdict.receipts]) == (Standing.OK, list(range(1, 13)))


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
def test_in_an_archive_it_begins_later_too(desk: Desk, form: str) -> None:
    archive = Path(shutil.make_archive(str(desk.top / "returned"), form, desk.later(8)))
    verdict = desk.verdict(archive, desk.whole(8))
    assert (verdict.standing, verdict.count, verdict.findings) == (Standing.OK, 12, ())


@attack(
    By.TECHNICIAN,
    On.RECORD,
    "receipts are cut off at the beginning, and a note of his own says that they were acknowledged",
    "they are missing, unless they were seen before or a key that the office names says so",
)
def test_without_anybody_who_knows_them_they_are_missing(desk: Desk) -> None:
    for named in ((), (acknowledger("somebody else")[0],)):
        verdict = desk.verdict(desk.later(8), named=named)
        assert (verdict.standing, flaws(verdict)) == (Standing.BROKEN, [(Flaw.BEGINS_LATER, 1, 8)])
        (sentence,) = [each.sentence() for each in verdict.findings]
        assert "receipts 1 to 8: it is not here: the log begins later" in sentence
        assert "use --store to look at what is kept, or --repo to have that word checked" in sentence
        assert told(verdict)["Is anything missing?"][0].startswith("Yes: receipts 1 to 8: it is not here: the log begins later")


def test_a_word_that_does_not_agree_with_the_checkpoint_explains_nothing(desk: Desk) -> None:
    stick = desk.later(8)
    other = chain(8, text="another history")
    tree = merkle.GrowingTree(map(merkle.leaf_hash, other))
    file = stick / "usbupdate/logs/gw-0001/acknowledged"
    file.write_bytes(acknowledged.encode(Acknowledged(acknowledgement(other), tree.subtrees)))
    assert flaws(desk.verdict(stick)) == [(Flaw.MISSING, 1, 8)]


@pytest.mark.parametrize("depth", Depth)
def test_the_word_of_a_named_key_is_a_notice_and_the_root_is_compared_all_the_same(desk: Desk, depth: Depth) -> None:
    verdict = desk.verdict(desk.later(8), named=NAMED, depth=depth)
    assert (verdict.standing, verdict.flaws) == (Standing.OK, ())
    (notice,) = verdict.findings
    assert (notice.flaw, notice.receipt, notice.until) == (Flaw.KEPT_AT_OFFICE, 1, 8)
    assert "receipts 1 to 8: it need not be here" in notice.sentence()
    assert "kept since 2026-03-01, says office" in notice.sentence()
    known = desk.devices.get(IDENTITY.device)
    assert known is not None
    assert known.leaves == ()


@attack(
    By.TECHNICIAN,
    On.RECORD,
    "a receipt is taken out behind what the office has acknowledged",
    "subtrees and lines do not give the signed root, and its number is missing",
)
@pytest.mark.parametrize("gone", [8, 9, 11])
def test_what_is_taken_out_behind_the_acknowledged_is_missing(desk: Desk, gone: int) -> None:
    stick = desk.later(8)
    path = stick / "usbupdate/logs/gw-0001/receipts.jsonl"
    path.write_bytes(b"".join(line + b"\n" for number, line in enumerate(LINES) if number >= 8 and number != gone))
    for named in (NAMED, ()):
        verdict = desk.verdict(stick, desk.whole(8), named=named)
        assert (Flaw.MISSING, gone + 1, gone + 1) in flaws(verdict)
    assert (Flaw.MISSING, gone + 1, gone + 1) in flaws(desk.verdict(stick, named=NAMED))


@attack(
    By.STOLEN_KEY,
    On.RECORD,
    "with an acknowledger's key, a history that this device never had is vouched for",
    "the subtrees must be those under the checkpoint that the device signed",
)
def test_a_thief_of_an_acknowledgers_key_cannot_vouch_for_another_history(desk: Desk) -> None:
    stick = desk.later(8)
    other = chain(8, text="another history")
    tree = merkle.GrowingTree(map(merkle.leaf_hash, other))
    file = stick / "usbupdate/logs/gw-0001/acknowledged"
    text = checkpoint.sign(IDENTITY, 8, tree.root(), device("a thief")[1])
    cosigner, signer = acknowledger()
    note = cosignature.cosign(text, cosigner, 1, signer)
    file.write_bytes(acknowledged.encode(Acknowledged(note, tree.subtrees)))
    assert Flaw.CHECKPOINT_ROOT in {each.flaw for each in desk.verdict(stick, named=NAMED).findings}
    assert flaws(desk.verdict(stick, desk.whole(8), named=NAMED)) == [(Flaw.MISSING, 1, 8)]


def test_two_histories_that_the_device_signed_are_told(desk: Desk) -> None:
    stick = desk.later(8)
    other = chain(8, text="another history")
    tree = merkle.GrowingTree(map(merkle.leaf_hash, other))
    file = stick / "usbupdate/logs/gw-0001/acknowledged"
    file.write_bytes(acknowledged.encode(Acknowledged(acknowledgement(other), tree.subtrees)))
    assert (Flaw.ACKNOWLEDGED_OTHERWISE, 1, 8) in flaws(desk.verdict(stick, desk.whole(8)))


def test_a_log_without_receipts_behind_what_is_acknowledged_is_whole(desk: Desk) -> None:
    verdict = desk.verdict(desk.later(12), desk.whole(12))
    assert (verdict.standing, verdict.count) == (Standing.OK, 12)
    assert desk.verdict(desk.later(12), named=NAMED).standing is Standing.OK


def test_lines_before_a_gap_of_acknowledged_receipts_are_no_flaw(desk: Desk) -> None:
    stick = desk.later(8)
    path = stick / "usbupdate/logs/gw-0001/receipts.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in (*LINES[:3], *LINES[8:])))
    for verdict in (desk.verdict(stick, named=NAMED), desk.verdict(stick, desk.whole(8))):
        assert (verdict.standing, verdict.flaws) == (Standing.OK, ())


def test_a_cut_between_acknowledgement_and_receipts_is_incomplete(desk: Desk) -> None:
    # The newer note is there already, and the checkpoint is still the one from before.
    stick = desk.later(4, 7, to=10)
    verdict = desk.verdict(stick, desk.whole(10))
    assert (verdict.standing, {each.flaw for each in verdict.findings}) == (Standing.INCOMPLETE, {Flaw.CHECKPOINT_BEHIND})


@pytest.mark.parametrize("contents", [b"", b"{}\n", b"\xff"])
def test_what_is_no_account_is_told(desk: Desk, contents: bytes) -> None:
    stick = desk.later(8)
    (stick / "usbupdate/logs/gw-0001/acknowledged").write_bytes(contents)
    assert Flaw.ACKNOWLEDGED_MALFORMED in {each.flaw for each in desk.verdict(stick, desk.whole(8)).findings}


def test_an_account_of_another_device_is_told(desk: Desk) -> None:
    stick = desk.later(8)
    other = chain(8, "gw-0002")
    tree = merkle.GrowingTree(map(merkle.leaf_hash, other))
    file = stick / "usbupdate/logs/gw-0001/acknowledged"
    file.write_bytes(acknowledged.encode(Acknowledged(acknowledgement(other, "gw-0002"), tree.subtrees)))
    assert Flaw.ACKNOWLEDGED_MALFORMED in {each.flaw for each in desk.verdict(stick, desk.whole(8)).findings}


def test_only_what_is_all_at_hand_is_called_received(desk: Desk) -> None:
    later, whole = desk.later(8), desk.whole(8)
    places = find_copies([later, whole])
    (found,) = received(places, list(verify(places, desk.devices)), desk.devices)
    assert (len(found.leaves), checkpoint.peek_unproven(found.note).size) == (12, 12)
    places = find_copies([later])
    assert list(received(places, list(verify(places, desk.devices)), desk.devices)) == []


def told(verdict: Verdict) -> dict[str, tuple[str, str]]:
    return {each.question: (each.text, LABELS[each.proof]) for each in answers(verdict)}


def test_what_is_known_by_its_digest_only_answers_nothing(desk: Desk) -> None:
    desk.verdict(desk.whole(8))
    verdict = desk.verdict(desk.later(8))
    assert verdict.unread == (Unread(1, 8, KnownBy.DIGEST),)
    lack = "Receipts 1 to 8 are not here (their digests agree with what you have seen before): bring the store (--store)"
    found = told(verdict)
    text, label = found["Was anything refused?"]
    assert text.startswith("Not in receipts 9 to 12: no stick was refused and every installation succeeded. " + lack)
    assert label == "proven of what is here"
    text, label = found["Is anything missing?"]
    assert text.startswith(lack)
    assert (label, "all here" in text) == ("proven of what is here", False)
    assert found["What runs on it?"][1] == "proven"


def test_with_the_store_everything_is_told_again(desk: Desk) -> None:
    stick, whole = desk.later(8), desk.whole(8)
    for verdict in (desk.verdict(stick, whole), desk.verdict(stick, whole)):
        assert verdict.unread == ()
        assert told(verdict)["Was anything refused?"] == (
            "No: no stick was refused and every installation succeeded.",
            "proven",
        )
        assert told(verdict)["Is anything missing?"][0].startswith("No: receipts 1 to 12 are all here")


@pytest.mark.parametrize("depth", Depth)
def test_a_log_without_lines_says_that_nothing_of_it_is_here(desk: Desk, depth: Depth) -> None:
    desk.verdict(desk.whole(12))
    verdict = desk.verdict(desk.later(12), depth=depth)
    assert verdict.unread == (Unread(1, 12, KnownBy.DIGEST),)
    found = told(verdict)
    assert {label for question, (_, label) in found.items() if question != "Is anything missing?"} == {"not proven"}
    assert all("eceipts 1 to 12 are not here" in text for text, _ in found.values())
    assert found["Is anything missing?"][1] == "proven of what is here"


def test_what_the_office_keeps_by_its_word_answers_nothing_either(desk: Desk) -> None:
    verdict = desk.verdict(desk.later(8), named=NAMED)
    assert verdict.unread == (Unread(1, 8, KnownBy.WORD),)
    found = told(verdict)
    assert found["Was anything refused?"][0].startswith("Not in receipts 9 to 12: ")
    assert found["Is anything missing?"][0].startswith("Receipts 1 to 8 are not here (by the office's word they are kept)")
    assert "proven" not in {label for _, label in (found["Was anything refused?"], found["Is anything missing?"])}


def test_what_nothing_accounts_for_answers_nothing_either(desk: Desk) -> None:
    text, label = told(desk.verdict(desk.later(8)))["Was anything refused?"]
    assert text.startswith("Not in receipts 9 to 12: ")
    assert label == "in question"


def test_in_a_log_with_a_gap_only_the_gap_is_unread(desk: Desk) -> None:
    stick = desk.later(8)
    path = stick / "usbupdate/logs/gw-0001/receipts.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in (*LINES[:3], *LINES[8:])))
    desk.verdict(desk.whole(8))
    verdict = desk.verdict(stick)
    assert verdict.unread == (Unread(4, 8, KnownBy.DIGEST),)
    assert told(verdict)["Was anything refused?"][0].startswith("Not in receipts 1 to 3 and 9 to 12: ")


def test_a_newer_log_by_the_offices_word_is_told_before_an_older_one(desk: Desk) -> None:
    verdict = desk.verdict(desk.whole(3), desk.later(8), named=NAMED)
    assert [each.number for each in verdict.receipts][-1] == 12
    assert "all here" not in told(verdict)["Is anything missing?"][0]


@pytest.mark.parametrize("depth", Depth)
def test_a_line_about_a_device_says_how_many_receipts_are_not_here(desk: Desk, depth: Depth) -> None:
    desk.verdict(desk.whole(8))
    (line, *_) = wording.told([desk.verdict(desk.later(8), depth=depth).bare()], (), depth)
    assert "12 receipts in 1 copy, 1 to 8: not here, known by their digests" in line


def test_a_timeline_shows_where_receipts_are_not_here(desk: Desk) -> None:
    desk.verdict(desk.whole(8))
    verdict = desk.verdict(desk.later(8))
    _, first, second, *_ = wording.timelines([verdict])
    assert first == "    1 to 8: not here, known by their digests"
    assert second.split()[0] == "9"
    assert wording.timeline_table(verdict)["not_here"] == [{"receipt": 1, "until": 8, "known_by": "digest"}]
