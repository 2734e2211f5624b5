"""Answers, proofs and figures: what an inspector is told, from verdicts alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.fleet import RELEASES, life
from tests.receipts import device, draft
from usbupdate.audit.answers import answers, running
from usbupdate.audit.depth import Checked
from usbupdate.audit.devices import Trust
from usbupdate.audit.findings import Finding, Flaw
from usbupdate.audit.fleet import LEADING_VERSIONS, MONTHS_SHOWN, OTHERS, UNKNOWN, Fleet
from usbupdate.audit.proof import LABELS, WORDS, Proof, Proofs
from usbupdate.audit.unread import spans
from usbupdate.audit.verdict import Standing, Verdict
from usbupdate.core.receipt import NO_PREVIOUS, Check, CheckResult, ClockQuality, Draft, Event, Problem, Receipt, Release

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
OLD, NEW = RELEASES[1:3]


def verdict_of(drafts: Sequence[Draft], *findings: tuple[Flaw, int | None], name: str = "gw-0001", seen: int = 0) -> Verdict:
    identity = device(name)[0]
    standing = Standing.BROKEN if findings else Standing.OK
    return Verdict(
        device=identity.device,
        standing=standing,
        trust=Trust.FINGERPRINT,
        fingerprint=identity.fingerprint,
        receipts=tuple(Receipt(identity.device, number, NO_PREVIOUS, each) for number, each in enumerate(drafts, 1)),
        seen=seen,
        sources=("stick",),
        findings=tuple(Finding(name, flaw, "stick", receipt) for flaw, receipt in findings),
        count=len(drafts),
        last_event=drafts[-1].event if drafts else None,
        checked=Checked(by_contents=len(drafts)),
    )


def at(wall: str, event: Event, before: Release | None, after: Release | None, clock: str = "system") -> Draft:
    base = draft(1, event)
    moment = replace(base.moment, wall=f"{wall}T10:00:00Z", clock=ClockQuality(clock))
    return replace(base, moment=moment, before=before, after=after)


LIFE = (
    at("2026-01-01", Event.PROVISIONED, None, OLD),
    at("2026-02-01", Event.REJECTED, OLD, None),
    at("2026-03-01", Event.COMMITTED, OLD, NEW),
    at("2026-04-01", Event.CHECK_FAILED, NEW, RELEASES[3]),
)


def texts(verdict: Verdict) -> list[str]:
    return [each.text for each in answers(verdict)]


def test_a_device_runs_what_it_committed_last_since_then() -> None:
    what, since, who, refused, missing = texts(verdict_of(LIFE))
    assert what == "Version 1.2 (sequence 3), as receipt 4 says."
    assert since == "It has run since 2026-03-01 10:00 UTC, as receipt 3 says."
    assert who == f"The release office, with the key {'ab' * 8}…, as named by version 1 of its root."
    assert refused.startswith(
        "Yes: sticks were rejected once; on 2026-02-01 10:00 UTC. Besides installing did not succeed once; on"
    )
    assert missing == "No: receipts 1 to 4 are all here, and the device's signed checkpoint covers them."
    assert {each.proof for each in answers(verdict_of(LIFE))} == {Proof.PROVEN}


def test_a_device_that_was_only_set_up_says_so() -> None:
    what, since, who, refused, _ = texts(verdict_of([replace(LIFE[0], trust=None)]))
    assert what.startswith("Version 1.1")
    assert since.startswith("It was set up with it 2026-01-01")
    assert who == "It came with the device when that was set up; no stick brought it."
    assert refused == "No: no stick was refused and every installation succeeded."


def test_a_device_that_fell_back_runs_what_it_fell_back_to() -> None:
    fell = at("2026-05-01", Event.FELL_BACK, NEW, OLD)
    state = running(verdict_of([*LIFE[:3], fell]).receipts)
    assert (state.release, state.since and state.since.number) == (OLD, 4)


def test_the_beginning_is_not_told_where_the_receipt_of_it_is_missing() -> None:
    what, since, who, *_ = texts(verdict_of(LIFE[3:]))
    assert what.startswith("Version 1.2")
    assert (since, who) == ("No receipt that is here says so.",) * 2


def test_a_device_without_receipts_answers_nothing() -> None:
    found = answers(verdict_of([], (Flaw.RECEIPTS_MISSING, None)))
    assert [each.proof for each in found] == [*[Proof.NONE] * 4, Proof.FOUND]


def test_an_older_copy_is_said_to_be_one_in_each_answer() -> None:
    what, since, who, refused, missing = answers(verdict_of(LIFE, seen=9))
    lead = "As of receipt 4 (5 more were seen): "
    assert what.text == lead + "version 1.2 (sequence 3), as receipt 4 says."
    assert since.text.startswith(lead + "it has run since ")
    assert who.text.startswith(lead + "the release office")
    lack = "Receipts 5 to 9 are not here, and you have seen them: bring the store (--store) to answer for that."
    assert "Yes: sticks were rejected at least once;" in refused.text
    assert refused.text.endswith(lack)
    assert missing.text.endswith(f"This is an older copy, though: you have seen 9. {lack}")
    assert missing.proof is Proof.PARTLY
    refused = answers(verdict_of(LIFE[:1], seen=9))[3]
    assert refused.text.startswith("Not in receipt 1: no stick was refused")
    assert refused.proof is Proof.PARTLY


@pytest.mark.parametrize(("flaw", "receipt"), [(Flaw.CHAIN, 4), (Flaw.CHECKPOINT_MISSING, None), (Flaw.MISSING, 5)])
def test_counts_are_at_least_so_many_where_something_was_found(flaw: Flaw, receipt: int | None) -> None:
    refused = texts(verdict_of(LIFE, (flaw, receipt)))[3]
    assert "rejected at least once" in refused
    assert "did not succeed at least once" in refused


def test_no_is_no_further_than_to_where_the_log_is_known_to_go() -> None:
    refused = answers(verdict_of(LIFE[:1], (Flaw.CHECKPOINT_MISSING, None)))[3]
    assert refused.text.startswith("Not in receipt 1: ")
    assert refused.proof is Proof.PARTLY
    assert texts(verdict_of(LIFE, (Flaw.MISSING, 5)))[0].startswith("As of receipt 4 (1 more is missing): ")


@pytest.mark.parametrize(
    ("numbers", "told"),
    [([], ""), ([7], "7"), ([1, 2, 3, 9], "1 to 3 and 9"), ([2, 4, 6, 7], "2, 4 and 6 to 7"), ([1, 2], "1 to 2")],
)
def test_numbers_are_told_in_runs(numbers: list[int], told: str) -> None:
    assert spans(numbers) == told


def test_what_is_missing_is_named_by_its_numbers() -> None:
    assert texts(verdict_of(LIFE, (Flaw.MISSING, 2)))[4] == "Yes: receipt 2 is not here."
    assert "the checkpoint is missing" in texts(verdict_of(LIFE, (Flaw.CHECKPOINT_MISSING, None)))[4]


@pytest.mark.parametrize(
    ("flaw", "receipt", "questioned"),
    [
        (Flaw.SIGNATURE, 2, [2]),
        (Flaw.FORKED, 3, [3, 4]),
        (Flaw.SEEN_OTHERWISE, 2, [2, 3, 4]),
        (Flaw.KEY_CHANGED, None, [1, 2, 3, 4]),
        (Flaw.CHECKPOINT_MISSING, None, []),
    ],
)
def test_a_finding_puts_in_question_what_it_speaks_of(flaw: Flaw, receipt: int | None, questioned: list[int]) -> None:
    proofs = Proofs(verdict_of(LIFE, (flaw, receipt)))
    assert [number for number in range(1, 5) if proofs.of(number) is Proof.QUESTIONED] == questioned


@pytest.mark.parametrize(
    ("trust", "proof"),
    [(Trust.FINGERPRINT, Proof.PROVEN), (Trust.FIRST_USE, Proof.FIRST_USE), (None, Proof.NOT_ENROLLED)],
)
def test_nothing_is_proven_by_a_key_that_nobody_compared(trust: Trust | None, proof: Proof) -> None:
    assert {each.proof for each in answers(replace(verdict_of(LIFE), trust=trust))} == {proof}


def test_every_state_of_proof_has_its_words() -> None:
    assert set(WORDS) == set(LABELS) == set(Proof)
    assert len(set(LABELS.values())) == len(Proof)


def fleet_of(*verdicts: Verdict) -> Fleet:
    fleet = Fleet()
    for each in verdicts:
        fleet.add(each)
    return fleet


def test_versions_over_time_count_each_device_once_a_month() -> None:
    other = [at("2026-03-15", Event.PROVISIONED, None, OLD)]
    months, series = fleet_of(verdict_of(LIFE), verdict_of(other, name="gw-0002")).versions_over_time(NOW)
    assert (months[0], months[-1], len(months)) == ("2026-01", "2026-11", 11)
    assert dict(series) == {"1.1": [1, 1, *[1] * 9], "1.2": [0, 0, *[1] * 9]}


def test_times_beyond_all_reason_do_not_stretch_the_chart() -> None:
    strange = [at("0001-01-01", Event.PROVISIONED, None, OLD), at("9999-12-31", Event.COMMITTED, OLD, NEW)]
    fleet = fleet_of(verdict_of(strange))
    months, series = fleet.versions_over_time(NOW)
    assert len(months) == MONTHS_SHOWN
    assert {label: (counts[0], counts[-1]) for label, counts in series} == {"1.1": (1, 0), "1.2": (0, 1)}
    assert sum(count for _, count in fleet.heard(NOW)) == 1


def test_many_versions_are_told_together_beyond_the_leading_ones() -> None:
    verdicts = [
        verdict_of([at("2026-01-01", Event.PROVISIONED, None, Release(f"1.{number}", number, {}))], name=f"gw-{number:04}")
        for number in range(1, 20)
    ]
    _, series = fleet_of(*verdicts).versions_over_time(NOW)
    assert len(series) == LEADING_VERSIONS + 1
    assert series[-1][0] == OTHERS
    assert sum(counts[-1] for _, counts in series) == 19


def test_receipts_in_question_count_for_nothing() -> None:
    fleet = fleet_of(verdict_of(LIFE, (Flaw.CHAIN, 2)))
    assert fleet.failures == []
    assert fleet.rows[0].release == OLD
    assert [label for label, _ in fleet.versions_over_time(NOW)[1]] == ["1.1"]


def test_failures_are_counted_by_reason_the_most_frequent_first() -> None:
    failed = [replace(LIFE[1], problem=Problem(reason, "")) for reason in ("b", "a", "b", *map(str, range(20)))]
    failures = fleet_of(verdict_of(failed)).failures
    assert failures[0] == ("b", 2)
    assert failures[-1] == (OTHERS, 14)


def test_a_failed_check_is_counted_by_its_name_and_not_by_its_exit_code() -> None:
    check = Check("10-network", CheckResult.FAILED, "exit-1", "no carrier")
    failed = replace(LIFE[1], event=Event.CHECK_FAILED, checks=(check,), problem=Problem("exit-1", "no carrier"))
    assert fleet_of(verdict_of([failed])).failures == [("check 10-network", 1)]


def test_the_newest_release_is_the_newest_that_any_device_has_heard_of() -> None:
    fleet = fleet_of(verdict_of(LIFE[:3]), verdict_of(LIFE, name="gw-0002"), verdict_of(life(7), name="gw-0003"))
    assert fleet.newest() == {"gateway": RELEASES[4]}
    assert [fleet.is_newest(row) for row in fleet.rows][:2] == [False, False]


@pytest.mark.parametrize(
    ("wall", "clock", "label"),
    [
        ("2026-10-20", "system", "within 30 days"),
        ("2026-08-20", "system", "within 90 days"),
        ("2025-01-01", "system", "longer ago"),
        ("2030-01-01", "system", "within 30 days"),
        ("2026-10-20", "floor", UNKNOWN),
    ],
)
def test_a_device_is_heard_of_when_its_newest_receipt_says(wall: str, clock: str, label: str) -> None:
    fleet = fleet_of(verdict_of([at(wall, Event.PROVISIONED, None, OLD, clock)]))
    assert [each for each, count in fleet.heard(NOW) if count] == [label]
