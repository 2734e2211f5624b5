"""What `device check` says about one thing: whether it is right, how much hangs on it, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from usbupdate.errors import UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Callable


class Weight(StrEnum):
    """How much hangs on a thing: without what *must* be right a device could not be updated again."""

    MUST = "must"
    SHOULD = "should"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is right, what it is or what is wrong, and what to do."""

    name: str
    ok: bool
    text: str
    advice: str = ""
    weight: Weight = Weight.MUST

    @property
    def is_missing(self) -> bool:
        """Whether something is wrong that an update cannot do without."""
        return not self.ok and self.weight is Weight.MUST


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong, and what to do."""

    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Look:
    """One thing to look at; `answer` returns what it is or what is wrong with it, or raises `UsbupdateError` or `OSError`."""

    name: str
    answer: Callable[[], str | Wrong]
    weight: Weight = Weight.MUST

    def found(self) -> Finding:
        """Look, and return what was found."""
        try:
            answer = self.answer()
        except UsbupdateError as error:
            answer = Wrong(str(error), error.hint)
        except ImportError as error:
            # A release whose libraries are broken is one that could not be updated again, and that is an answer too.
            answer = Wrong(f"{error}.", "Put the libraries into the image that the packaging of usbupdate names.")
        except OSError as error:
            # Nor could one be whose storage fails, and on trial nobody else would say so.
            what = f"{error.filename or 'It'} cannot be looked at: {error.strerror or type(error).__name__}."
            answer = Wrong(what, "The device's storage may be failing; have it looked at.")
        if isinstance(answer, Wrong):
            return Finding(self.name, ok=False, text=answer.text, advice=answer.advice, weight=self.weight)
        return Finding(self.name, ok=True, text=answer, weight=self.weight)
