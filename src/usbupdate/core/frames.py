"""From one frame to the bytes in it: all that is done with a decompressor, which is the one large parser in another language.

What comes out is proven by whoever asked, so it may be done anywhere: a device does it in a process without rights.

Source: design, section 4, "Install, per chunk", steps 3 and 4; docs/adr/0017-what-runs-without-rights.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

from usbupdate.core.unpack import WINDOW_MAX, Failed

if TYPE_CHECKING:
    from typing import TypeAlias

    Bytes: TypeAlias = bytes | memoryview


def unpack(frame: Bytes, size: int, dictionary: Bytes = b"") -> bytes | Failed:
    """Return what is in a frame; see `core.unpack.Unpack`."""
    # 1. Size and window before memory, by hand: zstandard ignores its output limit once a frame announces a size, and forgets
    # its limit of windows when it decompresses in one go.
    try:
        parameters = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError:
        return Failed.UNFIT
    if parameters.content_size != size or parameters.window_size > WINDOW_MAX:
        return Failed.UNFIT

    # 2. One frame, and nothing behind it.
    try:
        raw = zstandard.ZstdDecompressor(dict_data=raw_dictionary(dictionary), max_window_size=WINDOW_MAX).decompress(
            frame, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError:
        return Failed.BROKEN
    return raw if len(raw) == size else Failed.BROKEN


def raw_dictionary(contents: Bytes) -> zstandard.ZstdCompressionDict | None:
    """Return some bytes as the dictionary of a frame, as they are; None of no bytes, for which zstd has no dictionary."""
    return zstandard.ZstdCompressionDict(contents, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if contents else None
