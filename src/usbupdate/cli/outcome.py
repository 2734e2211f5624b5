"""What the end of an attempt means for a command's exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate.core.receipt import Event
from usbupdate.errors import RolledBackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.core.receipt import Draft

_GIVEN_UP: Final = frozenset({
    Event.ROLLED_BACK,
    Event.CHECK_FAILED,
    Event.NOT_ACTIVATED,
    Event.LOADER_FAILED,
    Event.FELL_BACK,
    Event.STUCK,
})  # fmt: skip


def require_kept(told: Sequence[Draft]) -> None:
    """Say so if the last thing that happened is that a release was given up.

    Raises:
        RolledBackError: it was.
    """
    if told and told[-1].event in _GIVEN_UP:
        last = told[-1]
        text = "" if last.problem is None else last.problem.text
        running = last.after if last.event is Event.FELL_BACK else last.before
        raise RolledBackError(
            outcome=str(last.event),
            problem=text,
            running=f"version {running.version or 'unknown'}" if running is not None else "what it ran before",
        )
