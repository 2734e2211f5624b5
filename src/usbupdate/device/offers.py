"""What a stick offers, once its metadata is verified.

Source: design, section 3, "Targets".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.core.policy import Offer
from usbupdate.core.trust import bundle_names, read_manifest
from usbupdate.errors import MediumFileMissingError, NewerFormatError

if TYPE_CHECKING:
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.trust import Trusted


def read_offers(trusted: Trusted, medium: MediumReader) -> list[Offer]:
    """Return every bundle that the verified targets list and whose manifest lies on the stick.

    One that is listed but not there is no error: it went out on another stick.

    Raises:
        RejectedError: a manifest that lies there is not the one that was signed.
        NewerFormatError: there are manifests, and all of them are of a format that only a newer agent can read.
        MediumError: the stick could not be read.
    """
    offers = []
    newer: NewerFormatError | None = None
    for name in bundle_names(trusted):
        try:
            offers.append(Offer(*read_manifest(trusted, name, medium)))
        except MediumFileMissingError:
            continue
        except NewerFormatError as error:
            newer = error
    if newer is not None and not offers:
        raise newer
    return offers
