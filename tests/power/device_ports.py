"""Which file of the world of the sweeps is what to the agent."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Part(StrEnum):
    """What fails together when it fails for good."""

    SLOT = "slot"
    STICK = "stick"
    STATE = "state partition"
    LOADER = "boot environment"
    RUN = "memory"
    RELEASE = "the running release"


class Port(StrEnum):
    """What a file is to the agent."""

    SLOT = "slot"
    STICK = "stick"
    LOG = "log on the stick"
    STATE = "state"
    LEDGER = "ledger"
    TRUST = "trust store"
    IDENTITY = "identity"
    LOADER = "boot environment"
    STATUS = "status file"
    RELEASE = "what the release brings"

    @property
    def part(self) -> Part:
        """The part of the device that it lies on."""
        return _PARTS.get(self, Part.STATE)


_PARTS: Final = {
    Port.SLOT: Part.SLOT,
    Port.STICK: Part.STICK,
    Port.LOG: Part.STICK,
    Port.LOADER: Part.LOADER,
    Port.STATUS: Part.RUN,
    Port.RELEASE: Part.RELEASE,
}

_PLACES: Final = (
    ("lab/dev/slots/", Port.SLOT),
    ("lab/dev/state/ledger", Port.LEDGER),
    ("lab/dev/state/trust", Port.TRUST),
    ("lab/dev/state/identity", Port.IDENTITY),
    ("lab/dev/state", Port.STATE),
    ("lab/dev/bootloader.json", Port.LOADER),
    ("lab/dev/run", Port.STATUS),
    ("lab/dev/device.toml", Port.RELEASE),
    ("lab/dev/root.json", Port.RELEASE),
    ("lab/dev/health.d", Port.RELEASE),
)
_LOGS: Final = "/usbupdate/logs"


def port_of(path: str) -> Port | None:
    """Return what a path beneath the world's folder is to the agent; None for what the image or the simulation brings."""
    if path.startswith("sticks/"):
        return Port.LOG if _LOGS in path else Port.STICK
    # The folder that holds the boot environment is synced for its sake.
    return Port.LOADER if path == "lab/dev" else next((port for start, port in _PLACES if path.startswith(start)), None)
