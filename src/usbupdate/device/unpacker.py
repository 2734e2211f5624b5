"""The process without rights: takes frames apart, one after the other, and can do nothing else.

It is started by `device.unpacking` with a pipe of requests, a pipe of answers, and memory in which both sides find the bytes:
the frame, behind it the dictionary, and behind that what comes out. Its end of the requests is its end.

Source: docs/adr/0017-what-runs-without-rights.md.
"""

from __future__ import annotations

import mmap
import os
import sys

from usbupdate.core.frames import unpack
from usbupdate.core.unpack import DONE, FILTERED, REQUEST, UNFILTERED, Failed
from usbupdate.device.rights import give_up

_REQUESTS, _ANSWERS = 0, 1


def main() -> None:
    """Serve until nobody asks any more."""
    memory = memoryview(mmap.mmap(int(sys.argv[1]), 0))
    # What is loaded when it is first used has to be there before the rights go.
    unpack(b"", 0)
    os.write(_ANSWERS, FILTERED if give_up() else UNFILTERED)
    while len(request := os.read(_REQUESTS, REQUEST.size)) == REQUEST.size:
        os.write(_ANSWERS, bytes([_answer(memory, *REQUEST.unpack(request))]))


def _answer(memory: memoryview, frame_size: int, dictionary_size: int, size: int) -> int:
    end = frame_size + dictionary_size
    raw = unpack(memory[:frame_size], size, memory[frame_size:end])
    if isinstance(raw, Failed):
        return raw.value
    memory[end : end + size] = raw
    return DONE


if __name__ == "__main__":
    main()
