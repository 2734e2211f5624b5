"""How deep `audit verify` looks, what it says of that, and that more processes come to the same."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64encode
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from tests.receipts import chain, checkpoint_over, device, write_log
from usbupdate.audit import workers
from usbupdate.audit.copies import find_copies
from usbupdate.audit.depth import Checked, Depth
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.findings import Flaw
from usbupdate.audit.verdict import Standing, verify
from usbupdate.audit.workers import conclude
from usbupdate.cli.audit import app
from usbupdate.core import identity, statement
from usbupdate.errors import EnrolmentUnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.audit.findings import Finding
    from usbupdate.audit.verdict import Verdict

COUNT = 5
ANY_DEPTH = pytest.mark.parametrize("depth", Depth)


@pytest.fixture
def stick(mount: Path) -> Path:
    write_log(logs(mount) / "gw-0001", COUNT)
    write_log(logs(mount) / "gw-0002", 3, "gw-0002")
    return mount


@pytest.fixture
def devices(tmp_path: Path, stick: Path) -> Devices:
    devices = Devices(tmp_path / "devices")
    enrol(stick, devices, device=None, fingerprint=None)
    return devices


def logs(mount: Path) -> Path:
    return mount / "usbupdate" / "logs"


def verdict_on(devices: Devices, stick: Path, depth: Depth) -> Verdict:
    first, *_ = verify(find_copies([stick]), devices, depth)
    return first


def found(verdict: Verdict) -> list[Finding]:
    return sorted(verdict.findings, key=str)


def rewritten(log: Path, number: int, change: Callable[[bytes], bytes], *, sealed: bool) -> None:
    """Change a line, and sign a checkpoint over what came of it if that is wanted, as whoever holds the key could."""
    lines = (log / "receipts.jsonl").read_bytes().splitlines()
    lines[number - 1] = change(lines[number - 1])
    (log / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    if sealed:
        (log / "checkpoint").write_bytes(checkpoint_over(lines, *device("gw-0001")))


def without_signature(line: bytes) -> bytes:
    at = line.index(b'"sig":"') + len(b'"sig":"')
    return line[:at] + b64encode(bytes(64)) + line[at + 88 :]


@ANY_DEPTH
def test_untouched_evidence_is_good_at_any_depth(stick: Path, devices: Devices, depth: Depth) -> None:
    for seen in (0, COUNT):
        verdict = verdict_on(devices, stick, depth)
        assert (verdict.standing, verdict.count, verdict.seen) == (Standing.OK, COUNT, seen)


@pytest.mark.parametrize(
    ("depth", "checked"),
    [
        (Depth.QUICK, Checked(COUNT, 0, 0)),
        (Depth.CONTENTS, Checked(COUNT, COUNT, 0)),
        (Depth.THOROUGH, Checked(COUNT, COUNT, COUNT)),
    ],
)
def test_a_depth_does_what_it_says_and_no_more(
    stick: Path, devices: Devices, depth: Depth, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures, contents = Mock(wraps=identity.has_signed), Mock(wraps=statement.decode)
    for module in ("checkpoint", "envelope"):
        monkeypatch.setattr(f"usbupdate.core.{module}.has_signed", signatures)
    monkeypatch.setattr(statement, "decode", contents)
    shutil.rmtree(logs(stick) / "gw-0002")
    assert verdict_on(devices, stick, depth).checked == checked
    # One more signature: the checkpoint's.
    assert (contents.call_count, signatures.call_count) == (checked.by_contents, checked.by_signature + 1)


@ANY_DEPTH
def test_where_no_checkpoint_proves_the_lines_each_is_judged_by_its_signature(
    stick: Path, devices: Devices, depth: Depth
) -> None:
    rewritten(logs(stick) / "gw-0001", 3, without_signature, sealed=False)
    verdict = verdict_on(devices, stick, depth)
    assert [(each.flaw, each.receipt) for each in verdict.findings] == [(Flaw.SIGNATURE, 3)]
    assert verdict.checked == Checked(0, COUNT, COUNT)


@ANY_DEPTH
def test_a_line_behind_the_checkpoint_is_judged_by_its_signature(stick: Path, devices: Devices, depth: Depth) -> None:
    log = logs(stick) / "gw-0001"
    (log / "checkpoint").write_bytes(checkpoint_over(chain(COUNT - 1), *device("gw-0001")))
    rewritten(log, COUNT, without_signature, sealed=False)
    verdict = verdict_on(devices, stick, depth)
    assert (Flaw.SIGNATURE, COUNT) in [(each.flaw, each.receipt) for each in verdict.findings]
    assert verdict.checked.by_signature == (COUNT if depth is Depth.THOROUGH else 1)


@ANY_DEPTH
def test_a_log_that_differs_from_what_was_seen_is_found_at_any_depth(stick: Path, devices: Devices, depth: Depth) -> None:
    verdict_on(devices, stick, Depth.THOROUGH)
    write_log(logs(stick) / "gw-0001", COUNT, text="other")
    assert [(each.flaw, each.receipt) for each in verdict_on(devices, stick, depth).findings] == [(Flaw.SEEN_OTHERWISE, 1)]


@ANY_DEPTH
def test_two_histories_are_found_at_any_depth(tmp_path: Path, stick: Path, devices: Devices, depth: Depth) -> None:
    other = write_log(tmp_path / "other" / "usbupdate" / "logs" / "gw-0001", COUNT - 1, text="other").parents[2]
    verdict = next(iter(verify(find_copies([stick, other]), devices, depth)))
    assert [(each.flaw, each.receipt) for each in verdict.findings] == [(Flaw.FORKED, 1)]


def test_what_only_the_holder_of_the_key_can_do_needs_the_depth_that_looks_there(stick: Path, devices: Devices) -> None:
    rewritten(logs(stick) / "gw-0001", 3, without_signature, sealed=True)
    by_depth = {depth: [(each.flaw, each.receipt) for each in verdict_on(devices, stick, depth).findings] for depth in Depth}
    assert by_depth == {
        Depth.QUICK: [],
        # The next receipt names the line as it was.
        Depth.CONTENTS: [(Flaw.CHAIN, 4)],
        Depth.THOROUGH: [(Flaw.SIGNATURE, 3)],
    }


def run(tmp_path: Path, *arguments: object) -> tuple[str, int]:
    result = CliRunner().invoke(app, ["verify", *map(str, arguments), "--devices", str(tmp_path / "devices")])
    return result.output, result.exit_code


@pytest.mark.parametrize(
    ("flag", "depth", "told"),
    [
        ("--quick", "quick", "8 receipts by the root of signed checkpoints, 0 by their contents, 0 by their own signatures."),
        (None, "contents", "8 receipts by the root of signed checkpoints, 8 by their contents, 0 by their own signatures."),
        (
            "--thorough",
            "thorough",
            "8 receipts by the root of signed checkpoints, 8 by their contents, 8 by their own signatures.",
        ),
    ],
)
@pytest.mark.usefixtures("devices")
def test_the_command_says_what_it_checked(tmp_path: Path, stick: Path, flag: str | None, depth: str, told: str) -> None:
    flags = [] if flag is None else [flag]
    assert run(tmp_path, stick, *flags)[0].splitlines()[-1] == f"Checked ({depth}): {told}"
    document = json.loads(run(tmp_path, stick, "--json", *flags)[0])
    assert document["depth"] == depth
    assert document["checked"]["by_root"] == sum(each["checked"]["by_root"] for each in document["devices"]) == 8


def test_only_one_depth_may_be_asked_for(tmp_path: Path, stick: Path) -> None:
    assert run(tmp_path, stick, "--quick", "--thorough")[1] == 2


@ANY_DEPTH
def test_many_processes_come_to_the_same_as_one(stick: Path, devices: Devices, depth: Depth) -> None:
    rewritten(logs(stick) / "gw-0001", 3, without_signature, sealed=False)
    verdict_on(devices, stick, depth)
    alone = list(conclude(find_copies([stick]), devices, depth, workers=1))
    assert list(conclude(find_copies([stick]), devices, depth, workers=2)) == alone
    assert [each.bare() for each in verify(find_copies([stick]), devices, depth)] == alone


def test_an_error_in_another_process_is_told_as_in_this_one(tmp_path: Path, stick: Path, devices: Devices) -> None:
    (tmp_path / "devices" / "gw-0002.json").write_bytes(b"{}")
    with pytest.raises(EnrolmentUnreadableError, match="gw-0002"):
        list(conclude(find_copies([stick]), devices, Depth.QUICK, workers=2))


def test_a_process_that_is_killed_costs_no_verdict(stick: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict_on(devices, stick, Depth.QUICK)
    wanted = list(conclude(find_copies([stick]), devices, Depth.QUICK, workers=1))
    submit = ProcessPoolExecutor.submit
    monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda pool, *_: submit(pool, os._exit, 1))
    assert list(conclude(find_copies([stick]), devices, Depth.QUICK, workers=2)) == wanted


def test_a_fleet_is_judged_by_many_processes_without_being_told_to(
    mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "ALONE_MAX", 1)
    for name in ("gw-0001", "gw-0002", "gw-0003"):
        write_log(logs(mount) / name, 1, name)
    started = Mock(wraps=ProcessPoolExecutor)
    monkeypatch.setattr(workers, "ProcessPoolExecutor", started)
    verdicts = list(conclude(find_copies([mount]), Devices(tmp_path / "none"), Depth.QUICK))
    assert [each.device for each in verdicts] == ["gw-0001", "gw-0002", "gw-0003"]
    assert started.called == (workers._cores() > 1)
