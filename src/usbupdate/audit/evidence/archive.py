"""Puts a device's evidence together: receipts as they came, keys, the office's metadata, and how to check all that.

The same input makes the same bytes: files are stored as they are, in a fixed order, with one date for all. Nothing is added
that only this program could check.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import zipfile
from importlib import resources
from typing import TYPE_CHECKING, Final

from usbupdate.audit.answers import answers
from usbupdate.audit.copies import LogCopy
from usbupdate.audit.devices import Trust
from usbupdate.audit.proof import LABELS
from usbupdate.audit.received import joined
from usbupdate.core import identity as identity_form
from usbupdate.core.identity import public_key_pem
from usbupdate.core.layout import ACKNOWLEDGED, CHECKPOINT, IDENTITY, METADATA, RECEIPTS, TARGETS
from usbupdate.core.plaintext import one_line
from usbupdate.errors import MalformedError, MediumError, RejectedError, UnusableFileError
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from usbupdate.audit.devices import Enrolment
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.identity import Identity
    from usbupdate.core.layout import MediumPath

_SIZE_MAX: Final = 8 << 20
"""Of one file of the office's: more than any metadata may have."""
_SUM_MAX: Final = 64 << 20
"""Of all of them together: many years of an office."""
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16
_UNIX: Final = 3
_WIDTH: Final = 78
_TEXT_MAX: Final = 400
_METADATA_NAME: Final = re.compile(r"(?:[1-9][0-9]{0,15}\.[A-Za-z0-9_-]{1,64}|timestamp)\.json")
_MANIFEST_NAME: Final = re.compile(r"[0-9a-f]{64}\.[a-z0-9._-]+\.json")
_TRUST: Final = {
    Trust.FINGERPRINT: "Somebody compared its fingerprint with the device's.",
    Trust.FIRST_USE: "Nobody has compared its fingerprint yet.",
    None: "Nobody has vouched for it: compare its fingerprint.",
}


def archive(
    verdict: Verdict, enrolment: Enrolment | None, copies: Sequence[LogCopy], office: Mapping[str, bytes] | None
) -> bytes:
    """Return a ZIP archive with one folder, `evidence-<device>`.

    Args:
        verdict: what the copies come to.
        enrolment: what is known of the device; its key counts before one that a copy brings.
        copies: as they were read; those with the same bytes are put in once. Where some begin behind what the office has
            acknowledged and all together hold every receipt, the log that they make together is put in, and those beside it.
        office: the office's files by their path below `office/`, if there are any.
    """
    identity = enrolment.identity if enrolment else _stated(copies)
    files: dict[str, bytes] = {"verify.py": _asset("verify.py.txt")}
    sources: list[str] = []
    seen: list[Mapping[str, bytes]] = []
    whole, parts = _told_apart(copies, identity)
    for copy in whole:
        if copy.files and copy.files not in seen:
            seen.append(copy.files)
            sources.append(copy.source)
            files |= {f"copies/{len(sources)}/{name}": contents for name, contents in copy.files.items()}
    for number, copy in enumerate(parts, 1):
        files |= {f"parts/{number}/{name}": contents for name, contents in copy.files.items()}
    if identity is not None:
        files["device.pem"] = public_key_pem(identity.public_key).encode("ascii")
        files["device.json"] = identity_form.encode(identity)
    files |= {f"office/{name}": contents for name, contents in (office or {}).items()}
    files["README.txt"] = _read_me(verdict, identity, sources, has_office=office is not None)
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    files["SHA256SUMS"] = sums.encode("ascii")
    return _zip(f"evidence-{verdict.device}", files)


def office_files(place: Path, verdict: Verdict) -> dict[str, bytes]:
    """Return the office's metadata and the manifests that the receipts name, by their path below `office/`.

    Args:
        place: the office's repository, or a stick.
        verdict: whose receipts name manifests.

    Raises:
        UnusableFileError: no metadata lies there, or far too much.
    """
    medium = DirectoryMedium(place)
    wanted = {receipt.draft.bundle.manifest_sha256 for receipt in verdict.receipts if receipt.draft.bundle}
    for metadata, targets in ((METADATA[1:], TARGETS[1:]), (METADATA, TARGETS)):
        found = {f"metadata/{name}": raw for name, raw in _files(medium, metadata, _METADATA_NAME.fullmatch)}
        if "metadata/1.root.json" in found:
            manifests = _files(medium, targets, lambda name: _MANIFEST_NAME.fullmatch(name) and name[:64] in wanted)
            return found | {f"targets/{name}": raw for name, raw in manifests}
    raise UnusableFileError(path=str(place), problem="neither a repository nor a stick with the office's metadata")


def _told_apart(copies: Sequence[LogCopy], identity: Identity | None) -> tuple[list[LogCopy], list[LogCopy]]:
    """Return the copies that are whole, or that nothing makes whole, and those of which one of the former is put together."""
    parts = [copy for copy in copies if ACKNOWLEDGED in copy.files]
    found = joined(copies, identity) if parts and identity is not None else None
    if found is None or identity is None:
        return list(copies), []
    note, lines = found
    receipts = b"".join(line + b"\n" for line in lines)
    together = {IDENTITY: identity_form.encode(identity), RECEIPTS: receipts, CHECKPOINT: note}
    sources = ", ".join(copy.source for copy in parts)
    made = LogCopy(f"put together from all copies, also those in parts/: {sources}", identity.device, together, {})
    return [*(copy for copy in copies if copy not in parts), made], parts


def _stated(copies: Sequence[LogCopy]) -> Identity | None:
    for copy in copies:
        try:
            return identity_form.decode(copy.files.get(IDENTITY, b""))
        except MalformedError:
            continue
    return None


def _asset(name: str) -> bytes:
    return (resources.files("usbupdate.audit.evidence") / name).read_bytes()


def _read_me(verdict: Verdict, identity: Identity | None, sources: Sequence[str], *, has_office: bool) -> bytes:
    found = [each.sentence() for each in verdict.findings] or ["Nothing."]
    office = "the office's signed metadata and what it says of the bundles" if has_office else "not in this archive"
    words = {
        "@DEVICE@": verdict.device,
        "@FINGERPRINT@": identity.fingerprint if identity else "not known: no copy holds it",
        "@TRUST@": _TRUST[verdict.trust],
        "@OFFICE@": office,
        "@ANSWERS@": "\n".join(_filled(f"{each.question} {each.text} [{LABELS[each.proof]}]") for each in answers(verdict)),
        "@FINDINGS@": "\n".join(map(_filled, found)),
        "@COPIES@": "\n".join(
            f"                  {number}: from {one_line(source, _TEXT_MAX)}" for number, source in enumerate(sources, 1)
        ),
    }
    # One pass: a name from a stick that looks like one of these words stays what it is.
    text = re.sub("|".join(words), lambda match: words[match[0]], _asset("README.txt").decode("utf-8"))
    return text.encode()


def _filled(text: str) -> str:
    return textwrap.fill(one_line(text, _TEXT_MAX * 4), _WIDTH, initial_indent="- ", subsequent_indent="  ")


def _files(medium: DirectoryMedium, folder: MediumPath, is_wanted: Callable[[str], object]) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the wanted files in a folder, none if it is not there."""
    whole = 0
    try:
        for name in medium.names(folder):
            if is_wanted(name):
                contents = medium.read((*folder, name), _SIZE_MAX)
                whole += len(contents)
                if whole > _SUM_MAX:
                    raise UnusableFileError(path=str(medium.mount), problem="more than an office ever has")
                yield name, contents
    except (MediumError, RejectedError):
        return


def _zip(folder: str, files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{folder}/{name}", _DATE)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            packed.writestr(entry, files[name])
    return target.getvalue()
