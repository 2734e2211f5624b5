"""Text made fit to be shown: what a stick or a receipt says must not steer a terminal or forge a line; numbers have nouns."""

from __future__ import annotations


def one_line(text: str, limit: int) -> str:
    """Return one line of printable characters, at most `limit`: anything else becomes a blank, and blanks become one."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:limit]


def printable(text: str, limit: int, *, besides: str = "") -> str:
    """Return the first `limit` characters, those replaced that are neither printable nor among `besides`."""
    return "".join(char if char.isprintable() or char in besides else "\N{REPLACEMENT CHARACTER}" for char in text[:limit])


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun, in the plural where it is not one; `plural` is for nouns that do not take an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or f'{noun}s'}"
