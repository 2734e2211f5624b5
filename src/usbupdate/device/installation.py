"""The installation of one offer from one stick, as the obligations ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbupdate.core.receipt import Traffic
    from usbupdate.core.record import Attempt
    from usbupdate.device.installer import Advance, Progress
    from usbupdate.device.ports import Progressed


class StickInstallation:
    """The installation of one offer from one stick. Implements `device.ports.Installation`."""

    def __init__(self, install: Callable[[Progress], Traffic], progress: Advance) -> None:
        """Take what installs, once it is told whom to tell how far it is; `progress` is told too."""
        self._install = install
        self._progress = progress
        self._passing_on: _InstallProgress | None = None

    @property
    def moved(self) -> Traffic | None:
        """What was moved until an error; see `device.ports.Installation`."""
        return None if self._passing_on is None else self._passing_on.moved

    def run(self, attempt: Attempt, progressed: Progressed) -> Traffic:
        """Install; see `device.ports.Installation`."""
        self._passing_on = _InstallProgress(self._progress, progressed)
        return self._install(self._passing_on)


class _InstallProgress:
    """Passes progress on, and the first chunk that was newly written to the lifecycle."""

    def __init__(self, advance: Advance, progressed: Progressed) -> None:
        self._advance = advance
        self._progressed = progressed
        self.moved: Traffic | None = None

    def began(self, what: str) -> None:
        """Pass it on."""
        self._advance.began(what)

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Pass it on."""
        self._advance.advanced(done_bytes, total_bytes)

    def stopped(self, traffic: Traffic) -> None:
        """Keep it for the receipt."""
        self.moved = traffic

    def first_write(self) -> None:
        """Remember that taking this installation up again is worth while."""
        self._progressed()
