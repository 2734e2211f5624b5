"""Which of the two files counts that a cut may have left of one file of a log."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.matrix import By, On, attack
from tests.receipts import acknowledgement, chain, checkpoint_over, device
from usbupdate.core import acknowledged, checkpoint, identity as identity_form
from usbupdate.core.acknowledged import Acknowledged
from usbupdate.core.layout import ACKNOWLEDGED, CHECKPOINT, IDENTITY, RECEIPTS, SUMMARY
from usbupdate.core.logparts import begins_another_history, counts_instead, is_whole, whole_size
from usbupdate.core.merkle import GrowingTree, leaf_hash

OWN, SIGNER = device("gw-0001")
LINES = chain(4)
OTHERS = chain(4, "gw-0002")
SECTOR = 512


def log_of(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


WHOLE = log_of(LINES)
SHORTER = log_of(LINES[:2])
SPLICED = LINES[2][: 3 * SECTOR] + OTHERS[2][3 * SECTOR :]
"""In form, for logs of one build have lines of one length; signed by nobody."""


def test_receipts_are_whole_as_far_as_they_are_in_form_and_name_each_other() -> None:
    assert whole_size(WHOLE, OWN, 0) == len(WHOLE)
    assert whole_size(WHOLE[:-1], OWN, 0) == len(log_of(LINES[:3]))
    assert whole_size(SHORTER + bytes(700) + b"\n", OWN, 0) == len(SHORTER)
    assert whole_size(SHORTER + log_of(OTHERS[2:]), OWN, 0) == len(SHORTER)
    assert whole_size(log_of([LINES[0], LINES[2]]), OWN, 0) == len(LINES[0]) + 1
    assert whole_size(b"\n" * 1000, OWN, 0) == whole_size(b"", OWN, 0) == 0


def test_a_last_line_that_was_put_together_from_two_is_told_by_its_signature() -> None:
    torn = log_of([*LINES[:2], SPLICED])
    assert whole_size(torn, None, 0) == len(torn)
    assert whole_size(torn, OWN, 0) == len(SHORTER)
    assert whole_size(log_of([SPLICED]), OWN, 0) == 0


@pytest.mark.parametrize(
    ("count", "lines", "expected"),
    [
        (2, [*LINES[:1], *LINES[2:]], 3),
        (1, [*LINES[:1], *LINES[2:]], 1),
        (3, [LINES[0], LINES[3]], 2),
        (2, [LINES[0], LINES[3]], 1),
        (4, [*LINES[:2], chain(3, text="another history")[2]], 2),
        (4, [LINES[1], LINES[0]], 1),
        (4, [LINES[0], LINES[0]], 1),
        (0, LINES[2:], 2),
    ],
)
def test_what_is_accounted_for_elsewhere_may_be_lacking_between_whole_lines(
    count: int, lines: list[bytes], expected: int
) -> None:
    assert whole_size(log_of(lines), OWN, count) == len(log_of(lines[:expected]))


def test_a_file_from_which_lines_may_be_lacking_is_not_torn_there() -> None:
    lacking, part = log_of([LINES[0], *LINES[2:]]), LINES[0] + b"\n"
    assert not counts_instead(RECEIPTS, lacking, part, OWN, 2)
    assert counts_instead(RECEIPTS, lacking, part, OWN, 1)


@given(st.binary(max_size=3000))
def test_any_bytes_behind_whole_lines_make_them_no_longer_and_no_shorter(rest: bytes) -> None:
    size = whole_size(SHORTER + rest, OWN, 0)
    assert size == len(SHORTER) or (SHORTER + rest)[:size] == WHOLE[:size]


@pytest.mark.parametrize(
    ("contents", "part", "expected"),
    [
        (None, WHOLE, True),
        (None, WHOLE[:700], True),
        (SHORTER, WHOLE, False),
        (SHORTER, b"torn", False),
        (WHOLE, SHORTER, False),
        (SHORTER + bytes(900), WHOLE, True),
        (SHORTER + bytes(900), SHORTER, True),
        (SHORTER + bytes(900), log_of(LINES[:1]), False),
        (SHORTER + bytes(900), log_of(OTHERS), False),
        (log_of([*LINES[:2], SPLICED]), WHOLE, True),
        (b"", WHOLE, False),
        (bytes(900), WHOLE, True),
        (bytes(900), b"", True),
    ],
)
def test_of_receipts_the_other_file_counts_only_where_the_one_in_its_place_is_torn(
    contents: bytes | None, part: bytes, expected: bool
) -> None:
    assert counts_instead(RECEIPTS, contents, part, OWN, 0) is expected


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        (IDENTITY, identity_form.encode(OWN)),
        (CHECKPOINT, checkpoint_over(LINES, OWN, SIGNER)),
        (ACKNOWLEDGED, acknowledged.encode(Acknowledged(acknowledgement(LINES), GrowingTree(map(leaf_hash, LINES)).subtrees))),
    ],
)
def test_of_small_files_the_one_counts_that_is_whole(name: str, whole: bytes) -> None:
    torn = whole[:-20] + bytes(20)
    assert is_whole(name, whole, OWN)
    assert is_whole(name, whole, None)
    assert [counts_instead(name, contents, whole, OWN, 0) for contents in (None, b"", torn, whole)] == [True, True, True, False]
    assert not any(counts_instead(name, contents, torn, OWN, 0) for contents in (None, torn, whole))


@attack(
    By.CHANCE,
    On.RECORD,
    "a checkpoint that was half written over an older one: the text of one, the signature of the other",
    "the other file counts, which is whole, and nobody is accused",
)
def test_a_checkpoint_put_together_from_two_is_told_by_its_signature() -> None:
    older, newer = checkpoint_over(LINES[:3], OWN, SIGNER), checkpoint_over(LINES, OWN, SIGNER)
    assert len(older) == len(newer)
    mixed = newer[: len(newer) // 2] + older[len(newer) // 2 :]
    assert checkpoint.peek_unproven(mixed) == checkpoint.peek_unproven(newer)
    assert not is_whole(CHECKPOINT, mixed, OWN)
    assert counts_instead(CHECKPOINT, mixed, newer, OWN, 0)
    assert not any(counts_instead(CHECKPOINT, contents, mixed, OWN, 0) for contents in (None, b"torn", newer))
    # Without knowing whose it is, nobody can tell.
    assert is_whole(CHECKPOINT, mixed, None)


def test_what_only_a_newer_version_can_read_is_not_torn() -> None:
    assert is_whole(ACKNOWLEDGED, b'{"format":2}\n', OWN)


def test_of_what_is_for_people_nothing_is_told() -> None:
    assert not is_whole(SUMMARY, b"text", OWN)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (chain(2, text="another history"), True),
        (chain(1, text="another history"), True),
        (chain(3, key="another key"), True),
        (OTHERS, False),
        ([LINES[1], LINES[2]], False),
        ([SPLICED, OTHERS[3]], False),
        ([SPLICED, LINES[3]], False),
        ([b"\0" * 700, *chain(2, text="another history")], False),
        (chain(5)[4:], True),
        ([], False),
    ],
    ids=[
        *("ours otherwise", "one of ours", "another key", "another device"),
        *("moved", "spliced", "spliced once", "torn", "longer", "none"),
    ],
)
def test_only_other_receipts_in_the_devices_name_are_another_history(rows: list[bytes], expected: bool) -> None:
    assert begins_another_history(log_of(rows), WHOLE, OWN) is expected
