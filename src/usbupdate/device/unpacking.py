"""Takes frames apart in a process without rights, so that who finds a hole in the decompressor has found nothing.

Nothing that comes back is believed: it is compared with what was signed, as if a stick had brought it.

Source: docs/adr/0017-what-runs-without-rights.md.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from usbupdate.core.delta import DICTIONARY_SIZE_MAX, RECIPE_SIZE_MAX
from usbupdate.core.index import stored_size_max
from usbupdate.core.manifest import CHUNK_SIZE_MAX
from usbupdate.core.unpack import DONE, FILTERED, REQUEST, Failed
from usbupdate.device.process import BARE_ENVIRONMENT, Companion
from usbupdate.errors import UnpackerEndedError, UnpackerMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usbupdate.core.unpack import Unpack

PROGRAM: Final = ("-s", "-S", "-P", "-m", "usbupdate.device.unpacker")
"""Python as it is, without looking for anybody's additions to it."""

_START_S: Final = 60.0
_FRAME_S: Final = 60.0
"""A chunk takes milliseconds; a machine at work may make it wait."""
_MEMORY: Final = stored_size_max(CHUNK_SIZE_MAX) + RECIPE_SIZE_MAX + DICTIONARY_SIZE_MAX + CHUNK_SIZE_MAX
"""Bytes of memory at most; what is not used costs nothing."""


class Unpacker:
    """A process without rights that takes frames apart. Implements `core.unpack.Unpack`.

    `is_filtered` tells whether the kernel filters its system calls, besides all that it lacks in any case.

    Raises:
        UnpackerMissingError: it does not start.
    """

    def __init__(self, program: Sequence[str] = PROGRAM, *, start_s: float = _START_S, frame_s: float = _FRAME_S) -> None:
        self._turn = Lock()
        self._frame_s = frame_s
        self._end: UnpackerEndedError | None = None
        try:
            with ExitStack() as made:
                self._memory = os.memfd_create("usbupdate", os.MFD_CLOEXEC)
                made.callback(os.close, self._memory)
                os.truncate(self._memory, _MEMORY)
                self._companion = Companion(
                    [sys.executable, *program, str(self._memory)], descriptors=[self._memory], environment=_environment()
                )
                made.callback(self._companion.stop)
                self.is_filtered = self._companion.ask(b"", 1, timeout_s=start_s) == FILTERED
                self._all = made.pop_all()
        except OSError as error:
            raise UnpackerMissingError(problem=error.strerror or type(error).__name__) from error

    def __call__(self, frame: bytes, size: int, dictionary: bytes = b"") -> bytes | Failed:
        """Take one frame apart; see `Unpack`.

        Raises:
            UnpackerEndedError: the process did not survive it, or gave no answer; nor does it give any from then on.
        """
        with self._turn:
            if self._end is not None:
                raise self._end
            try:
                return self._unpacked(frame, size, dictionary)
            except (OSError, ValueError) as error:
                self.close()
                problem = error.strerror if isinstance(error, OSError) else str(error)
                self._end = UnpackerEndedError(problem=problem or type(error).__name__)
                raise self._end from error

    def _unpacked(self, frame: bytes, size: int, dictionary: bytes) -> bytes | Failed:
        place = 0
        for part in (frame, dictionary):
            place += os.pwrite(self._memory, part, place)
        answer = self._companion.ask(REQUEST.pack(len(frame), len(dictionary), size), 1, timeout_s=self._frame_s)
        if answer[0] != DONE:
            return Failed(answer[0])
        # A copy, for the other side may write there at any time.
        raw = os.pread(self._memory, size, place)
        if len(raw) != size:
            raise ValueError("it took the memory away")
        return raw

    def close(self) -> None:
        """End the process."""
        self._all.close()


@contextmanager
def unpacking_without_rights() -> Iterator[Unpack]:
    """Give what takes frames apart in a process without rights, for as long as this lasts."""
    unpacker = Unpacker()
    try:
        yield unpacker
    finally:
        unpacker.close()


def _environment() -> dict[str, str]:
    """Return a bare environment in which the same Python finds the same modules."""
    path = os.pathsep.join(each for each in sys.path if each)
    # Memory of a chunk's size is taken and given back for each of them: kept by the process, it costs the kernel nothing.
    keep = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "33554432"}
    return {**BARE_ENVIRONMENT, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **keep}
