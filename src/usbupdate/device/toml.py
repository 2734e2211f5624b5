"""TOML of our own files, read with no leniency: an unknown key or another type is an error that names the key."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final, NoReturn

from usbupdate import plainfile
from usbupdate.errors import ConfigurationError

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from enum import StrEnum
    from pathlib import Path
    from typing import TypeVar

    _Choice = TypeVar("_Choice", bound=StrEnum)

FILE_SIZE_MAX: Final = 64 << 10
_TEXT_MAX: Final = 1024


def load_table(path: Path) -> Table:
    """Return the whole of a TOML file, ready to be taken apart.

    Raises:
        ConfigurationError: the file is missing, unreadable, larger than `FILE_SIZE_MAX`, or not TOML.
    """
    try:
        raw = plainfile.read(path, FILE_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigurationError(path=str(path), key="the file", problem=error.strerror or "unreadable") from error
    if len(raw) > FILE_SIZE_MAX:
        raise ConfigurationError(path=str(path), key="the file", problem=f"larger than {FILE_SIZE_MAX} bytes")
    try:
        values: dict[str, object] = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(path=str(path), key="the file", problem=f"not TOML: {error}") from error
    return Table(values, path, "")


class Table:
    """One table being taken apart: each key is asked for once, by type and bounds, and `done` refuses the rest.

    Every method raises `ConfigurationError` when a key is missing, of another type, or out of bounds.
    """

    def __init__(self, values: Mapping[str, object], path: Path, where: str) -> None:
        self._values = values
        self._path = path
        self._where = where
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def names(self) -> tuple[str, ...]:
        """Return the table's keys in the order of the file."""
        return tuple(self._values)

    def inner(self, key: str) -> Table:
        """Return a table that must be there."""
        value = self._take(key)
        if not isinstance(value, dict):
            self.fail(key, "not a table")
        return Table(value, self._path, f"{self._where}{key}.")

    def optional(self, key: str) -> Table:
        """Return a table that may be left out, which is as if it were empty."""
        return self.inner(key) if key in self else Table({}, self._path, f"{self._where}{key}.")

    def text(self, key: str, grammar: re.Pattern[str]) -> str:
        """Return a string that the grammar matches whole."""
        value = self.free_text(key)
        if not grammar.fullmatch(value):
            self.fail(key, "not of the prescribed form")
        return value

    def free_text(self, key: str) -> str:
        """Return a string that is not empty and holds printable characters only."""
        value = self._take(key)
        if not isinstance(value, str):
            self.fail(key, "not a string")
        if not value or len(value) > _TEXT_MAX or not value.isprintable():
            self.fail(key, f"not 1 to {_TEXT_MAX} printable characters")
        return value

    def choice(self, key: str, choices: type[_Choice], default: _Choice) -> _Choice:
        """Return one of the choices, `default` where the key is left out."""
        if key not in self:
            return default
        value = self.free_text(key)
        if value not in {str(each) for each in choices}:
            self.fail(key, f"not one of: {', '.join(choices)}")
        return choices(value)

    def integer(self, key: str, *, low: int, high: int, default: int) -> int:
        """Return an integer from `low` to `high`, both included, `default` where the key is left out."""
        if key not in self:
            return default
        value = self._take(key)
        # bool is a subclass of int, and `true` is not a number.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(key, f"not a whole number from {low} to {high}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false, `default` where the key is left out."""
        if key not in self:
            return default
        value = self._take(key)
        if not isinstance(value, bool):
            self.fail(key, "not true or false")
        return value

    def texts(self, key: str, grammar: re.Pattern[str], *, limit: int) -> tuple[str, ...]:
        """Return a list of at most `limit` strings that the grammar matches whole."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) > limit:
            self.fail(key, f"not a list of at most {limit} strings")
        texts = []
        for each in value:
            if not isinstance(each, str) or not grammar.fullmatch(each):
                self.fail(key, "an entry is not of the prescribed form")
            texts.append(each)
        return tuple(texts)

    def place(self, key: str) -> Path:
        """Return a path; a relative one starts at the folder of the file."""
        return self._path.absolute().parent / self.free_text(key)

    def optional_place(self, key: str) -> Path | None:
        """Return a path that may be left out."""
        return self.place(key) if key in self else None

    def done(self) -> None:
        """Refuse whatever was not asked for: a misspelt key must not be a setting that silently does nothing."""
        for key in self._values:
            if key not in self._taken:
                self.fail(key, "unknown")

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise the error of this file for one of this table's keys."""
        raise ConfigurationError(path=str(self._path), key=self._where + key, problem=problem)

    def _take(self, key: str) -> object:
        if key not in self:
            self.fail(key, "missing")
        self._taken.add(key)
        return self._values[key]
