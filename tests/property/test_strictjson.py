from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, example, given, strategies as st

from usbupdate.core import strictjson
from usbupdate.core.strictjson import DEPTH_MAX, Fields, Json, decode, encode
from usbupdate.core.words import SEQUENCE_MAX
from usbupdate.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

LIMIT = 1 << 20
ANYTHING = re.compile(r".*", re.DOTALL)

CLEAN_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t"), max_size=20)
SCALARS: st.SearchStrategy[Json] = st.none() | st.booleans() | st.integers(-SEQUENCE_MAX, SEQUENCE_MAX) | CLEAN_TEXT
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(CLEAN_TEXT, inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(CLEAN_TEXT, VALUES, max_size=5)


def _depth(value: Json) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0


def _rejects(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(raw, "document", limit=LIMIT)


@given(OBJECTS)
def test_what_is_encoded_is_read_back(table: dict[str, Json]) -> None:
    raw = encode(table)
    if _depth(table) > DEPTH_MAX:
        _rejects(raw)
        return
    assert decode(raw, "document", limit=LIMIT)._table == table


@given(OBJECTS)
def test_encoding_has_one_form(table: dict[str, Json]) -> None:
    raw = encode(table)
    assert encode(dict(reversed(table.items()))) == raw
    assert raw.isascii()
    assert b"\n" not in raw
    assert json.loads(raw) == table


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbf{}")
@example(b"\xff\xfe{\x00}\x00")
@example(b'{"a":"\xed\xa0\x80"}')
@example(b"")
def test_arbitrary_bytes_end_in_fields_or_in_malformed(raw: bytes) -> None:
    try:
        fields = decode(raw, "document", limit=LIMIT)
    except MalformedError:
        return
    assert isinstance(json.loads(raw), dict)
    assert set(fields.names()) == set(json.loads(raw))


@given(st.text(st.sampled_from('{}[]":,\\ \n01e.-+truefalsnNaIity\x00\ud800é'), max_size=60))
def test_near_json_ends_in_fields_or_in_malformed(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    try:
        decode(raw, "document", limit=LIMIT)
    except MalformedError:
        return
    assert isinstance(json.loads(raw), dict)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"o":{"a":1,"b":2,"a":3}}',
        b'{"l":[{"a":1,"a":1}]}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-0.0}',
        b'{"a":1E400}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":' + b"9" * 401 + b"}",
        b'{"a":1' + b"0" * 400 + b"}",
        b'{"a":' + b"9" * 100_000 + b"}",
        b'{"a":-' + b"9" * 100_000 + b"}",
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":0x10}',
        b'{"a":1} // comment',
        b'{"a":"tab\tinside"}',
        b'{"a":"nul\x00inside"}',
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"",
        b" ",
        b"{",
        b'{"',
        b'{"a',
        b'{"\\ud800":1}',
        b'{"\\u0000":1}',
        b'{"\\u001b[31m":1}',
    ],
    ids=range(42),
)
def test_what_other_readers_forgive_is_malformed(raw: bytes) -> None:
    _rejects(raw)


@pytest.mark.parametrize(
    "escape", [r"\ud800", r"\udfff", r"\ud800x", r"\udc00\ud800", r"\u0000", r"\u0007", r"\u001b", r"\u007f", r"\u009b", r"\r"]
)
def test_surrogates_and_control_characters_are_malformed_in_text(escape: str) -> None:
    fields = decode(b'{"a":"' + escape.encode() + b'"}', "document", limit=LIMIT)
    with pytest.raises(MalformedError):
        fields.free_text("a", limit=100)


def test_a_pair_of_surrogates_is_one_character() -> None:
    fields = decode(b'{"a":"\\ud83d\\ude00"}', "document", limit=LIMIT)
    assert fields.free_text("a", limit=1) == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":"' + b"[" * 100_000 + b'","b":' + b"[" * 100_000,
        b'{"a":' + b'"[",' * 100_000,
        b'"' + b'\\"' * 500_000,
        b'{"a":"' + b"\\" * 1_000_000,
        b'{"a":"' + b'\\"[' * 300_000,
        b'"' * 1_000_000,
        b'{"a":"' + b"x" * 1_000_000,
        b"\\" * 1_000_000,
        b"{" + b" " * 1_000_000 + b"}x",
        b"-" * 1_000_000,
        b'{"a":[' + b"1," * 500_000,
    ],
    ids=range(15),
)
def test_hostile_shapes_are_malformed_without_taking_time(raw: bytes) -> None:
    started = time.process_time()
    _rejects(raw)
    # Quadratic behaviour would take minutes; a slow machine takes well under a second.
    assert time.process_time() - started < 3


def test_depth_is_taken_up_to_its_bound_and_no_further() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    decode(nested(DEPTH_MAX), "document", limit=LIMIT)
    _rejects(nested(DEPTH_MAX + 1))


@given(st.text(st.sampled_from('[]{}\\"x'), max_size=50))
def test_brackets_in_strings_do_not_count_as_depth(text: str) -> None:
    raw = json.dumps({"a": text}).encode()
    assert strictjson._measure(raw)[0] == 1
    assert decode(raw, "document", limit=LIMIT).text("a", ANYTHING) == text


def test_more_strings_and_brackets_than_any_office_signs_are_refused_before_a_parser_sees_them() -> None:
    decode(b'{"a":[' + b"[]," * (strictjson.TOKENS_MAX // 2 - 10) + b"[]]}", "document", limit=5_000_000)
    _rejects(b'{"a":[' + b"[]," * (strictjson.TOKENS_MAX // 2) + b"[]]}")


def test_size_is_bounded_before_anything_is_looked_at() -> None:
    raw = encode({"a": "x" * 92})
    decode(raw, "document", limit=len(raw))
    with pytest.raises(MalformedError, match="larger than"):
        decode(raw, "document", limit=len(raw) - 1)


@given(st.integers(-(10**20), 10**20))
def test_integers_are_exact_or_malformed(number: int) -> None:
    raw = b'{"n":%d}' % number
    try:
        assert decode(raw, "document", limit=LIMIT).integer("n", -SEQUENCE_MAX, SEQUENCE_MAX) == number
    except MalformedError:
        assert abs(number) > SEQUENCE_MAX


GETTERS: dict[str, Callable[[Fields], object]] = {
    "text": lambda fields: fields.text("f", ANYTHING),
    "free_text": lambda fields: fields.free_text("f", limit=100),
    "digest": lambda fields: fields.digest("f"),
    "integer": lambda fields: fields.integer("f", 0, 9),
    "flag": lambda fields: fields.flag("f"),
    "inner": lambda fields: fields.inner("f"),
    "objects": lambda fields: list(fields.objects("f", limit=3)),
    "texts": lambda fields: fields.texts("f", ANYTHING, limit=3),
}


def _fits(getter: str, value: Json) -> bool:
    match getter:
        case "text" | "free_text":
            return isinstance(value, str)
        case "digest":
            return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9
        case "flag":
            return isinstance(value, bool)
        case "inner":
            return isinstance(value, dict)
        case "objects":
            return isinstance(value, list) and len(value) <= 3 and all(isinstance(each, dict) for each in value)
        case _:
            return (
                isinstance(value, list)
                and len(value) <= 3
                and all(isinstance(each, str) for each in value)
                and len(set(map(str, value))) == len(value)
            )


@given(st.sampled_from(sorted(GETTERS)), VALUES)
@example("integer", True)
@example("flag", 1)
@example("digest", "A" * 64)
@example("digest", "0" * 64)
@example("digest", "0" * 64 + "\n")
@example("texts", ["a", "a"])
@example("objects", [{}, {}, {}, {}])
def test_a_field_is_of_its_type_or_malformed(getter: str, value: Json) -> None:
    fields = decode(encode({"f": value}), "document", limit=LIMIT)
    if _fits(getter, value):
        GETTERS[getter](fields)
        fields.done()
    else:
        with pytest.raises(MalformedError):
            GETTERS[getter](fields)


@pytest.mark.parametrize("getter", sorted(GETTERS))
def test_a_missing_field_is_named_with_its_place(getter: str) -> None:
    outer = decode(b'{"outer":{"list":[{}]}}', "document", limit=LIMIT)
    (innermost,) = outer.inner("outer").objects("list", limit=1)
    with pytest.raises(MalformedError) as caught:
        GETTERS[getter](innermost)
    assert caught.value.field == "outer.list[0].f"
    assert caught.value.problem == "missing"


@given(OBJECTS)
def test_a_field_that_nobody_asked_for_is_malformed(table: dict[str, Json]) -> None:
    assume(_depth(table) < DEPTH_MAX)
    fields = decode(encode({"shallow": table, "extra": 1}), "document", limit=LIMIT)
    fields.inner("shallow")
    with pytest.raises(MalformedError, match="unknown field"):
        fields.done()


def test_null_is_absent_for_an_optional_field_and_wrong_for_any_other() -> None:
    fields = decode(b'{"f":null}', "document", limit=LIMIT)
    assert not fields.has("f")
    fields.done()
    with pytest.raises(MalformedError):
        fields.text("f", ANYTHING)


@pytest.mark.parametrize(
    "value", ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2026-01-01T25:00:00Z"]
)
def test_a_day_that_is_not_on_the_calendar_is_malformed(value: str) -> None:
    with pytest.raises(MalformedError):
        decode(encode({"f": value}), "document", limit=LIMIT).time("f")


@given(st.datetimes())
def test_every_day_on_the_calendar_is_taken(moment: datetime) -> None:
    text = moment.replace(microsecond=0).isoformat() + "Z"
    assert decode(encode({"f": text}), "document", limit=LIMIT).time("f") == text
