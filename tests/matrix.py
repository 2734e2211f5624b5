"""What a test shows to somebody who asks what we survive: one row of the matrix in docs/threat-model.md.

The page is made from these marks, so no row can stand there without its test.
"""

from __future__ import annotations

from enum import StrEnum

import pytest


class By(StrEnum):
    """Who attacks."""

    STICK = "whoever made the stick"
    OLD_STICK = "whoever kept an old stick"
    TECHNICIAN = "a dishonest technician"
    OWNER = "whoever has a device in hand"
    LOCAL = "another user of the device, without root"
    SIGNER = "one dishonest signer, or a packager that errs"
    STOLEN_KEY = "whoever stole keys"
    NETWORK = "whoever is in the office's network"
    CHANCE = "nobody: power, wear, neglect"


class On(StrEnum):
    """What is attacked."""

    SLOT = "what the device runs"
    TRUST = "whom it believes"
    RECORD = "what it reports"
    SERVICE = "that it goes on working"
    STICK = "the stick"
    OFFICE = "the office"


def attack(by: By, on: On, what: str, held: str) -> pytest.MarkDecorator:
    """Mark a test as what shows that an attack does not succeed.

    Args:
        by: who attacks.
        on: what is attacked.
        what: what they do.
        held: why it does not succeed.
    """
    return pytest.mark.attack(by, on, what, held)
