"""Which unit this is: `state_dir/device.toml`, made once by `device provision`.

It never speaks of trust or of compatibility: it outlives every image, so nothing in it may widen what the device takes.

Source: design, section 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core.words import DEVICE_ID, GROUP, DeviceId
from usbupdate.device.toml import load_table
from usbupdate.errors import ConfigurationError, NotProvisionedError, UnitFileError, UnusableValueError

if TYPE_CHECKING:
    from pathlib import Path

UNIT_FILE: Final = "device.toml"
_GROUPS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """One device among those of its model: its id for ever, and the groups that it was put into."""

    id: DeviceId
    groups: tuple[str, ...] = ()


def load_unit(state_dir: Path) -> Unit:
    """Return which unit this is.

    Raises:
        NotProvisionedError: there is no such file.
        UnitFileError: the file cannot be read, or is not of its form.
    """
    path = state_dir / UNIT_FILE
    try:
        if not path.exists():
            raise NotProvisionedError(path=str(path))
        table = load_table(path)
        unit = Unit(
            id=DeviceId(table.text("id", DEVICE_ID)),
            groups=table.texts("groups", GROUP, limit=_GROUPS_MAX) if "groups" in table else (),
        )
        table.done()
    except ConfigurationError as error:
        raise UnitFileError(path=error.path, problem=f"{error.key}: {error.problem}") from error
    except OSError as error:
        raise UnitFileError(path=str(path), problem=error.strerror or type(error).__name__) from error
    return unit


def save_unit(state_dir: Path, unit: Unit) -> None:
    """Write down which unit this is, durably.

    Raises:
        UnusableValueError: the id or a group is not of its grammar, which also is what makes plain quoting safe here.
        OSError: nothing was saved.
    """
    require_sound_unit(unit)
    groups = ", ".join(f'"{group}"' for group in unit.groups)
    durable.save(state_dir / UNIT_FILE, f'id = "{unit.id}"\ngroups = [{groups}]\n'.encode("ascii"), mode=durable.PRIVATE)


def require_sound_unit(unit: Unit) -> None:
    """Refuse a unit that `load_unit` would not read back.

    Raises:
        UnusableValueError: naming the id or the group.
    """
    if not DEVICE_ID.fullmatch(unit.id):
        raise UnusableValueError(what="The device id", value=unit.id, problem="not lower-case letters, digits and hyphens")
    for group in unit.groups:
        if not GROUP.fullmatch(group):
            raise UnusableValueError(what="The group", value=group, problem="not lower-case letters, digits and hyphens")
    if len(set(unit.groups)) != len(unit.groups) or len(unit.groups) > _GROUPS_MAX:
        raise UnusableValueError(what="The groups", value=", ".join(unit.groups), problem="one stands twice, or too many")
