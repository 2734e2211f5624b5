from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, strategies as st

from tests.receipts import chain
from usbupdate.core.words import ReceiptId
from usbupdate.device.ledgerfile import encode_record, records
from usbupdate.errors import LedgerError

LINES = chain(3)
RECORDS = [encode_record(ReceiptId(f"{number:032x}"), line) for number, line in enumerate(LINES)]
FILE = b"".join(RECORDS)


def lines_in(raw: bytes) -> list[bytes]:
    return [record.line for record in records(BytesIO(raw))]


def test_records_are_read_as_they_were_written() -> None:
    read = list(records(BytesIO(FILE)))
    assert [record.line for record in read] == LINES
    assert [record.id for record in read] == [f"{number:032x}" for number in range(3)]
    assert read[-1].end == len(FILE)


@given(st.integers(0, len(FILE)))
def test_a_file_that_ends_early_holds_the_records_before(size: int) -> None:
    assert lines_in(FILE[:size]) == LINES[: FILE[:size].count(b"\n")]


@given(st.integers(0, len(FILE) - 1), st.integers(0, 7))
def test_a_changed_bit_is_damage_unless_it_is_in_the_last_record(position: int, bit: int) -> None:
    raw = bytearray(FILE)
    raw[position] ^= 1 << bit
    if position >= len(FILE) - len(RECORDS[-1]):
        assert lines_in(bytes(raw)) == LINES[:2]
    else:
        with pytest.raises(LedgerError):
            lines_in(bytes(raw))


@given(st.binary(max_size=400))
def test_any_bytes_behind_the_last_record_are_a_torn_append(rest: bytes) -> None:
    assert lines_in(FILE + rest) == LINES


@given(st.integers(1, 3), st.binary(min_size=1, max_size=50))
def test_bytes_between_records_are_damage(before: int, rest: bytes) -> None:
    raw = b"".join(RECORDS[:before]) + rest + b"".join(RECORDS[before:])
    if before == len(RECORDS):
        assert lines_in(raw) == LINES
    else:
        with pytest.raises(LedgerError, match=f"record {before + 1} is damaged"):
            lines_in(raw)


def test_much_behind_the_last_record_is_no_torn_append() -> None:
    with pytest.raises(LedgerError, match="record 4 is damaged"):
        lines_in(FILE + b"\x00" * (1 << 20))
