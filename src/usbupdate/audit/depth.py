"""How deep a log is looked into, and what was looked at.

A device's signed checkpoint is over every line of its log, so one signature proves them all, if the Merkle root of the lines is
the one that it states. Where it is not, or where there is no such checkpoint, each line is judged by its own signature whatever
depth was asked for: less work never means fewer findings about lines that the checkpoint does not prove.

Source: ADR 0021.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Depth(StrEnum):
    """How deep to look where a checkpoint proves the lines."""

    QUICK = "quick"
    """Signature and root of the checkpoint, over the raw lines."""
    CONTENTS = "contents"
    """The same, and the form and contents of each line: its number, the chain, what the device did."""
    THOROUGH = "thorough"
    """The same, and the signature of each line."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How many lines were judged by what: the root of a signed checkpoint, their contents, their own signatures."""

    by_root: int = 0
    by_contents: int = 0
    by_signature: int = 0

    def __add__(self, other: Checked) -> Checked:
        """Return both together."""
        return Checked(
            self.by_root + other.by_root,
            self.by_contents + other.by_contents,
            self.by_signature + other.by_signature,
        )
