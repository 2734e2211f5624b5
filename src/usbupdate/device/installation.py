"""The installation of one offer from one stick, as the obligations ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Manifest
    from usbupdate.core.receipt import Traffic
    from usbupdate.core.record import Attempt
    from usbupdate.core.words import SlotClass
    from usbupdate.device.installer import Advance
    from usbupdate.device.machine import Machine
    from usbupdate.device.ports import Progressed, SlotImage


class StickInstallation:
    """The installation of one offer from one stick. Implements `device.ports.Installation`."""

    def __init__(
        self,
        machine: Machine,
        manifest: Manifest,
        medium: MediumReader,
        images: Mapping[SlotClass, SlotImage],
        progress: Advance,
    ) -> None:
        self._machine = machine
        self._manifest = manifest
        self._medium = medium
        self._images = images
        self._progress = progress
        self._passing_on: _InstallProgress | None = None

    @property
    def moved(self) -> Traffic | None:
        """What was moved until an error; see `device.ports.Installation`."""
        return None if self._passing_on is None else self._passing_on.moved

    def run(self, attempt: Attempt, progressed: Progressed) -> Traffic:
        """Install; see `device.ports.Installation`."""
        self._passing_on = _InstallProgress(self._progress, progressed)
        return self._machine.install(self._manifest, self._medium, self._images, self._passing_on)


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
