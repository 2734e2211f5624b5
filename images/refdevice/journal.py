"""What the journal of a device says to the person in front of it: that it is up, and its signals."""

from __future__ import annotations

import re
from typing import Final

from usbupdate.device.signals import Signal

IS_UP: Final = re.compile(r"systemd\[1\]: usbupdate-boot\.service: (Deactivated successfully|Failed with result)")
SAID: Final = re.compile(r"\busbupdate\[\d+\]: (?P<text>.+)")
LAST: Final = frozenset({Signal.DONE, Signal.REFUSED, Signal.FAILED, Signal.INSTALLED})
"""After one of these the device does no more until a person does something."""


def signal_in(text: str) -> Signal | None:
    """Return the signal that a line of the device's is, if it is one."""
    return next((each for each in Signal if text == each.words or text.startswith(f"{each.words}: ")), None)
