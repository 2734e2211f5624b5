"""The power goes at one step of what saves files durably: that one and whatever would have followed is not done."""

from __future__ import annotations

import contextlib
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.power.standing_in import standing_in
from usbupdate import durable

if TYPE_CHECKING:
    from collections.abc import Iterator


class CutError(BaseException):
    """The power goes: nothing in the program may catch it."""


@contextmanager
def cut_at(effect: str, step: int) -> Iterator[None]:
    """Let the power go where a function of `durable` is called for the time after `step` times; what follows there is left."""
    steps, whole = itertools.count(), getattr(durable, effect)

    def cutting(*arguments: object) -> None:
        if next(steps) == step:
            raise CutError
        whole(*arguments)

    with standing_in(durable, {effect: cutting}), contextlib.suppress(CutError):
        yield
