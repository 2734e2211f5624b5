"""A system that gives a process few threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def give_threads(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many threads begin from now on, and refuse every further one as CPython does."""
    left, start = [count], threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
