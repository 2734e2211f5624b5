"""Where a store is: a file, or a PostgreSQL database by its URL; and what of that may be shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from usbupdate.errors import PasswordExposedError, UnusableValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT: Final = "USBUPDATE_STORE"
_FILE: Final = "evidence.sqlite3"
_SCHEMES: Final = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_SECRET: Final = "password"  # noqa: S105 - what a parameter's name holds whose value is secret


@dataclass(frozen=True, slots=True)
class FileAddress:
    """A store in an SQLite file."""

    path: Path

    def shown(self) -> str:
        """Return it as it may be printed."""
        return str(self.path)


@dataclass(frozen=True, slots=True, repr=False)
class ServerAddress:
    """A store in a PostgreSQL database.

    Attributes:
        location: all of the URL behind its scheme and `://`; may hold a password.
    """

    location: str

    def __repr__(self) -> str:
        return f"ServerAddress({self.shown()!r})"

    def shown(self) -> str:
        """Return it as it may be printed: without anything secret."""
        parts = urlsplit(f"postgresql://{self.location}")
        user, at, host = parts.netloc.rpartition("@")
        query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if _SECRET not in name.lower()], safe="/")
        return f"postgresql://{user.partition(':')[0]}{at}{host}{parts.path}{'?' if query else ''}{query}"

    def holds_password(self) -> bool:
        """Tell whether the address itself carries a password."""
        parts = urlsplit(f"postgresql://{self.location}")
        names = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        return ":" in parts.netloc.rpartition("@")[0] or any(_SECRET in name for name in names)


Address = FileAddress | ServerAddress


def address_of(given: str | None, environment: Mapping[str, str]) -> Address:
    """Return the store that a person means: what the command line says, else the environment, else the usual file.

    Raises:
        PasswordExposedError: the command line holds a password.
        UnusableValueError: it is the URL of something else than PostgreSQL.
    """
    if given:
        address = _parsed(given)
        if isinstance(address, ServerAddress) and address.holds_password():
            raise PasswordExposedError
        return address
    if from_environment := environment.get(ENVIRONMENT):
        return _parsed(from_environment)
    return FileAddress(_data_folder(environment) / "usbupdate" / _FILE)


def _data_folder(environment: Mapping[str, str]) -> Path:
    """Return where a user's programs keep their data."""
    if os.name == "nt" and (local := environment.get("LOCALAPPDATA")):
        return Path(local)
    return Path(environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _parsed(text: str) -> Address:
    scheme, is_url, location = text.partition("://")
    if not is_url:
        return FileAddress(Path(text).absolute())
    if scheme not in _SCHEMES:
        # The rest is not repeated: it may hold a password.
        raise UnusableValueError(
            what="The address of the store", value=f"{scheme}://…", problem="not a file or a URL that begins with postgresql://"
        )
    if not _is_in_form(location):
        raise UnusableValueError(
            what="The address of the store",
            value="postgresql://…",
            problem="not in the form of a URL, in which signs like / @ ? # in a name or password stand as %2F %40 %3F %23",
        )
    return ServerAddress(location)


def _is_in_form(location: str) -> bool:
    """Tell whether a URL means what it seems to: a password with signs of its own is taken for host or path, and shown."""
    try:
        parts = urlsplit(f"postgresql://{location}")
        _ = parts.port
    except ValueError:
        return False
    return not parts.fragment and "@" not in parts.path + parts.query and parts.netloc.count("@") <= 1
