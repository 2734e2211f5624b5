"""What the commands of the office print: lines for a person or one JSON document, and notes on the other stream."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import typer

from usbupdate.core import authorisation as authorisations
from usbupdate.packager.upkeep import renewal_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from usbupdate.core.authorisation import Authorisation
    from usbupdate.core.manifest import Manifest
    from usbupdate.core.strictjson import Json
    from usbupdate.errors import UsbupdateError
    from usbupdate.packager.bundle import Bundle
    from usbupdate.packager.downgrade import Allowance
    from usbupdate.packager.office import Office
    from usbupdate.packager.thresholds import Missing
    from usbupdate.packager.upkeep import Checkup


def result(table: Mapping[str, Json], lines: Iterable[str], *, as_json: bool) -> None:
    """Print one result: as one JSON document with nothing else on standard output, or as lines."""
    if as_json:
        typer.echo(json.dumps(table, indent=2, sort_keys=True))
        return
    for line in lines:
        typer.echo(line)


def problem(error: UsbupdateError) -> None:
    """Print what went wrong and what to do, once; the command goes on or has its own end."""
    typer.echo(f"Error: {error}\nWhat to do: {error.hint}", err=True)


def note(text: str) -> None:
    """Print something that a person should know, and that is no result and no error."""
    typer.echo(f"Note: {text}", err=True)


def width() -> int | None:
    """Return how many characters a line of the terminal has, or None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def size(count: int) -> str:
    """Return a number of bytes as a person reads it."""
    for factor, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def missing_table(office: Office, missing: Sequence[Missing]) -> Json:
    """Return who is missing, for JSON."""
    return [
        {
            "role": str(each.role),
            "needed": each.needed,
            "keys": [{"id": keyid, "reference": office.reference(keyid)} for keyid in each.keys],
            "unopened": [{"id": key.keyid, "reference": key.reference, "problem": key.problem} for key in each.unopened],
        }
        for each in missing
    ]


def missing_lines(office: Office, missing: Sequence[Missing]) -> Iterator[str]:
    """Yield who is missing, or that nobody is."""
    if not missing and office.is_excerpt:
        yield "Signed by everybody who has to sign: carry the folder back, and run 'usbupdate repo import' in the repository."
    elif not missing:
        yield "Signed by everybody who has to sign: sticks can be written."
    for each in missing:
        people = ", ".join(f"{keyid[:8]} ({office.reference(keyid)})" for keyid in each.keys)
        yield f"NOT SIGNED YET: {each.role} needs {each.needed} more of: {people}"
        for key in each.unopened:
            yield f"    {office.reference(key.keyid)} did not sign: {key.problem}"


def waiting(*, published: bool, leaving: bool, gone: str = "withdrawn") -> str:
    """Return what stands behind something in a list of the office's that waits for signatures, or nothing.

    Args:
        published: whether sticks would carry it now.
        leaving: whether a list without it waits.
        gone: what it is once that is signed.
    """
    if leaving:
        return f"  (will be {gone} once that is signed)"
    return "" if published else "  (waits for signatures)"


def change(
    office: Office,
    missing: tuple[Missing, ...],
    lines: Iterable[str],
    more: Mapping[str, Json] | None = None,
    *,
    as_json: bool,
) -> None:
    """Print what became of a change to the repository, and who still has to sign."""
    table = {"signed": not missing, "missing": missing_table(office, missing), "repo": str(office.path), **(more or {})}
    result(table, [*lines, *missing_lines(office, missing)], as_json=as_json)


def bundle_table(bundle: Bundle) -> dict[str, Json]:
    """Return a bundle, for JSON."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "sequence": manifest.sequence,
        "from_sequence_min": manifest.from_sequence_min,
        "compatible": list(manifest.compatible),
        "devices": list(manifest.devices),
        "groups": list(manifest.groups),
        "kind": str(manifest.kind),
        "created": manifest.created,
        "target": bundle.target,
        "manifest_sha256": bundle.sha256,
        "published": bundle.published,
        "withdrawal_waits": bundle.leaving,
        "payload_bytes": sum(blob.size for blob in bundle.payload),
        "images": {each.slot_class: {"sha256": each.image.sha256, "size": each.image.size} for each in manifest.artifacts},
    }


def bundle_line(bundle: Bundle) -> str:
    """Return a bundle in one line."""
    manifest = bundle.manifest
    waits = waiting(published=bundle.published, leaving=bundle.leaving)
    payload = size(sum(blob.size for blob in bundle.payload))
    return (
        f"{manifest.name} {manifest.version}, sequence {manifest.sequence}, {', '.join(manifest.compatible)}, {payload}{waits}"
    )


def base_lines(manifest: Manifest) -> Iterator[str]:
    """Yield a line for each base of a release's deltas."""
    for artifact in manifest.artifacts:
        for delta in artifact.deltas:
            stored = size(delta.index.size + sum(pack.size for pack in delta.packs))
            yield f"{artifact.slot_class} image {delta.base_sha256[:16]}…, {size(delta.base_size)}: {stored} to read"


def allowance_table(allowance: Allowance, now: datetime) -> dict[str, Json]:
    """Return a downgrade authorisation, for JSON."""
    return {
        **authorisation_table(allowance.authorisation),
        "authorisation_sha256": allowance.sha256,
        "bundle": None if allowance.bundle is None else allowance.bundle.target.removesuffix(".json"),
        "ended": allowance.has_ended(now),
        "published": allowance.published,
        "withdrawal_waits": allowance.leaving,
    }


def authorisation_table(authorisation: Authorisation) -> dict[str, Json]:
    """Return what an authorisation says, for JSON."""
    return {"target": authorisation.name, **authorisations.table(authorisation)}


def allowance_line(allowance: Allowance, now: datetime) -> str:
    """Return a downgrade authorisation in one line."""
    waits = waiting(published=allowance.published, leaving=allowance.leaving)
    if allowance.has_ended(now) and not allowance.leaving:
        waits = "  (has ended)"
    manifest = None if allowance.bundle is None else allowance.bundle.manifest
    return f"{authorisation_line(allowance.authorisation, manifest)}{waits}"


def authorisation_line(authorisation: Authorisation, manifest: Manifest | None) -> str:
    """Return what an authorisation says in one line; `manifest` is that of its bundle, if it is at hand."""
    to = "a bundle that is not offered here" if manifest is None else f"{manifest.name} {manifest.version}"
    return (
        f"authorisation {authorisation.number}: {authorisation.device} may go back to {to} from sequence {authorisation.floor} "
        f"or lower, until {authorisation.expires}, ticket {authorisation.ticket}"
    )


def checkup_table(office: Office, checkup: Checkup) -> dict[str, Json]:
    """Return the state of a repository, for JSON."""
    first, renewal = checkup.first_to_end, checkup.next_renewal
    return {
        "signed": not checkup.missing,
        "missing": missing_table(office, checkup.missing),
        "advice": list(checkup.advice),
        "sticks_can_be_written": not checkup.in_the_way,
        "good_until": first.expires if first is not None else None,
        "first_to_end": str(first.role) if first is not None else None,
        "next_renewal": {"role": str(renewal[0]), "day": renewal[1]} if renewal is not None else None,
        "roles": {
            str(each.role): {
                "version": each.version,
                "expires": each.expires,
                "days_left": each.days_left,
                "threshold": each.threshold,
                "losable_keys": each.losable,
                "stealable_keys": each.stealable,
                "signed_by": each.signed,
                "waits": each.waits,
                "keys": [
                    {"id": key.id, "reference": key.reference, "within_reach": key.within_reach, "problem": key.problem}
                    for key in each.keys
                ],
            }
            for each in checkup.roles
        },
    }


def checkup_lines(office: Office, checkup: Checkup, listed: Iterable[str]) -> Iterator[str]:
    """Yield the state of a repository, and at the end what is to be done; `listed` is what else is in force."""
    for each in checkup.roles:
        left = f"{each.days_left} days" if each.days_left is None or each.days_left >= 0 else "ended"
        end = f"version {each.version}, until {each.expires} ({left})" if each.expires else "not published"
        signed = f"{each.signed} {'has' if each.signed == 1 else 'have'} signed{' the change that waits' if each.waits else ''}"
        bears = f"{each.losable} may be lost, {each.stealable} stolen"
        yield f"{each.role}: {end}; needs {each.threshold} of {len(each.keys)} keys, {signed}; {bears}"
        for key in each.keys:
            where = "" if key.within_reach else f"  ({key.problem or 'not within reach'})"
            yield f"    {key.id[:8]}  {key.reference}{where}"
    yield from missing_lines(office, checkup.missing)
    first = checkup.first_to_end
    if checkup.in_the_way:
        roles = ", ".join(each.role for each in checkup.in_the_way)
        yield f"NO STICK CAN BE WRITTEN until {roles} {'is' if len(checkup.in_the_way) == 1 else 'are'} signed."
    elif first is not None:
        yield f"Sticks that are written now are good until {first.expires}, when {first.role} ends."
    yield from listed
    yield from (f"To do: {each}" for each in checkup.advice)
    if not checkup.advice and not checkup.missing and checkup.next_renewal is not None:
        role, day = checkup.next_renewal
        yield f"Nothing has to be done before {day}; then renew {role} with {renewal_of(role)}."
