"""The nouns of the design, section 2, as types, and the grammar of every name that may stand in signed data.

Nothing that these grammars accept can be mistaken for a path, an option or a format string.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NewType

Digest = NewType("Digest", str)
"""A SHA-256 in 64 lower-case hexadecimal digits."""

DeviceId = NewType("DeviceId", str)
BundleName = NewType("BundleName", str)
SlotClass = NewType("SlotClass", str)
ReceiptId = NewType("ReceiptId", str)
BootId = NewType("BootId", str)

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
DEVICE_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
GROUP: Final = DEVICE_ID
BUNDLE_NAME: Final = re.compile(r"(?!allow-|allow$)[a-z0-9][a-z0-9._-]{0,62}")
"""`allow-` is kept for signed downgrade authorisations (design, section 3)."""
VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}")
VERSION_OR_NOTHING: Final = re.compile(f"(?:{VERSION.pattern})?")
"""Of a release that does not say which it is."""
COMPATIBLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.,_+-]{0,127}")
SLOT_CLASS: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
RECEIPT_ID: Final = re.compile(r"[0-9a-f]{32}")
BOOT_ID: Final = re.compile(r"[0-9a-f-]{1,64}")
TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
"""UTC to the second, the form that TUF uses."""

SEQUENCE_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""


class Slot(StrEnum):
    """One of the two boot groups of a device."""

    A = "a"
    B = "b"

    @property
    def other(self) -> Slot:
        """The slot that is not this one."""
        return Slot.B if self is Slot.A else Slot.A
