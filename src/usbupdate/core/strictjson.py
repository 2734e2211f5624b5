"""JSON from strangers, read with no leniency at all.

`decode` bounds size and depth before parsing and refuses what JSON libraries silently accept: duplicate keys, floats, NaN,
huge integers, lone surrogates, control characters. `Fields` then takes an object apart field by field and refuses what is left
over.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from usbupdate.core.words import DIGEST, SEQUENCE_MAX, TIME, Digest
from usbupdate.errors import MalformedError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEPTH_MAX: Final = 16
TOKENS_MAX: Final = 300_000
"""What the metadata of some 25,000 bundles need."""
_INTEGER_DIGITS_MAX: Final = 17
_CHOICE_MAX: Final = 200
_written: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
_OPENING: Final = frozenset(b"[{")
_UNCLEAN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_QUOTE: Final = 0x22
# A string without an end is taken to the end: looking for another beginning inside it would cost quadratic time.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)

_Choice = TypeVar("_Choice", bound=StrEnum)

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]


def decode(raw: bytes, document: str, *, limit: int) -> Fields:
    """Return the one JSON object that `raw` is, ready to be taken apart.

    Args:
        raw: UTF-8 without a byte order mark.
        document: what to call it in errors, such as "manifest".
        limit: the largest size in bytes that is looked at.

    Raises:
        MalformedError: it is no such object.
    """
    if excess := _excess(raw, limit):
        raise _broken(document, excess)
    try:
        value: Json = _decoder(document).decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _broken(document, "not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise _broken(document, "not a JSON object")
    return Fields(value, document, "")


# Making one takes as long as a small document.
@lru_cache(maxsize=32)
def _decoder(document: str) -> json.JSONDecoder:
    """Return what decodes JSON as strictly as we read it, and calls it by that name in errors."""

    def no_float(_: str) -> NoReturn:
        raise _broken(document, "a number is not an integer")

    def integer(digits: str) -> int:
        if len(digits) > _INTEGER_DIGITS_MAX:
            raise _broken(document, "an integer is too large")
        return int(digits)

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise _broken(document, "a key stands twice in one object")
        for key in table:
            _require_clean(key, document, "a key")
        return table

    return json.JSONDecoder(parse_float=no_float, parse_int=integer, parse_constant=no_float, object_pairs_hook=unique)


def _broken(document: str, problem: str) -> MalformedError:
    return MalformedError(document=document, field="whole", problem=problem)


def encode(value: Mapping[str, Json]) -> bytes:
    """Return the one form in which we write JSON that gets signed or hashed: sorted, no blanks, ASCII only."""
    return _written(value).encode("ascii")


class Fields:
    """One JSON object being taken apart: each field is asked for once, by type and bounds.

    Every method raises `MalformedError` when the field is missing, of another type, or out of bounds.
    """

    def __init__(self, table: Mapping[str, Json], document: str, where: str) -> None:
        self._table = table
        self._document = document
        self._where = where
        self._taken: set[str] = set()

    def text(self, name: str, grammar: re.Pattern[str]) -> str:
        """Return a string that the grammar matches whole."""
        value = self._take(name)
        if not isinstance(value, str) or not grammar.fullmatch(value):
            self.fail(name, "not of the prescribed form")
        return value

    def free_text(self, name: str, *, limit: int) -> str:
        """Return a string of at most `limit` characters without control characters other than line feeds and tabs."""
        value = self._take(name)
        if not isinstance(value, str):
            self.fail(name, "not a string")
        if len(value) > limit:
            self.fail(name, f"longer than {limit} characters")
        _require_clean(value, self._document, self._where + name)
        return value

    def choice(self, name: str, kind: type[_Choice]) -> _Choice:
        """Return the member of an enumeration whose value the string is."""
        value = self.free_text(name, limit=_CHOICE_MAX)
        try:
            return kind(value)
        except ValueError:
            self.fail(name, f"not one of {', '.join(kind)}")

    def format(self, known: int) -> int:
        """Return the document's format number, which is at most `known`.

        To be asked for first: a later format may have fields and types that only a later reader can judge.

        Raises:
            NewerFormatError: only a later usbupdate can read it.
        """
        number = self.integer("format", 1, SEQUENCE_MAX)
        if number > known:
            raise NewerFormatError(document=self._document, format=number, known=known)
        return number

    def digest(self, name: str) -> Digest:
        """Return a SHA-256 in lower-case hexadecimal."""
        return Digest(self.text(name, DIGEST))

    def time(self, name: str) -> str:
        """Return a moment in UTC to the second, which is on the calendar."""
        value = self.text(name, TIME)
        try:
            datetime.fromisoformat(value)
        except ValueError:
            self.fail(name, "no such day or time")
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both included."""
        value = self._take(name)
        # bool is a subclass of int, and `true` is not a number.
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(name, "not an integer")
        if not low <= value <= high:
            self.fail(name, f"not between {low} and {high}")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            self.fail(name, "not true or false")
        return value

    def inner(self, name: str) -> Fields:
        """Return a nested object."""
        value = self._take(name)
        if not isinstance(value, dict):
            self.fail(name, "not an object")
        return Fields(value, self._document, f"{self._where}{name}.")

    def objects(self, name: str, *, limit: int) -> Iterator[Fields]:
        """Yield the objects of a list that holds at most `limit` of them."""
        for number, value in enumerate(self._list(name, limit)):
            if not isinstance(value, dict):
                self.fail(f"{name}[{number}]", "not an object")
            yield Fields(value, self._document, f"{self._where}{name}[{number}].")

    def texts(self, name: str, grammar: re.Pattern[str], *, limit: int) -> tuple[str, ...]:
        """Return a list of at most `limit` different strings that the grammar matches whole."""
        values = []
        for number, value in enumerate(self._list(name, limit)):
            if not isinstance(value, str) or not grammar.fullmatch(value):
                self.fail(f"{name}[{number}]", "not of the prescribed form")
            values.append(value)
        if len(set(values)) != len(values):
            self.fail(name, "an entry stands twice")
        return tuple(values)

    def has(self, name: str) -> bool:
        """Tell whether an optional field is there; `null` counts as absent."""
        if name in self._table and self._table[name] is None:
            self._taken.add(name)
            return False
        return name in self._table

    def given(self, name: str) -> bool:
        """Tell whether a field is not `null` that must be there, for documents that always have all their fields."""
        if name not in self._table:
            self.fail(name, "missing")
        return self.has(name)

    def names(self) -> tuple[str, ...]:
        """Return the object's keys, for objects that are maps."""
        return tuple(self._table)

    def done(self) -> None:
        """Refuse whatever was not asked for."""
        for name in self._table:
            if name not in self._taken:
                self.fail(name, "unknown field")

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raise the error of this document for one of this object's fields."""
        raise MalformedError(document=self._document, field=f"{self._where}{name}", problem=problem)

    def _take(self, name: str) -> Json:
        if name not in self._table:
            self.fail(name, "missing")
        self._taken.add(name)
        return self._table[name]

    def _list(self, name: str, limit: int) -> list[Json]:
        value = self._take(name)
        if not isinstance(value, list):
            self.fail(name, "not a list")
        if len(value) > limit:
            self.fail(name, f"more than {limit} entries")
        return value


def _excess(raw: bytes, limit: int) -> str:
    """Return which bound the bytes break before a parser has seen them; empty for none."""
    if len(raw) > limit:
        return f"larger than {limit} bytes"
    if raw.count(b"[") + raw.count(b"{") <= DEPTH_MAX and len(raw) <= TOKENS_MAX:
        # Most documents; to count what nests takes longer than to parse them.
        return ""
    depth, tokens = _measure(raw)
    if depth > DEPTH_MAX:
        return f"nested deeper than {DEPTH_MAX}"
    return f"more than {TOKENS_MAX} strings and brackets" if tokens > TOKENS_MAX else ""


def _measure(raw: bytes) -> tuple[int, int]:
    """Return how deep brackets nest outside strings, and how many strings and brackets there are, before a parser sees them.

    A parser takes up to fifty bytes of memory for each byte of such input.
    """
    depth = deepest = tokens = 0
    for tokens, token in enumerate(_STRING_OR_BRACKET.finditer(raw), 1):  # noqa: B007  # the last count is what is wanted
        first = token[0][0]
        if first in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif first != _QUOTE:
            depth -= 1
    return deepest, tokens


def _require_clean(text: str, document: str, field: str) -> None:
    if _UNCLEAN.search(text):
        raise MalformedError(document=document, field=field, problem="contains control characters")
