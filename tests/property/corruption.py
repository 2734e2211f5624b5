"""Valid JSON documents with exactly one thing wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.core.strictjson import Json

Place = tuple[str | int, ...]
"""Keys and positions from the document downwards."""

WRONG_TYPES: dict[str, Json] = {
    "null": None,
    "flag": True,
    "number": 5,
    "text": "\u0001",
    "list": [[]],
    "object": {"\u0001": 1},
}


def raw(document: Json) -> bytes:
    """Return a document as some writer of JSON would put it, which need not be our own."""
    return json.dumps(document).encode("ascii")


def fields(document: Json) -> list[Place]:
    """Return where every field of every object stands."""
    return list(_fields(document, ()))


def objects(document: Json) -> list[Place]:
    """Return where every object stands."""
    return list(_objects(document, ()))


def _fields(document: Json, here: Place) -> Iterator[Place]:
    match document:
        case dict():
            for key, value in document.items():
                yield (*here, key)
                yield from _fields(value, (*here, key))
        case list():
            for number, value in enumerate(document):
                yield from _fields(value, (*here, number))
        case _:
            pass


def _objects(document: Json, here: Place) -> Iterator[Place]:
    match document:
        case dict():
            yield here
            for key, value in document.items():
                yield from _objects(value, (*here, key))
        case list():
            for number, value in enumerate(document):
                yield from _objects(value, (*here, number))
        case _:
            pass


def at(document: Json, place: Place) -> Json:
    """Return the value at a place."""
    for step in place:
        match document, step:
            case dict(), str():
                document = document[step]
            case list(), int():
                document = document[step]
            case _:
                raise AssertionError(place)
    return document


def replaced(document: Json, place: Place, value: Json) -> Json:
    """Return a copy with another value at a place; a key that is not there yet is added."""
    if not place:
        return value
    step, rest = place[0], place[1:]
    match document, step:
        case dict(), str():
            return {**document, step: replaced(document.get(step), rest, value)}
        case list(), int():
            return [replaced(each, rest, value) if number == step else each for number, each in enumerate(document)]
        case _:
            raise AssertionError(place)


def without(document: Json, place: Place) -> Json:
    """Return a copy that lacks one field."""
    holder = at(document, place[:-1])
    assert isinstance(holder, dict)
    return replaced(document, place[:-1], {key: value for key, value in holder.items() if key != place[-1]})


def shown(place: Place) -> str:
    """Return a place as the name of a test."""
    return ".".join(map(str, place)) or "whole"
