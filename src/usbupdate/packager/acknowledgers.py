"""Who may acknowledge receipts: named by the list of bundles, so by those who sign that, and taken back by them.

Whoever holds such a key can make devices give up room that receipts take which somebody keeps elsewhere, and nothing else.

Source: design, section 7, "Acknowledgement"; ADR 0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from usbupdate.core import acknowledgers
from usbupdate.core.acknowledgers import ACKNOWLEDGERS_MAX, FIELD, NAME
from usbupdate.core.cosignature import Cosigner
from usbupdate.core.identity import PublicKey
from usbupdate.errors import (
    AcknowledgerTakenError,
    KeyUnusableError,
    MalformedError,
    NoSuchAcknowledgerError,
    OfficeFileError,
    UnusableValueError,
)
from usbupdate.packager import keys, targetfiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from securesystemslib.signer import SSlibKey
    from tuf.api.metadata import Targets

    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office
    from usbupdate.packager.thresholds import Missing


@dataclass(frozen=True, slots=True)
class Acknowledger:
    """Somebody who may acknowledge, or will be once that is signed; `leaving` while a list without him waits for signatures."""

    cosigner: Cosigner
    published: bool
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a change: whom it is about, and who still has to sign."""

    acknowledgers: tuple[Acknowledger, ...]
    missing: tuple[Missing, ...]


def name(office: Office, reference: str, called: str | None, now: datetime, ask: Passphrases = keys.no_passphrase) -> Change:
    """Propose a list of bundles that names one more key, signed with every key within reach.

    Args:
        office: the repository.
        reference: the key; its public half is enough.
        called: the name in its cosignatures; without one, that of the file.
        now: the time it is.
        ask: who is asked for passphrases.

    Raises:
        OfficeKeyError: the key cannot be used, or a passphrase fits none; the repository is as it was.
        UnusableValueError: the name cannot be used, or there are too many already; as above.
        AcknowledgerTakenError: the name or the key is named already; as above.
    """
    cosigner = Cosigner(_name_of(reference, called), _ed25519(reference, keys.public_key(reference, ask)))
    targets = targetfiles.edited(office)
    before = _named(targets)
    for each in before:
        if each.name == cosigner.name or each.public_key == cosigner.public_key:
            raise AcknowledgerTakenError(name=each.name, key=keys.id_of_ed25519(each.public_key))
    if len(before) >= ACKNOWLEDGERS_MAX:
        raise UnusableValueError(what="KEY", value=reference, problem=f"{ACKNOWLEDGERS_MAX} keys are named already")
    desk = office.desk(now, ask)
    desk.open_keys()
    _put(targets, [*before, cosigner])
    missing = desk.propose_targets(targets)
    return Change(_about(cosigner.name, office), missing)


def drop(office: Office, called: str, now: datetime, ask: Passphrases = keys.no_passphrase) -> Change:
    """Propose a list of bundles that does not name a key any more.

    Raises:
        NoSuchAcknowledgerError: none of that name is there.
        OfficeKeyError: a passphrase fits no key; the repository is as it was.
    """
    targets = targetfiles.edited(office)
    before = _named(targets)
    if all(each.name != called for each in before):
        raise NoSuchAcknowledgerError(name=called)
    desk = office.desk(now, ask)
    desk.open_keys()
    _put(targets, [each for each in before if each.name != called])
    missing = desk.propose_targets(targets)
    return Change(_about(called, office), missing)


def listed(office: Office) -> tuple[Acknowledger, ...]:
    """Return everybody who may acknowledge, or whose naming waits for signatures, by name.

    Raises:
        OfficeFileError: what the repository says of that cannot be read.
    """
    waiting = office.metadata.staged_targets()
    present = published(office)
    proposed = _named(waiting.signed) if waiting is not None else present
    found = {Acknowledger(each, published=each in present, leaving=each not in proposed) for each in (*present, *proposed)}
    return tuple(sorted(found, key=lambda each: (each.cosigner.name, each.leaving)))


def published(office: Office) -> tuple[Cosigner, ...]:
    """Return whom the list of bundles names that sticks carry now.

    Raises:
        OfficeFileError: as `listed`.
    """
    targets = office.metadata.targets()
    return _named(targets.signed) if targets is not None else ()


def key_of(reference: str, office: Office, ask: Passphrases) -> tuple[Cosigner, SSlibKey] | None:
    """Return who is named by the published list for a key, and the key; None if nobody is.

    Raises:
        OfficeKeyError: the key cannot be used.
    """
    key = keys.public_key(reference, ask)
    public = _ed25519(reference, key)
    found = next((each for each in published(office) if each.public_key == public), None)
    return None if found is None else (found, key)


def changes(before: Targets | None, after: Targets) -> Iterable[str]:
    """Yield how a list of bundles differs from the one before in whom it names, as a signer must see it."""
    old, new = set(_named(before)) if before is not None else set(), set(_named(after))
    for sign, cosigners in (("-", old - new), ("+", new - old)):
        for each in sorted(cosigners, key=lambda each: each.name):
            yield f"  {sign} {line(each)}"


def line(cosigner: Cosigner) -> str:
    """Return who may acknowledge, in one line, with the key id that its holder sees with `key show`."""
    return f"acknowledger {cosigner.name}, key id {keys.id_of_ed25519(cosigner.public_key)}"


def _about(called: str, office: Office) -> tuple[Acknowledger, ...]:
    return tuple(each for each in listed(office) if each.cosigner.name == called)


def _put(targets: Targets, cosigners: list[Cosigner]) -> None:
    targets.unrecognized_fields.pop(FIELD, None)
    if cosigners:
        targets.unrecognized_fields[FIELD] = acknowledgers.encode(cosigners)


def _named(targets: Targets) -> tuple[Cosigner, ...]:
    try:
        return acknowledgers.decode(targets.unrecognized_fields)
    except MalformedError as error:
        raise OfficeFileError(path="targets.json", problem=f"{error.field}: {error.problem}") from error


def _name_of(reference: str, called: str | None) -> str:
    found = called if called is not None else PurePath(reference).name.removesuffix(keys.PUBLIC_SUFFIX).removesuffix(".pem")
    if not NAME.fullmatch(found):
        problem = "a name is 1 to 63 lower-case letters, digits and . / - _, such as office.example/audit"
        raise UnusableValueError(what="--name", value=found, problem=problem)
    return found


def _ed25519(reference: str, key: SSlibKey) -> PublicKey:
    if key.scheme != "ed25519":
        raise KeyUnusableError(key=reference, problem="receipts are acknowledged with Ed25519 keys only")
    return PublicKey(bytes.fromhex(str(key.keyval["public"])))
