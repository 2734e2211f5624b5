"""What is wrong with a document is told by its place; what JSON may be at all is searched in tests/property."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING

import pytest

from usbupdate.core import strictjson
from usbupdate.core.strictjson import DEPTH_MAX, TOKENS_MAX, Fields, Json
from usbupdate.errors import MalformedError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = re.compile("[a-z]+")
LIMIT = 2_000_000
CONTROL, FORM = "contains control characters", "not of the prescribed form"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def fields(**table: Json) -> Fields:
    return strictjson.decode(json.dumps({"inside": table}).encode(), "thing", limit=LIMIT).inner("inside")


def refuses(act: Callable[..., object], *arguments: object, **options: object) -> tuple[str, str]:
    with pytest.raises(MalformedError) as caught:
        act(*arguments, **options)
    assert caught.value.document == "thing"
    return caught.value.field, caught.value.problem


@pytest.mark.parametrize(
    ("raw", "field", "problem"),
    [
        (b"{" + b" " * LIMIT, "whole", f"larger than {LIMIT} bytes"),
        (b"[" * (DEPTH_MAX + 1), "whole", f"nested deeper than {DEPTH_MAX}"),
        (b'{"a":[' + b"1," * 10 + b'"",' * TOKENS_MAX, "whole", f"more than {TOKENS_MAX} strings and brackets"),
        (b'{"a":1.5}', "whole", "a number is not an integer"),
        (b'{"a":NaN}', "whole", "a number is not an integer"),
        (b'{"a":123456789012345678}', "whole", "an integer is too large"),
        (b'{"a":1,"a":2}', "whole", "a key stands twice in one object"),
        (b'{"\\u0007":1}', "a key", CONTROL),
        (b"{", "whole", "not JSON in UTF-8"),
        (b'{"a":"\xff"}', "whole", "not JSON in UTF-8"),
        (b"[]", "whole", "not a JSON object"),
    ],
    ids=range(11),
)
def test_what_is_no_document_says_why(raw: bytes, field: str, problem: str) -> None:
    assert refuses(lambda: strictjson.decode(raw, "thing", limit=LIMIT)) == (field, problem)


def test_a_document_may_reach_every_bound() -> None:
    raw = b'{"a":12345678901234567}'
    assert strictjson.decode(raw, "thing", limit=len(raw)).integer("a", 0, 10**17) == 12345678901234567
    assert refuses(lambda: strictjson.decode(raw, "thing", limit=len(raw) - 1))[1] == f"larger than {len(raw) - 1} bytes"
    strictjson.decode(b'{"a":[' + b'"",' * (TOKENS_MAX - 6) + b'""]}', "thing", limit=LIMIT)
    assert refuses(lambda: strictjson.decode(b'{"a":[' + b'"",' * (TOKENS_MAX - 5) + b'""]}', "thing", limit=LIMIT))


def test_what_was_closed_hides_no_depth() -> None:
    def after_many_that_closed(depth: int) -> bytes:
        return b'{"a":[' + b"[],{}," * 50 + b"[" * (depth - 2) + b"]" * (depth - 2) + b"]}"

    strictjson.decode(after_many_that_closed(DEPTH_MAX), "thing", limit=LIMIT)
    refused = refuses(lambda: strictjson.decode(after_many_that_closed(DEPTH_MAX + 1), "thing", limit=LIMIT))
    assert refused == ("whole", f"nested deeper than {DEPTH_MAX}")


def test_what_is_written_has_one_form() -> None:
    assert strictjson.encode({"b": [1, None], "a": "\N{SNOWMAN}"}) == b'{"a":"\\u2603","b":[1,null]}'


MISSING = [
    lambda table: table.text("x", WORD), lambda table: table.free_text("x", limit=1), lambda table: table.choice("x", Colour),
    lambda table: table.digest("x"), lambda table: table.time("x"), lambda table: table.integer("x", 0, 1),
    lambda table: table.flag("x"), lambda table: table.inner("x"), lambda table: list(table.objects("x", limit=1)),
    lambda table: table.texts("x", WORD, limit=1), lambda table: table.given("x"),
]  # fmt: skip


@pytest.mark.parametrize("ask", MISSING, ids=range(len(MISSING)))
def test_a_field_that_is_missing_is_named(ask: Callable[[Fields], object]) -> None:
    assert refuses(lambda: ask(fields())) == ("inside.x", "missing")


def test_a_text_is_what_its_grammar_matches_whole() -> None:
    assert fields(x="word").text("x", WORD) == "word"
    wrong: list[Json] = ["two words", "", 5, None, ["word"]]
    for value in wrong:
        assert refuses(fields(x=value).text, "x", WORD) == ("inside.x", FORM)


def test_free_text_has_a_bound_and_no_control_characters() -> None:
    assert fields(x="a\n\tb").free_text("x", limit=4) == "a\n\tb"
    assert refuses(lambda: fields(x="a\n\tb").free_text("x", limit=3)) == ("inside.x", "longer than 3 characters")
    assert refuses(lambda: fields(x=5).free_text("x", limit=9)) == ("inside.x", "not a string")
    for bad in "\0\b\r\x1f\x7f\x80\x9f\ud800\udfff":
        assert refuses(fields(x=f"a{bad}").free_text, "x", limit=9) == ("inside.x", CONTROL)
    assert fields(x=" ~\xa0\ud7ff\ue000").free_text("x", limit=9) == " ~\xa0\ud7ff\ue000"


def test_a_choice_names_what_there_is_to_choose() -> None:
    assert fields(x="red").choice("x", Colour) is Colour.RED
    assert refuses(lambda: fields(x="green").choice("x", Colour)) == ("inside.x", "not one of red, blue")
    assert refuses(lambda: fields(x="g" * 201).choice("x", Colour)) == ("inside.x", "longer than 200 characters")
    assert refuses(lambda: fields(x="g" * 200).choice("x", Colour)) == ("inside.x", "not one of red, blue")


def test_a_later_format_is_told_with_the_one_that_is_known() -> None:
    assert fields(format=2).format(2) == 2
    assert fields(format=1).format(2) == 1
    with pytest.raises(NewerFormatError) as caught:
        fields(format=3).format(2)
    assert (caught.value.document, caught.value.format, caught.value.known) == ("thing", 3, 2)
    assert refuses(lambda: fields(format=0).format(2))[0] == "inside.format"


def test_a_time_is_on_the_calendar() -> None:
    assert fields(x="2028-02-29T23:59:59Z").time("x") == "2028-02-29T23:59:59Z"
    assert refuses(lambda: fields(x="2027-02-29T23:59:59Z").time("x")) == ("inside.x", "no such day or time")
    assert refuses(lambda: fields(x="2028-02-29").time("x")) == ("inside.x", FORM)


def test_an_integer_lies_between_its_bounds() -> None:
    assert [fields(x=number).integer("x", 3, 5) for number in (3, 4, 5)] == [3, 4, 5]
    for number in (2, 6):
        assert refuses(fields(x=number).integer, "x", 3, 5) == ("inside.x", "not between 3 and 5")
    for value in (True, False, "4", None):
        assert refuses(fields(x=value).integer, "x", 0, 5) == ("inside.x", "not an integer")


def test_a_flag_is_true_or_false() -> None:
    assert [fields(x=value).flag("x") for value in (True, False)] == [True, False]
    assert refuses(lambda: fields(x=1).flag("x")) == ("inside.x", "not true or false")


def test_objects_are_named_by_where_they_stand() -> None:
    assert refuses(lambda: fields(x=[]).inner("x")) == ("inside.x", "not an object")
    assert refuses(lambda: fields(x={"y": 1}).inner("x").done()) == ("inside.x.y", "unknown field")
    assert [each.names() for each in fields(x=[{}, {"y": 1}]).objects("x", limit=2)] == [(), ("y",)]
    last = list(fields(x=[{}, {"y": 1}]).objects("x", limit=2))[1]
    assert refuses(last.done) == ("inside.x[1].y", "unknown field")
    assert refuses(lambda: list(fields(x=[{}, 5]).objects("x", limit=2))) == ("inside.x[1]", "not an object")
    assert refuses(lambda: list(fields(x=[{}, {}]).objects("x", limit=1))) == ("inside.x", "more than 1 entries")
    assert refuses(lambda: list(fields(x={}).objects("x", limit=1))) == ("inside.x", "not a list")


def test_texts_are_different_and_each_of_its_grammar() -> None:
    assert fields(x=["a", "b"]).texts("x", WORD, limit=2) == ("a", "b")
    assert fields(x=[]).texts("x", WORD, limit=2) == ()
    for value in (5, "B", None):
        assert refuses(fields(x=["a", value]).texts, "x", WORD, limit=2) == ("inside.x[1]", FORM)
    assert refuses(lambda: fields(x=["a", "a"]).texts("x", WORD, limit=2)) == ("inside.x", "an entry stands twice")
    assert refuses(lambda: fields(x=["a", "b"]).texts("x", WORD, limit=1)) == ("inside.x", "more than 1 entries")
    assert refuses(lambda: fields(x="a").texts("x", WORD, limit=1)) == ("inside.x", "not a list")


def test_a_field_that_may_be_absent_is_absent_as_null_too() -> None:
    for table in (fields(), fields(x=None)):
        assert table.has("x") is False
        table.done()
    there = fields(x=0)
    assert there.has("x") is True
    assert refuses(there.done) == ("inside.x", "unknown field")


def test_a_field_that_must_be_there_may_be_null() -> None:
    nothing = fields(x=None)
    assert nothing.given("x") is False
    nothing.done()
    assert fields(x=0).given("x") is True


def test_nothing_may_be_left_over() -> None:
    table = fields(a=1, b=2)
    table.integer("a", 1, 1)
    assert table.names() == ("a", "b")
    assert refuses(table.done) == ("inside.b", "unknown field")
    table.integer("b", 2, 2)
    table.done()
