"""Whole sticks under fuzzing: a genuine one that was changed, and one of a thief who signs with some of the office's keys."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from tests.attack.metadata_office import START, Office, digest, new_key
from tests.fuzz.medium import Numbers, changed
from tests.fuzz.quick import OpenTrust, quick
from tests.inmemory import MemoryMedium
from tests.payload import ROOTFS, an_image, packed
from tests.receipts import device
from usbupdate.core import authorisation as authorisations, manifest as manifests
from usbupdate.core.authorisation import Authorisation
from usbupdate.core.layout import PAYLOAD as FILES, TARGETS, metadata_path, payload_path, target_name, target_path
from usbupdate.errors import MediumError, RefusedError, RejectedError
from usbupdate.packager.verification import verify_beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.layout import MediumPath
    from usbupdate.errors import UsbupdateError

PAYLOAD: Final = packed({ROOTFS: an_image(3, zero=frozenset({1}), last=777)}, chunks_per_pack=2)
OFFICE: Final = Office()
# What an office in memory begins with is a manifest without payload: a release that is on other sticks only.
OFFICE.files = {path: raw for path, raw in OFFICE.files.items() if path[: len(TARGETS)] != TARGETS}
EARLIER: Final = dict(OFFICE.files)
OFFICE.publish_root()
TARGET: Final = target_name(PAYLOAD.manifest.name, PAYLOAD.manifest.sequence)
OFFICE.add_target(TARGET, manifests.encode(PAYLOAD.manifest))
_DEVICE: Final = device("gw-0001")[0]
ORDER: Final = Authorisation(
    _DEVICE.device, _DEVICE.fingerprint, 1, digest(manifests.encode(PAYLOAD.manifest)), 99, "CHG-1", "2027-01-01T00:00:00Z"
)
OFFICE.add_target(ORDER.name, authorisations.encode(ORDER))
OFFICE.publish()
_PAYLOAD_FILES: Final = {payload_path(name): raw for name, raw in PAYLOAD.files.items()}
STICK: Final = {**OFFICE.files, **_PAYLOAD_FILES}
"""A genuine stick: what lies at each path."""

_ROLES: Final = (Targets.type, Snapshot.type, Timestamp.type)
_STOLEN: Final = {role: OFFICE.signers[role][0] for role in _ROLES}
OFFICE.now += timedelta(days=1)
OFFICE.signers.update({role: [new_key()] for role in _ROLES})
OFFICE.publish_root()
OFFICE.publish()
CURE: Final = {**OFFICE.files, **_PAYLOAD_FILES}
"""The office's next stick, after it has rotated every key but the root's."""

_NOW: Final = START + timedelta(days=30)
_LOOT: Final = ((), *((role,) for role in _ROLES), _ROLES[1:], _ROLES[:2], *(_ROLES,) * 6)
"""Whose keys a thief may have; mostly all, or what he signs comes not far."""

_METADATA: Final = (*_ROLES, Root.type)
_PAYLOAD: Final = ("release", "release", "index")
_CHANGES_MAX: Final = 6
_DEPTH_MAX: Final = 12
_ODD: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        0,
        1,
        2,
        3,
        -1,
        7,
        255,
        1 << 18,
        1 << 31,
        1 << 32,
        1 << 40,
        (1 << 53) - 1,
        1 << 53,
        1 << 63,
        10**30,
        0.5,
    ),
    *("", "a", "A" * 300, "..", "../../etc/passwd", "/", "x/y", "\0", "\x1b[2J", "\ud800", "é", "sha256", "sha512", "ed25519"),
    *("0" * 64, "f" * 64, "F" * 64, "gateway-2.json", "gateway-3.json", "allow-gw-1.json", "targets.json", "x-usbupdate-time"),
    *("1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z", "2031-06-01T00:00:00Z", "2099-01-01T00:00:00Z"),
    *([], {}, [[]], [None], {"": 1}, {"sha256": "0" * 64}, ["a"] * 70, {"keys": {}, "roles": []}),
)


def require_sentence(error: UsbupdateError) -> None:
    """Fail unless an error can be shown to a person."""
    if not str(error).isprintable():
        raise AssertionError(str(error))


def stick(data: bytes) -> None:
    """Take a whole stick: a genuine one, changed as the bytes say; what a device would believe of it is what was signed."""
    medium = MemoryMedium(changed(STICK, data))
    with quick(), OpenTrust() as folder:
        try:
            checked = verify_beside(folder, medium, OFFICE.first_root, _NOW)
        except (RejectedError, MediumError) as error:
            require_sentence(error)
            return
    if checked.bundles:
        assert [each.manifest for each in checked.bundles] == [PAYLOAD.manifest]
        assert checked.authorisations in {(ORDER,), ()}
    else:
        # Nobody can tell a stick that lost all of its payload from one that never had any.
        assert not any(path[: len(FILES)] == FILES for path in medium.paths())


def stolen_keys(data: bytes) -> None:
    """Take a stick that is signed with stolen keys: it gives out no more than these, and the office's next stick cures all."""
    said = Numbers(data)
    forged = forge(said)
    with quick(), OpenTrust(_SEEN if said.number(2) else None) as folder:
        for _ in range(2):
            _insert(folder, forged)
        cured = verify_beside(folder, MemoryMedium(CURE), OFFICE.first_root, _NOW)
    assert [each.manifest for each in cured.bundles] == [PAYLOAD.manifest]
    assert (cured.trusted.root_version, cured.trusted.newer_than_medium) == (3, "")


def _insert(folder: OpenTrust, forged: Forged) -> None:
    try:
        checked = verify_beside(folder, MemoryMedium(forged.files), OFFICE.first_root, _NOW)
    except (RejectedError, RefusedError, MediumError) as error:
        require_sentence(error)
        return
    assert checked.trusted.root_version in {1, 2}
    if Targets.type not in forged.loot:
        assert all(each.manifest == PAYLOAD.manifest for each in checked.bundles)
        assert checked.authorisations in {(ORDER,), ()}


@dataclass(frozen=True, slots=True)
class Forged:
    """A thief's stick, and the roles whose keys he has."""

    files: Mapping[MediumPath, bytes]
    loot: tuple[str, ...]


def forge(said: Numbers) -> Forged:
    """Return a genuine stick in which some values are others, signed again as far as the thief can, as the numbers say."""
    files = dict(STICK)
    loot = _LOOT[said.number(len(_LOOT))]
    tables = {role: json.loads(files.pop(_path(role, 2))) for role in (*_ROLES, Root.type)}
    release = json.loads(manifests.encode(PAYLOAD.manifest))
    index = bytearray(files[payload_path(PAYLOAD.artifact.index.sha256)])
    where = said.one_of((_METADATA, _PAYLOAD, _PAYLOAD, (*_METADATA, *_PAYLOAD)))
    for _ in range(said.number(_CHANGES_MAX)):
        match said.one_of(where):
            case "release":
                _change(release, said)
            case "index":
                index[said.number(len(index))] = said.number(256)
            case role:
                _change(tables[role], said)
    is_consistent = said.number(8) > 0
    if is_consistent and Targets.type in loot:
        _publish_release(files, tables[Targets.type], release, bytes(index))
    _sign_again(files, tables, loot, is_consistent=is_consistent)
    return Forged(changed(files, said.some(40)) if said.number(4) == 0 else files, loot)


def _publish_release(files: dict[MediumPath, bytes], targets: Any, release: Any, index: bytes) -> None:  # noqa: ANN401 - anything
    """Let the release name the index, and the targets name the release, where the changes have left a place for that."""
    try:
        named = release["artifacts"][0]["index"]
        if named["sha256"] == PAYLOAD.artifact.index.sha256:
            named["sha256"] = digest(index)
    except (KeyError, IndexError, TypeError):
        pass
    files[payload_path(digest(index))] = index
    raw = json.dumps(release).encode()
    try:
        name = next(iter(sorted(targets["signed"]["targets"], reverse=True)))
        targets["signed"]["targets"][name] = {"length": len(raw), "hashes": {"sha256": digest(raw)}}
    except (KeyError, StopIteration, TypeError):
        return
    files[target_path(digest(raw), name)] = raw


def _sign_again(files: dict[MediumPath, bytes], tables: dict[str, Any], loot: tuple[str, ...], *, is_consistent: bool) -> None:
    below: tuple[str, Any, bytes] | None = None
    for role in (Root.type, *_ROLES):
        table = tables[role]
        if below is not None and is_consistent and role in loot:
            _vouch(table, *below)
        if role in loot:
            _sign(table, role)
        genuine = STICK[_path(role, 2)]
        # What was left alone is left alone to the byte, for other documents name its digest.
        raw = genuine if table == json.loads(genuine) else json.dumps(table).encode()
        signed = table.get("signed") if isinstance(table, dict) else None
        version = signed.get("version") if isinstance(signed, dict) else None
        files[_path(role, version if type(version) is int and 0 < version < 1 << 53 else 2)] = raw
        below = None if role == Root.type else (role, version, raw)


def _vouch(table: Any, role: str, version: Any, raw: bytes) -> None:  # noqa: ANN401 - anything
    try:
        table["signed"]["meta"][f"{role}.json"] = {
            "version": version,
            "length": len(raw),
            "hashes": {"sha256": digest(raw)},
        }
    except (KeyError, TypeError):
        return


def _sign(table: Any, role: str) -> None:  # noqa: ANN401 - anything
    try:
        canonical = cast("str", encode_canonical(table["signed"])).encode()
        signature = _STOLEN[role].sign(canonical)
        table["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    except Exception:  # noqa: BLE001 - what cannot be written down cannot be signed; the old signature stays
        return


def _change(table: Any, said: Numbers) -> None:  # noqa: ANN401 - anything
    """Change one value somewhere in a document: another one, one from elsewhere, none, or one more."""
    holder = table
    for _ in range(_DEPTH_MAX):
        if not isinstance(holder, dict | list) or not holder:
            return
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = said.one_of(keys)
        inner = holder[key]
        if isinstance(inner, dict | list) and inner and said.number(5):
            holder = inner
            continue
        match said.number(6):
            case 0:
                del holder[key]
            case 1 if isinstance(inner, int):
                holder[key] = inner + said.number(5) - 2
            case 2 if isinstance(inner, str):
                place = said.number(len(inner) + 1)
                holder[key] = inner[:place] + said.some(2).decode("latin-1") + inner[place + 1 :]
            case 3 if isinstance(holder, dict):
                holder[str(said.one_of(_ODD))] = deepcopy(inner)
            case 4 if isinstance(holder, list):
                holder.append(deepcopy(inner))
            case _:
                # A copy, or one document could come to hold itself.
                holder[key] = deepcopy(said.one_of(_ODD))
        return


def _path(role: str, version: int) -> MediumPath:
    return metadata_path(role, None if role == Timestamp.type else version)


def _seen() -> OpenTrust:
    with quick(), OpenTrust() as folder:
        verify_beside(folder, MemoryMedium(EARLIER), OFFICE.first_root, _NOW)
    return folder


_SEEN: Final = _seen()
"""What a device has proven that has seen the office's first stick."""
