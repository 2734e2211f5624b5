"""Authorisations to go back that are forged, foreign, malformed or too many, put into a device with the real agent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pytest
from tuf.api.metadata import TargetFile, Targets

from tests.attack.test_sticks import require_no_harm, require_takes
from tests.field import NEXT, OFFERED, digest, load
from tests.matrix import By, On, attack
from usbupdate.core import authorisation as authorisations, identity as identity_form
from usbupdate.core.authorisation import NUMBER_MAX, Authorisation
from usbupdate.core.timefloor import ClockReading
from usbupdate.core.trust import refresh
from usbupdate.core.words import DeviceId, Digest
from usbupdate.device.obligations import Rest
from usbupdate.device.offers import AUTHORISATIONS_MAX, read_authorisations
from usbupdate.errors import (
    AliasedTargetError,
    AuthorisationEndedError,
    AuthorisationKeyError,
    AuthorisationUsedError,
    FileDigestError,
    MalformedError,
    MediumFileSizeError,
    NewerFormatError,
    OlderSequenceError,
    UnusableValueError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import downgrade
from usbupdate.packager.downgrade import Wish
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from tests.field import Field, Rig
    from usbupdate.core.layout import MediumPath
    from usbupdate.core.strictjson import Json

LATER: Final = "2099-01-01T00:00:00Z"


@pytest.fixture
def rig(field: Field) -> Rig:
    """Return the device after it was updated; the stick `good` would take it back from there."""
    require_takes(field.rig, field.good, OFFERED)
    require_takes(field.rig, field.cure, NEXT)
    return field.rig


def order(field: Field, rig: Rig, **changes: object) -> Authorisation:
    """Return the authorisation that takes the device back to the stick's release; `changes` are fields of it."""
    who = identity_form.decode((rig.folder / "state/identity/identity.json").read_bytes())
    manifest = load(field.good, Targets).targets[f"gw-{OFFERED}.json"].hashes["sha256"]
    made = Authorisation(who.device, who.fingerprint, 1, digest(b""), NEXT, "CHG-1", LATER)
    return replace(made, manifest_sha256=manifest, **changes)  # type: ignore[arg-type] # fields by name


def put(field: Field, raw: bytes, name: str, *, listed: bool = True) -> Path:
    """Put an authorisation onto the stick, signed unless it is not to be, and return where it lies."""
    path = field.good / f"usbupdate/targets/{digest(raw)}.{name}"
    path.write_bytes(raw)
    if listed:

        def add(targets: Targets) -> None:
            targets.targets |= load(field.cure, Targets).targets
            targets.targets[name] = TargetFile.from_data(name, raw, ["sha256"])

        # Beyond what the stick `cure` has brought.
        field.press.publish(field.good, add, step=20)
    return path


def put_order(field: Field, made: Authorisation, *, listed: bool = True) -> Path:
    return put(field, authorisations.encode(made), made.name, listed=listed)


def test_a_device_goes_back_by_a_genuine_authorisation_and_forward_again(field: Field, rig: Rig) -> None:
    put_order(field, order(field, rig))
    require_takes(rig, field.good, OFFERED)
    record = rig.record()
    assert (record.floor, record.downgrade_number, record.format) == (OFFERED, 1, 2)
    check = rig.last().checks[1]
    assert (check.name, check.reason, check.detail) == ("allow-gw-1-1.json", authorisations.REASON, "CHG-1")
    assert rig.insert(field.good).rest is Rest.IDLE
    rig.remove()
    require_takes(rig, field.cure, NEXT)
    require_no_harm(rig, field.good, AuthorisationUsedError)


@attack(By.STICK, On.SLOT, "an authorisation to go back that nobody signed", "only what signed targets list is looked at")
def test_an_authorisation_that_is_not_listed_is_not_looked_at(field: Field, rig: Rig) -> None:
    put_order(field, order(field, rig), listed=False)
    require_no_harm(rig, field.good, OlderSequenceError)


@attack(By.STICK, On.SLOT, "an authorisation to go back that was changed after signing", "its digest and size are signed")
@pytest.mark.parametrize(("old", "new"), [(b'"number":1', b'"number":2'), (b'"floor":', b'"floor":9')])
def test_a_changed_authorisation_is_rejected(old: bytes, new: bytes, field: Field, rig: Rig) -> None:
    path = put_order(field, order(field, rig))
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new))
    require_no_harm(rig, field.good, (FileDigestError, MediumFileSizeError))


@attack(By.OLD_STICK, On.SLOT, "an authorisation of another device is put into this one", "each device looks for its own only")
def test_an_authorisation_for_another_device_is_passed_over(field: Field, rig: Rig) -> None:
    put_order(field, order(field, rig, device=DeviceId("gw-11")))
    require_no_harm(rig, field.good, OlderSequenceError)


@attack(By.OWNER, On.SLOT, "a device that was made anew under the old id uses its authorisation", "the key is a new one")
def test_an_authorisation_for_the_same_id_and_another_key_is_refused(field: Field, rig: Rig) -> None:
    put_order(field, order(field, rig))
    clone = field.device("clone", device=DeviceId("gw-1"), version="1.3", sequence=NEXT)
    require_no_harm(clone, field.good, AuthorisationKeyError)
    require_takes(rig, field.good, OFFERED)


@attack(By.OLD_STICK, On.SLOT, "an authorisation that ended lies on a genuine stick", "it is judged by trusted time")
def test_an_authorisation_that_has_ended_is_refused(field: Field, rig: Rig) -> None:
    put_order(field, order(field, rig, expires="2026-01-01T00:00:00Z"))
    require_no_harm(rig, field.good, AuthorisationEndedError)


@attack(By.SIGNER, On.SLOT, "one authorisation under another name", "what it says must be what it is called")
@pytest.mark.parametrize("name", ["allow-gw-1-2.json", "allow-gw-1-1000.json"])
def test_an_authorisation_under_another_number_is_rejected(name: str, field: Field, rig: Rig) -> None:
    put(field, authorisations.encode(order(field, rig)), name)
    require_no_harm(rig, field.good, AliasedTargetError)


def test_an_authorisation_of_another_device_under_this_ones_name_is_rejected(field: Field, rig: Rig) -> None:
    put(field, authorisations.encode(order(field, rig, device=DeviceId("gw-2"))), "allow-gw-1-1.json")
    require_no_harm(rig, field.good, AliasedTargetError)


def _with(**fields: Json) -> dict[str, Json]:
    return fields


@attack(By.SIGNER, On.SLOT, "a signed authorisation that breaks its form", "a strict decoder")
@pytest.mark.parametrize(
    "edit",
    [_with(extra=1), _with(number="1"), _with(number=True), _with(floor=0), _with(ticket=""), _with(fingerprint=None)],
    ids=str,
)
def test_a_malformed_authorisation_is_rejected(edit: dict[str, Json], field: Field, rig: Rig) -> None:
    table = {**json.loads(authorisations.encode(order(field, rig))), **edit}
    put(field, json.dumps(table).encode(), "allow-gw-1-1.json")
    require_no_harm(rig, field.good, MalformedError)


def test_an_authorisation_without_end_is_not_read(field: Field, rig: Rig) -> None:
    put(field, authorisations.encode(order(field, rig)).ljust(5000), "allow-gw-1-1.json")
    require_no_harm(rig, field.good, MediumFileSizeError)


def test_an_authorisation_that_only_a_newer_agent_reads_stops_the_stick(field: Field, rig: Rig) -> None:
    table = {**json.loads(authorisations.encode(order(field, rig))), "format": 2, "until": "noon"}
    put(field, json.dumps(table).encode(), "allow-gw-1-1.json")
    require_no_harm(rig, field.good, NewerFormatError)


def test_what_is_wrong_with_another_devices_authorisation_is_no_matter_here(field: Field, rig: Rig) -> None:
    put(field, b"{}", "allow-gw-2-1.json")
    require_no_harm(rig, field.good, OlderSequenceError)


@attack(By.STICK, On.SERVICE, "ten thousand authorisations of one device", "those with the highest numbers are looked for only")
def test_of_many_authorisations_the_latest_few_are_looked_for(field: Field, rig: Rig) -> None:
    made = order(field, rig)

    class Counting(DirectoryMedium):
        asked = 0

        def read(self, path: MediumPath, limit: int) -> bytes:
            Counting.asked += 1
            return super().read(path, limit)

    def many(targets: Targets) -> None:
        for number in range(1, 10_001):
            each = replace(made, number=number)
            targets.targets[each.name] = TargetFile.from_data(each.name, authorisations.encode(each), ["sha256"])

    latest = replace(made, number=10_000)
    put_order(field, latest, listed=False)
    field.press.publish(field.good, many, step=20)
    medium = DirectoryMedium(field.good)
    root = (field.repo / "metadata/1.root.json").read_bytes()
    with TemporaryDirectory() as scratch:
        trusted = refresh(TrustFiles(Path(scratch)), root, medium, ClockReading(field.now, trusted=True))
    assert read_authorisations(trusted, Counting(field.good), made.device, 0) == [latest]
    assert Counting.asked == AUTHORISATIONS_MAX


@attack(
    By.SIGNER,
    On.SERVICE,
    "the highest number is given to an authorisation, and another one is made for the device",
    "a number beyond it is refused before anything is signed: no device could read it",
)
def test_the_number_after_the_last_one_is_refused_and_not_signed_for_nobody(field: Field) -> None:
    field.release(NEXT)
    wish = Wish("gw-1", Digest("a" * 64), f"gw-{OFFERED}", "CHG-1", number=NUMBER_MAX)
    downgrade.allow(field.office, wish, field.now)
    with pytest.raises(UnusableValueError, match="number"):
        downgrade.allow(field.office, replace(wish, number=None), field.now)
