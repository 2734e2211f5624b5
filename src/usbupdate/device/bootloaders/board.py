"""The boot loader of a board, as its configuration names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, assert_never

from usbupdate.device.bootloaders.custom import CustomLoader, current_slot
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.device.bootloaders.grubtries import GrubTriesLoader
from usbupdate.device.bootloaders.settings import (
    BootLoaderConfiguration,
    CustomConfiguration,
    GrubConfiguration,
    GrubScript,
    SimulatedConfiguration,
    UbootConfiguration,
)
from usbupdate.device.bootloaders.uboot import UbootLoader
from usbupdate.device.ports import BootLoader
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from usbupdate.core.words import Slot


class BoardLoader(BootLoader, Protocol):
    """A boot loader that `device check` can look at."""

    advice: ClassVar[str]
    """What a person does where it does not know a slot."""

    def knows(self, slot: Slot) -> bool:
        """Tell whether its memory holds what it needs to know of the slot; raises `BootLoaderError`."""


def told_by_loader(settings: BootLoaderConfiguration, bootnames: Mapping[Slot, str]) -> Slot | None:
    """Return the slot of which the boot loader itself says that it is running; None of one that cannot tell.

    Raises:
        BootLoaderError: it can tell, and does not.
    """
    return current_slot(settings.program, bootnames) if isinstance(settings, CustomConfiguration) else None


def board_loader(settings: BootLoaderConfiguration, bootnames: Mapping[Slot, str], booted: Callable[[], Slot]) -> BoardLoader:
    """Return the boot loader that is configured.

    Args:
        settings: which one it is, and where it keeps what it knows.
        bootnames: what it calls each slot.
        booted: finds out which slot is running, or raises `BootLoaderError`.

    Raises:
        BootLoaderError: it is the simulated one, which has no board; `simulate` joins that, and knows what was started.
    """
    match settings:
        case GrubConfiguration(environment=environment, script=GrubScript.RAUC):
            return GrubLoader(environment, bootnames, booted)
        case GrubConfiguration(environment=environment):
            return GrubTriesLoader(environment, bootnames, booted)
        case UbootConfiguration(config=config):
            return UbootLoader(config, bootnames, booted)
        case CustomConfiguration(program=program):
            return CustomLoader(program, bootnames, booted)
        case SimulatedConfiguration():
            raise BootLoaderError(problem="a simulated boot loader starts no board")
    assert_never(settings)
