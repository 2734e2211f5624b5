"""What `usbupdate stick inspect` tells of a stick: lines for a person, or a table for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.cli import show
from usbupdate.core import plaintext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.core.strictjson import Json
    from usbupdate.packager.inspection import Inspection


def table(found: Inspection) -> dict[str, Json]:
    """Return what a stick proves, for JSON."""
    trusted = found.stick.trusted
    return {
        "root_given": found.is_root_given,
        "root_version": trusted.root_version,
        "timestamp_version": trusted.timestamp_version,
        "signers": list(trusted.signers),
        "signed_at": trusted.floor,
        "expires": {str(role): end for role, end in found.expires.items()},
        "first_to_end": str(found.first_to_end),
        "good_until": found.expires[found.first_to_end],
        "elsewhere": list(found.stick.elsewhere),
        "bundles": [
            {
                "target": each.target,
                "manifest_sha256": each.sha256,
                "name": each.manifest.name if each.manifest else None,
                "version": each.manifest.version if each.manifest else None,
                "sequence": each.manifest.sequence if each.manifest else None,
                "compatible": list(each.manifest.compatible) if each.manifest else None,
            }
            for each in found.stick.bundles
        ],
        "authorisations": [show.authorisation_table(each) for each in found.stick.authorisations],
        "unreadable": list(found.stick.unreadable),
        "acknowledged_devices": len(found.stick.acknowledged),
        "acknowledgements_problem": found.stick.acknowledgements_problem or None,
    }


def lines(found: Inspection) -> Iterator[str]:
    """Yield what a stick proves."""
    trusted = found.stick.trusted
    if found.is_root_given:
        yield "Verified under the root that was given: a device that trusts it takes this stick."
    else:
        yield "NO ROOT GIVEN: the stick is whole by its own first root; who wrote it is not proven. Use --root."
    yield f"Signed at {trusted.floor}; root version {trusted.root_version}, timestamp version {trusted.timestamp_version}"
    for role, end in found.expires.items():
        yield f"    {role} until {end}"
    yield f"Good until {found.expires[found.first_to_end]}, when {found.first_to_end} ends"
    for each in found.stick.bundles:
        if each.manifest is None:
            yield f"{each.target}: needs a newer usbupdate to be read"
        else:
            yield f"{each.manifest.name} {each.manifest.version}, sequence {each.manifest.sequence}: every byte verified"
            if each.deltas_only:
                yield "    ONLY WHAT DIFFERS: devices that run another release than these bases refuse it:"
                yield from (f"    {line}" for line in show.base_lines(each.manifest))
    manifests = {each.sha256: each.manifest for each in found.stick.bundles}
    for authorisation in found.stick.authorisations:
        yield show.authorisation_line(authorisation, manifests.get(authorisation.manifest_sha256))
    for name in found.stick.unreadable:
        yield f"{name}: needs a newer usbupdate to be read"
    yield from word_on_receipts(len(found.stick.acknowledged))
    if found.stick.acknowledgements_problem:
        yield f"WORD ON RECEIPTS THAT DEVICES CANNOT READ: {found.stick.acknowledgements_problem}"
    for name in found.stick.elsewhere:
        yield f"{name}: offered, but not on this stick"
    if not found.stick.bundles:
        yield "It holds no bundle: it collects logs, and tells devices whom to trust."


def word_on_receipts(devices: int) -> Iterator[str]:
    """Yield of how many devices a stick says that their receipts have arrived, if of any."""
    if devices:
        yield f"It brings word that receipts have arrived, for {plaintext.counted(devices, 'device')}"
