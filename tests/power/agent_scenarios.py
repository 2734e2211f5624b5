"""What is done to the simulated device while its power is cut, and how many cuts that was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from usbupdate.simulate.bench import Mishaps


class Way(StrEnum):
    """How it goes on after a cut."""

    INSERT = "insert"
    BOOT = "boot"
    BOOT_WITHOUT = "boot without the stick"


class Release(StrEnum):
    """How the release on a scenario's stick behaves."""

    GOOD = "good"
    PANICS = "panics"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is done, and cut."""

    name: str
    stick: str
    release: Release = Release.GOOD
    is_taken: bool = True
    """Whether the stick brings something that this device takes."""
    is_used: bool = False
    """Whether the device has committed an update before, so that its other slot holds a whole older release."""
    first: Way = Way.INSERT
    is_stick_in: bool = False
    """Whether the stick was put in, and done with, before."""
    is_ordered_back: bool = False
    """Whether the stick brings an older release, and the authorisation by which this device goes back to it."""
    holds_older_log: bool = False
    """Whether the stick has taken this device's log before, and less of it."""
    is_acknowledged: bool = False
    """Whether the stick brings word that the device's receipts have arrived, and the device gives them up as soon as it may."""
    is_installed: bool = False
    """Whether the release on the stick is installed already, so that the next boot is its trial."""

    @property
    def mishaps(self) -> Mishaps:
        return Mishaps(panic=self.release is Release.PANICS, unhealthy=self.release is Release.UNHEALTHY)

    @property
    def ends_committed(self) -> bool:
        return self.is_taken and self.release is Release.GOOD


SCENARIOS: Final = (
    Scenario("good", "good"),
    Scenario("good-used", "good", is_used=True),
    Scenario("panics", "good", Release.PANICS, is_used=True),
    Scenario("unhealthy", "good", Release.UNHEALTHY),
    Scenario("rotates", "rotates"),
    Scenario("refused", "refused", is_taken=False),
    Scenario("rejected", "rejected", is_taken=False),
    Scenario("log-only", "logs", is_taken=False, is_used=True),
    Scenario("log-again", "logs", is_taken=False, is_used=True, holds_older_log=True),
    Scenario("goes-back", "back", is_ordered_back=True),
    Scenario("goes-back-in-vain", "back-in-vain", Release.PANICS, is_ordered_back=True),
    Scenario("stays-in", "good", is_stick_in=True, first=Way.BOOT),
    Scenario("acknowledged", "word", is_used=True, is_acknowledged=True),
    Scenario("acknowledged-again", "word-again", is_used=True, holds_older_log=True, is_acknowledged=True),
    Scenario("on-trial", "good", is_installed=True, first=Way.BOOT),
)


def scenario_of(name: str) -> Scenario:
    """Return a scenario by its name."""
    return next(each for each in SCENARIOS if each.name == name)


@dataclass(slots=True)
class Tally:
    """What a sweep saw."""

    cuts: int = 0
    second_cuts: int = 0
    runs: int = 0
    layers: Counter[str] = field(default_factory=Counter)
    """How many of the first cuts fell before a change of what."""
    flaws: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what another sweep saw."""
        self.cuts += other.cuts
        self.second_cuts += other.second_cuts
        self.runs += other.runs
        self.layers += other.layers
        self.flaws += other.flaws
        self.errors += other.errors
        self.violations += other.violations
