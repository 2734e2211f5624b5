"""What an installation relies on besides the stick, and the refusal where others than root could have changed or read it.

Only installations are refused: a boot is confirmed whatever else is wrong (design, section 9, "Fail closed").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from usbupdate.device.bootloaders.settings import (
    CustomConfiguration,
    GrubConfiguration,
    SimulatedConfiguration,
    UbootConfiguration,
)
from usbupdate.device.exposure import Exposure, Reach, changeable, exposed
from usbupdate.errors import ExposedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from usbupdate.device.configuration import Configuration


def require_closed(configuration: Configuration) -> None:
    """Return only if nobody but root has in his hands what an installation relies on.

    Raises:
        ExposedError: naming the first place that is open.
    """
    found = exposed_state(configuration) or exposed_release(configuration)
    if found is not None:
        raise ExposedError(place=str(found.place), problem=found.problem)


def exposed_state(configuration: Configuration) -> Exposure | None:
    """Return how others reach the state folder, if they do; what is missing is for others to say."""
    return _looked_at(configuration.state_dir, exposed) or _first([configuration.state_dir], configuration)


def exposed_release(configuration: Configuration) -> Exposure | None:
    """Return how others reach what the release says of the device and how it is booted, if they do."""
    return _first(_of_release(configuration), configuration)


def _of_release(configuration: Configuration) -> Iterator[Path]:
    yield configuration.path
    yield configuration.root
    match configuration.bootloader:
        case GrubConfiguration(environment):
            yield environment
        case UbootConfiguration(config):
            if config is not None:
                yield config
        case CustomConfiguration(program):
            yield program
        case SimulatedConfiguration():
            return
        case unknown:
            assert_never(unknown)


def _first(places: Iterator[Path] | list[Path], configuration: Configuration) -> Exposure | None:
    """Return the first that is in others' hands; a simulated device lies in the folder of whoever plays with it."""
    if isinstance(configuration.bootloader, SimulatedConfiguration):
        return None
    return next((found for place in places if (found := _looked_at(place, changeable))), None)


def _looked_at(place: Path, look: Callable[[Path], Exposure | None]) -> Exposure | None:
    try:
        return look(place)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Exposure(place, Reach.UNKNOWN, f"cannot be looked at ({error.strerror or type(error).__name__})")
