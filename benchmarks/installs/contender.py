"""What a contender is: what it has on its stick, the command with which it writes a slot, and what it proves by then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Final

from refdevice.cache import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEVEL: Final = 15
"""The level of zstd, for everybody who asks for one: the one that usbupdate takes by default."""


@dataclass(frozen=True, slots=True)
class Task:
    """What has to be installed: the image that the slot shall hold, and the one that the device runs."""

    new: Path
    old: Path


@dataclass(frozen=True, slots=True)
class Run:
    """Where one installation finds everything: the mounted stick, the slot to write, and the one that the device runs.

    `scratch` is a folder that it has for itself.
    """

    stick: Path
    slot: Path
    running: Path
    scratch: Path


@dataclass(frozen=True, slots=True)
class Stick:
    """One way to fill a stick, shared by the contenders that install from it.

    `prepare` writes into a folder what installs a task's image; `recipe` is the source that decides what it writes.
    """

    name: str
    prepare: Callable[[Path, Task], None]
    recipe: tuple[Path, ...]

    def key(self, task: Task) -> str:
        """Return what tells its contents from others; the images are named by what they were made from."""
        return digest_of(task.new.name, task.old.name, str(LEVEL), *self.recipe)


class Proof(StrEnum):
    """When a contender knows that bytes are the right ones."""

    BEFORE = "before it writes"
    AFTER = "after"
    NONE = "no"


class Seen(Enum):
    """What a contender has to be given a slot as."""

    FILE = auto()
    BLOCK_DEVICE = auto()


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to install.

    Attributes:
        command: what is run; it prepares whatever a device would have from before.
        known_base: it uses what the device runs.
    """

    name: str
    stick: Stick
    command: Callable[[Run], list[str]]
    proof: Proof
    known_base: bool = False
    reads_back: bool = False
    slot: Seen = Seen.FILE


def shell(script: str, *arguments: str | Path) -> list[str]:
    """Return the command that runs a script of bash, which ends at its first error."""
    return ["bash", "-euo", "pipefail", "-c", script, "bash", *map(str, arguments)]
