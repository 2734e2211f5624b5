"""The downgrade authorisation: the signed order by which one device, known by its key, goes back to one older release.

It is a TUF target like a manifest, so its digest and signatures are TUF's business; here it is read, strictly, and written.
What a device makes of it is `core.policy`. The receipt of an update that was made by it names it among its checks, a form that
is known to readers which have never heard of authorisations.

Source: design, section 3, "Rollback".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core import strictjson
from usbupdate.core.receipt import Check, CheckResult
from usbupdate.core.words import DEVICE_ID, SEQUENCE_MAX, DeviceId, Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbupdate.core.strictjson import Json

FORMAT: Final = 1
AUTHORISATION_SIZE_MAX: Final = 4 << 10
NUMBER_MAX: Final = SEQUENCE_MAX
TICKET: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
"""One line for people: who asked for it, or why."""
REASON: Final = "downgrade-authorised"
"""What marks the check of a receipt by which an update was allowed to go back."""

_TARGET_NAME: Final = re.compile(r"allow-(.+)-([1-9][0-9]{0,15})\.json")


@dataclass(frozen=True, slots=True)
class Authorisation:
    """An order to one device to go back to one release.

    `fingerprint` is that of the device's key, `manifest_sha256` names the release. `number` counts up for each device; `floor`
    is the highest sequence from which it lets the device go back. From `expires` on it counts no more.
    """

    device: DeviceId
    fingerprint: Digest
    number: int
    manifest_sha256: Digest
    floor: int
    ticket: str
    expires: str

    @property
    def name(self) -> str:
        """The name of the TUF target that it is."""
        return target_name(self.device, self.number)


@dataclass(frozen=True, slots=True)
class Used:
    """By which authorisation a receipt says that an update was allowed to go back: whose, its number and its ticket."""

    device: DeviceId
    number: int
    ticket: str


def decode(raw: bytes) -> Authorisation:
    """Return the authorisation that `raw` is, or say what is wrong with it.

    Raises:
        NewerFormatError: it is of a later format, which is no fault of the stick.
        MalformedError: it breaks a rule of its format.
    """
    fields = strictjson.decode(raw, "downgrade authorisation", limit=AUTHORISATION_SIZE_MAX)
    fields.format(FORMAT)
    authorisation = Authorisation(
        device=DeviceId(fields.text("device", DEVICE_ID)),
        fingerprint=fields.digest("fingerprint"),
        number=fields.integer("number", 1, NUMBER_MAX),
        manifest_sha256=fields.digest("manifest_sha256"),
        floor=fields.integer("floor", 1, SEQUENCE_MAX),
        ticket=fields.text("ticket", TICKET),
        expires=fields.time("expires"),
    )
    fields.done()
    return authorisation


def encode(authorisation: Authorisation) -> bytes:
    """Return the authorisation in the one form that is signed; `decode` gives back an equal value."""
    return strictjson.encode({"format": FORMAT, **table(authorisation)})


def table(authorisation: Authorisation) -> dict[str, Json]:
    """Return what an authorisation says, as the fields of a JSON object."""
    return {
        "device": authorisation.device,
        "fingerprint": authorisation.fingerprint,
        "number": authorisation.number,
        "manifest_sha256": authorisation.manifest_sha256,
        "floor": authorisation.floor,
        "ticket": authorisation.ticket,
        "expires": authorisation.expires,
    }


def target_name(device: DeviceId, number: int) -> str:
    """Return the name of the TUF target that a device's authorisation with this number is."""
    return f"allow-{device}-{number}.json"


def parse_name(name: str) -> tuple[DeviceId, int] | None:
    """Return whose authorisation a target is by its name, and its number; None for a target of another kind."""
    match = _TARGET_NAME.fullmatch(name)
    if match is None or not DEVICE_ID.fullmatch(match[1]) or int(match[2]) > NUMBER_MAX:
        return None
    return DeviceId(match[1]), int(match[2])


def check_of(authorisation: Authorisation) -> Check:
    """Return the check that stands in the receipt of an update that is made by an authorisation."""
    return Check(authorisation.name, CheckResult.PASSED, REASON, authorisation.ticket)


def used_in(checks: Iterable[Check]) -> Used | None:
    """Return by which authorisation an update was made, going by its checks; None for an ordinary one."""
    for check in checks:
        parsed = parse_name(check.name)
        if check.reason == REASON and check.result is CheckResult.PASSED and parsed is not None:
            return Used(*parsed, check.detail)
    return None
