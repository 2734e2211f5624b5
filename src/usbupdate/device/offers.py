"""What a stick offers, and what it orders this device, once its metadata is verified.

Source: design, section 3, "Targets" and "Rollback".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate.core.authorisation import parse_name, target_name
from usbupdate.core.policy import Offer
from usbupdate.core.trust import authorisation_names, bundle_names, read_authorisation, read_manifest
from usbupdate.errors import MediumFileMissingError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.core.authorisation import Authorisation
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.trust import Trusted
    from usbupdate.core.words import DeviceId

AUTHORISATIONS_MAX: Final = 16
"""How many authorisations of one device are looked for on a stick: those with the highest numbers."""


def names_of_offers(trusted: Trusted, medium: MediumReader) -> tuple[str, ...]:
    """Return the name of every bundle that the verified targets list and whose manifest lies on the stick and can be read.

    One that is listed but not there is no error: it went out on another stick. None of the manifests is kept: a stick may have
    more of them than the device has memory.

    Raises:
        RejectedError: a manifest that lies there is not the one that was signed.
        NewerFormatError: there are manifests, and all of them are of a format that only a newer agent can read.
        MediumError: the stick could not be read.
    """
    names = []
    newer: NewerFormatError | None = None
    for name in bundle_names(trusted):
        try:
            read_manifest(trusted, name, medium)
        except MediumFileMissingError:
            continue
        except NewerFormatError as error:
            newer = error
        else:
            names.append(name)
    if newer is not None and not names:
        raise newer
    return tuple(names)


def read_offers(trusted: Trusted, medium: MediumReader, names: Iterable[str]) -> Iterator[Offer]:
    """Yield the bundles of these names, each proven when it is its turn, though the stick has changed meanwhile.

    Args:
        trusted: what a refresh proved.
        medium: the stick.
        names: some of `names_of_offers(trusted, medium)`.

    Raises:
        RejectedError: what lies there is not what was signed.
        MediumError: the stick could not be read.
    """
    return (Offer(*read_manifest(trusted, name, medium)) for name in names)


def read_authorisations(trusted: Trusted, medium: MediumReader, device: DeviceId, used: int) -> list[Authorisation]:
    """Return the device's downgrade authorisations that the verified targets list and that lie on the stick.

    One that is listed but not there is no error. Those of other devices are not opened, nor those with a number below the last
    one that the device used. A stick with one that cannot be read is not taken: it may order the opposite of what is offered.

    Args:
        trusted: what a refresh proved.
        medium: the stick.
        device: this device.
        used: the number of the last one that it used.

    Raises:
        RejectedError: what lies there is not what was signed.
        NewerFormatError: only a newer agent can read one of them.
        MediumError: the stick could not be read.
    """
    named = (parse_name(name) for name in authorisation_names(trusted))
    numbers = sorted(
        (found[1] for found in named if found is not None and found[0] == device and found[1] >= used), reverse=True
    )
    authorisations = []
    for number in numbers[:AUTHORISATIONS_MAX]:
        try:
            authorisations.append(read_authorisation(trusted, target_name(device, number), medium))
        except MediumFileMissingError:
            continue
    return authorisations
