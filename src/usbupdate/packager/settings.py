"""The office's own settings: how long metadata lives, and where each key is to be found. Nothing in it is secret or signed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate import plainfile
from usbupdate.core import strictjson
from usbupdate.core.words import DIGEST
from usbupdate.errors import MalformedError, NewerFormatError, NoOfficeError, OfficeFileError
from usbupdate.packager.metadata import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE: Final = "office.json"
LIFETIMES: Final = {Role.ROOT: 5 * 365, Role.TARGETS: 2 * 365, Role.SNAPSHOT: 365, Role.TIMESTAMP: 365}
"""In days (design, section 3)."""
LIFETIME_MAX: Final = 100 * 365

_FORMAT: Final = 1
_SIZE_MAX: Final = 1 << 20
_KEYS_MAX: Final = 1000
_REFERENCE: Final = re.compile(r"[^\x00-\x1f]{1,4096}")


@dataclass(frozen=True, slots=True)
class Settings:
    """`lifetimes` in days; `references` by key id, paths inside the repository relative to it."""

    lifetimes: Mapping[Role, int]
    references: Mapping[str, str]


def encode(settings: Settings) -> bytes:
    """Return the settings file; `decode` gives back an equal value."""
    return strictjson.encode(
        {
            "format": _FORMAT,
            "lifetimes_days": {str(role): days for role, days in settings.lifetimes.items()},
            "keys": [{"id": each, "reference": settings.references[each]} for each in sorted(settings.references)],
        }
    )


def decode(raw: bytes) -> Settings:
    """Return the settings that a file holds.

    Raises:
        NewerFormatError: a later version of this program wrote it.
        MalformedError: it breaks a rule of its format.
    """
    fields = strictjson.decode(raw, "repository", limit=_SIZE_MAX)
    fields.format(_FORMAT)
    lifetimes = fields.inner("lifetimes_days")
    days = {role: lifetimes.integer(role, 1, LIFETIME_MAX) for role in Role}
    lifetimes.done()
    references = {}
    for each in fields.objects("keys", limit=_KEYS_MAX):
        references[each.text("id", DIGEST)] = each.text("reference", _REFERENCE)
        each.done()
    fields.done()
    return Settings(lifetimes=days, references=references)


def load(office: Path) -> Settings:
    """Return the settings of the repository at `office`.

    Raises:
        NoOfficeError: there is no repository.
        OfficeFileError: its settings cannot be used.
    """
    path = office / FILE
    try:
        return decode(plainfile.read(path, _SIZE_MAX + 1))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoOfficeError(path=str(office)) from error
    except OSError as error:
        raise OfficeFileError(path=str(path), problem=error.strerror or "it cannot be read") from error
    except MalformedError as error:
        raise OfficeFileError(path=str(path), problem=f"{error.field}: {error.problem}") from error
    except NewerFormatError as error:
        raise OfficeFileError(path=str(path), problem=str(error).removesuffix(".")) from error
