"""What is asked of a decompressor, and what it may answer; nothing else is loaded where only that has to be known."""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, Protocol

WINDOW_MAX: Final = 16 << 20
"""Bytes of window that a frame may want; as large as the largest chunk."""


REQUEST: Final = struct.Struct("=III")
"""What another process is asked: the sizes of frame, dictionary and what is to come out, in bytes."""

DONE: Final = 0
"""Its answer where something came out; else it is the value of `Failed`."""

FILTERED: Final = b"f"
UNFILTERED: Final = b"u"
"""What it says when it is ready: whether the kernel filters its system calls."""


class Failed(Enum):
    """Why nothing comes out of a frame."""

    UNFIT = 1
    """It announces another size than the signed one or wants too large a window, or it is no frame."""

    BROKEN = 2
    """It cannot be decompressed, at least not with this dictionary."""


class Unpack(Protocol):
    """Returns exactly `size` bytes, which are not proven, or why there are none. Threads may call it at the same time."""

    def __call__(self, frame: bytes, size: int, dictionary: bytes = b"") -> bytes | Failed:
        """Take one frame apart, with the bytes that it refers to, if any."""
