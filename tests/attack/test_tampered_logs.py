"""Every manipulation of `tests.tampering` is found, with its device and receipt, at each depth that promises it."""

from __future__ import annotations

import itertools
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from tests.receipts import device, write_log
from tests.tampering import COUNT, TAMPERINGS, Tampering, auditor, write_stick
from usbupdate.audit.copies import find_copies
from usbupdate.audit.depth import Depth
from usbupdate.audit.devices import Devices
from usbupdate.audit.findings import Severity
from usbupdate.audit.verdict import Standing, Verdict, require_good, verify
from usbupdate.errors import EvidenceBrokenError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

EACH = pytest.mark.parametrize("tampering", TAMPERINGS, ids=[each.name for each in TAMPERINGS])
ON_THE_WAY = [each for each in TAMPERINGS if not each.needs_key]
EACH_ON_THE_WAY = pytest.mark.parametrize("tampering", ON_THE_WAY, ids=[each.name for each in ON_THE_WAY])
AT_EACH_DEPTH = pytest.mark.parametrize("depth", Depth)


@pytest.fixture
def stick(mount: Path) -> Path:
    return write_stick(mount)


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    return auditor(tmp_path)


def verdicts_on(devices: Devices, places: Iterable[Path], depth: Depth) -> dict[str, Verdict]:
    return {verdict.device: verdict for verdict in verify(find_copies(places), devices, depth)}


def tampered(tampering: Tampering, stick: Path) -> tuple[Path, ...]:
    """Do it to the log of gw-0001, and return where an auditor then looks."""
    return tampering.do(stick / "usbupdate" / "logs" / "gw-0001") or (stick,)


def test_there_are_more_than_enough_and_each_has_its_name() -> None:
    names = [each.name for each in TAMPERINGS]
    assert len(names) == len(set(names)) >= 60
    assert len(ON_THE_WAY) >= 60


@attack(
    By.TECHNICIAN,
    On.RECORD,
    "receipts changed, removed, reordered, replaced or invented on the way",
    "signatures, a chain and a signed checkpoint over every line",
)
@AT_EACH_DEPTH
@EACH
def test_tampering_is_found_and_named(stick: Path, devices: Devices, tampering: Tampering, depth: Depth) -> None:
    if tampering.is_seen:
        verdicts_on(devices, [stick], depth)
    verdicts = verdicts_on(devices, tampered(tampering, stick), depth)
    verdict = verdicts["gw-0001"]
    found = {(finding.flaw, finding.receipt): finding for finding in verdict.findings}
    # The other device on the stick is none the worse for it.
    assert all(each.standing is Standing.OK for name, each in verdicts.items() if name != "gw-0001")
    if depth not in tampering.depths:
        assert (tampering.flaw, tampering.receipt) not in found
        return
    assert (tampering.flaw, tampering.receipt) in found
    worst = {finding.severity for finding in verdict.findings}
    assert verdict.standing is (Standing.INCOMPLETE if worst == {Severity.INCOMPLETE} else Standing.BROKEN)
    for finding in verdict.findings:
        assert finding.device == "gw-0001"
        assert finding.sentence().isprintable()
        if finding.receipt is not None:
            assert re.match(rf"gw-0001: receipts? {finding.receipt}\b", finding.sentence())
    with pytest.raises(EvidenceBrokenError, match="gw-0001"):
        require_good(verdicts.values())


@EACH_ON_THE_WAY
def test_no_depth_finds_less_of_what_was_done_on_the_way(stick: Path, devices: Devices, tampering: Tampering) -> None:
    places = tampered(tampering, stick)
    thorough, *others = (verdicts_on(devices, places, depth)["gw-0001"] for depth in reversed(Depth))
    assert all((each.standing, each.findings) == (thorough.standing, thorough.findings) for each in others)


# Only a fingerprint tells a device that was replaced as a whole from a genuine one.
@attack(By.TECHNICIAN, On.RECORD, "the same, before the office knows the device's key", "the chain proves itself")
@EACH_ON_THE_WAY
def test_tampering_is_found_without_an_enrolled_key_too(stick: Path, tmp_path: Path, tampering: Tampering) -> None:
    standing = verdicts_on(Devices(tmp_path / "none"), tampered(tampering, stick), Depth.QUICK)["gw-0001"].standing
    assert standing is (Standing.NOT_ENROLLED if tampering.name == "replace_key_and_history" else Standing.BROKEN)


@AT_EACH_DEPTH
@EACH_ON_THE_WAY
def test_tampering_is_not_remembered_as_seen(stick: Path, devices: Devices, tampering: Tampering, depth: Depth) -> None:
    verdicts_on(devices, tampered(tampering, stick), depth)
    known = devices.get(device("gw-0001")[0].device)
    assert known is not None
    assert known.leaves == ()


@AT_EACH_DEPTH
def test_untouched_sets_are_accepted(tmp_path: Path, stick: Path, depth: Depth) -> None:
    older = write_log(tmp_path / "older" / "usbupdate" / "logs" / "gw-0001", 2).parents[2]
    newer = write_log(tmp_path / "newer" / "usbupdate" / "logs" / "gw-0001", COUNT + 3).parents[2]
    copied = tmp_path / "copied"
    shutil.copytree(stick / "usbupdate", copied)
    archive = tmp_path / "returned.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", stick)
    sets = [*itertools.permutations((stick, older, newer)), (stick, copied, archive), (archive, newer), (copied, older)]
    for number, places in enumerate(sets):
        devices = auditor(tmp_path / str(number))
        for _ in ("first", "again"):
            verdicts = verdicts_on(devices, places, depth)
            assert all((each.standing, each.findings) == (Standing.OK, ()) for each in verdicts.values())
