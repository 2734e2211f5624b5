"""How a person calls the control command, for sentences that say what to type next."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

DEVICE: Final = Path("vm-device")
"""The folder of the device that is meant where none is named."""
_NAME: Final = "usbupdate-vm"


def called(words: str, device: Path = DEVICE) -> str:
    """Return a command line that can be typed as it stands, in the folder in which this one was.

    Args:
        words: what comes behind the command's name.
        device: the device that it is about; named only if it is not the usual one.
    """
    return " ".join([_name(), words, *([] if device == DEVICE else [str(device)])])


def _name() -> str:
    own = Path(sys.argv[0])
    if own.name != _NAME or not own.exists():
        return _NAME
    found = shutil.which(_NAME)
    return _NAME if found is not None and own.samefile(found) else sys.argv[0]
