"""The list of devices that there should be, and which of them nothing was ever heard of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate import plainfile
from usbupdate.audit.depth import Checked
from usbupdate.audit.findings import Finding, Flaw
from usbupdate.audit.verdict import Standing, Verdict
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set as AbstractSet
    from pathlib import Path

    from usbupdate.audit.devices import Devices

_SIZE_MAX: Final = 64 << 20


def read_roster(path: Path) -> tuple[DeviceId, ...]:
    """Return the devices that a text file lists, one id a line, sorted; what follows a `#` is for people.

    Raises:
        UnusableFileError: it cannot be read, or a line is no device's id.
    """
    with plainfile.translated(path):
        raw = plainfile.read(path, _SIZE_MAX)
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError as error:
        raise UnusableFileError(path=str(path), problem="not a text in UTF-8") from error
    devices = set()
    for number, line in enumerate(lines, 1):
        name = line.partition("#")[0].strip()
        if name and not DEVICE_ID.fullmatch(name):
            raise UnusableFileError(path=str(path), problem=f"line {number} is no id of a device")
        if name:
            devices.add(DeviceId(name))
    return tuple(sorted(devices))


def never_heard(roster: Iterable[DeviceId], there: AbstractSet[DeviceId], devices: Devices, source: str) -> Iterator[Verdict]:
    """Yield a verdict for each device on the list of which no log is here and nothing was ever seen.

    Args:
        roster: the devices on the list.
        there: those with a log here.
        devices: what was seen before.
        source: what to call the list.

    Raises:
        EnrolmentUnreadableError: the auditor's record of a device is damaged.
    """
    for device in roster:
        enrolment = None if device in there else devices.get(device)
        if device in there or (enrolment is not None and enrolment.leaves):
            continue
        yield Verdict(
            device=device,
            standing=Standing.INCOMPLETE,
            trust=enrolment.trust if enrolment else None,
            fingerprint=enrolment.identity.fingerprint if enrolment else None,
            receipts=(),
            seen=0,
            sources=(),
            findings=(Finding(device, Flaw.NEVER_HEARD, source),),
            count=0,
            last_event=None,
            checked=Checked(),
        )
