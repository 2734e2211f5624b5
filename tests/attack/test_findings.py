"""What an outsider found on the device's and the auditor's side; each fails until it is mended."""

from __future__ import annotations

import base64
import csv
import io
import json
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile, Targets, Timestamp

from tests.attack.test_key_life import key, rotate, runs, thief_with
from tests.commands import usbupdate
from tests.field import NEXT, OFFERED, Field, load, metadata_file
from tests.receipts import write_log
from tests.unit.test_policy import allowed, chosen, offer, running
from usbupdate.audit.depth import Checked
from usbupdate.audit.evidence.archive import office_files
from usbupdate.audit.export.lines import csv_lines
from usbupdate.audit.verdict import Standing, Verdict
from usbupdate.core.authorisation import NUMBER_MAX
from usbupdate.core.words import SEQUENCE_MAX, DeviceId, Digest
from usbupdate.device.answering import is_answered_beside
from usbupdate.device.configuration import SignalsConfiguration
from usbupdate.device.facts import FileSystem, StickDevice
from usbupdate.device.process import BARE_ENVIRONMENT, Companion
from usbupdate.device.signals import DeviceAnnouncer, Signal
from usbupdate.device.statestore import StateStore
from usbupdate.errors import UsbupdateError
from usbupdate.packager import downgrade
from usbupdate.packager.downgrade import Wish
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands


@pytest.mark.parametrize("version", [SEQUENCE_MAX + 1, 10**17 - 1])
def test_a_stolen_timestamp_key_cannot_sign_a_version_that_makes_the_state_unreadable(field: Field, version: int) -> None:
    thief = thief_with(field, Role.TIMESTAMP)
    timestamp = load(thief.good, Timestamp)
    timestamp.version = version
    metadata_file(thief.good, timestamp).write_bytes(thief.press.sign(timestamp))
    rig = field.rig
    try:
        rig.insert(thief.good)
        rig.boot()
    except UsbupdateError:
        rig.remove()
    # The state can be read, and the office cures the device as it always does.
    rig.record()
    rotate(field, Hands({Role.TIMESTAMP: [key(field, "timestamp")]}))
    field.release(NEXT)
    rig.update(field.stick("cures", "gw"))
    runs(rig, NEXT)


def test_a_list_whose_signers_saw_it_wiped_off_their_terminal_is_no_good_for_devices_either(field: Field) -> None:
    def wiping(targets: Targets) -> None:
        targets.targets["allow-me"] = TargetFile(1, {"sha256": "\x1b[2A\x1b[0J"}, "allow-me")

    field.press.publish(field.good, wiping)
    assert field.rig.error_of(field.good).reason == "metadata-malformed"


def test_the_verifier_for_third_parties_prints_nothing_that_steers_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mount = Path("stick")
    folder = mount / "usbupdate/logs/gw-0001"
    folder.mkdir(parents=True)
    write_log(folder, 2)
    line = folder / "receipts.jsonl"
    first, _, rest = line.read_bytes().partition(b"\n")
    envelope = json.loads(first)
    said = json.loads(base64.b64decode(envelope["payload"]))
    said["predicate"]["event"] = "committed\x1b[2J\x1b[HEverything agrees.\x1b[8m"
    envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    line.write_bytes(json.dumps(envelope).encode() + b"\n" + rest)
    usbupdate("audit", "evidence", folder.name, str(mount), "--output", "e.zip", "--devices", "known", code=30)
    zipfile.ZipFile("e.zip").extractall("out")
    (script,) = Path("out").glob("*/verify.py")
    ran = subprocess.run([sys.executable, script], capture_output=True, check=False, timeout=60)
    assert ran.returncode != 0
    assert b"\x1b" not in ran.stdout, ran.stdout


def test_a_companion_that_answers_without_listening_is_given_up_in_time() -> None:
    # What a decompressor that was taken over may do: it needs no question to see what lies in the shared memory.
    program = "import os\nwhile True: os.write(1, bytes(4096))"
    companion = Companion([sys.executable, "-c", program], descriptors=[], environment=BARE_ENVIRONMENT)

    def ask() -> None:
        try:
            for _ in range(20_000):
                companion.ask(bytes(12), 1, timeout_s=1.0)
        except OSError:
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(10)
    is_stuck = asking.is_alive()
    companion.stop()
    assert not is_stuck


def test_a_console_that_cannot_show_a_name_does_not_keep_the_signal_from_the_person(tmp_path: Path) -> None:
    console = io.TextIOWrapper(io.BytesIO(), encoding="iso-8859-15")
    told = tmp_path / "told"
    beep = tmp_path / "beep"
    beep.write_text(f"#!/bin/sh\necho $1 > {told}\n")
    beep.chmod(0o755)
    announcer = DeviceAnnouncer(
        SignalsConfiguration((str(beep),), None), lambda line: print(line, file=console), tmp_path / "run/status.json"
    )
    announcer.announce(Signal.REFUSED, "The stick holds both \u540d\u524d and \u540d\u524d.")
    assert told.read_text() == "refused\n"


def test_a_stick_of_very_many_partitions_is_not_looked_at_by_each_of_them_for_all(tmp_path: Path) -> None:
    disk = tmp_path / "sda"
    for number in range(1, 257):
        part = disk / f"sda{number}"
        part.mkdir(parents=True)
        (part / "partition").write_text(f"{number}\n")
        (part / "dev").write_text(f"8:{number}\n")
    looked = 0

    def probed(_: Path) -> FileSystem:
        nonlocal looked
        looked += 1
        return FileSystem()

    for number in range(1, 257):
        device = StickDevice(Path(f"/dev/sda{number}"), f"8:{number}", disk / f"sda{number}")
        is_answered_beside(Path(f"/dev/sda{number}"), ("vfat",), lambda _, found=device: found, probed)  # type: ignore[misc]
    assert looked <= 256 * 16


def test_a_record_that_could_not_be_read_again_is_never_saved(field: Field) -> None:
    rig = field.rig
    store = StateStore(rig.folder / "state")
    record = store.load()
    lasting = rig.receipts()[-1].draft
    unreadable = replace(record, pending=(replace(lasting, operator="x" * 300),))
    with pytest.raises(UsbupdateError):
        store.save(unreadable)
    assert store.load() == record


def test_no_cell_of_a_table_is_a_formula_where_semicolons_part_cells() -> None:
    # Half of Europe's spreadsheets open a file of that name so.
    record = {"kind": "receipt", "label": ";=cmd|'/C calc'!A0;", "serial": "\N{FULLWIDTH COMMERCIAL AT}SUM(1)"}
    text = "".join(csv_lines([record]))
    cells = [cell for mark in ";," for row in csv.reader(io.StringIO(text), delimiter=mark) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\N{FULLWIDTH COMMERCIAL AT}"))] == []


def test_a_stick_given_for_the_offices_metadata_does_not_fill_the_memory(mount: Path) -> None:
    folder = mount / "usbupdate/metadata"
    folder.mkdir(parents=True)
    for number in range(1, 200):
        with (folder / f"{number}.root.json").open("wb") as file:
            file.truncate(8 << 20)
    verdict = Verdict(DeviceId("gw-1"), Standing.OK, None, None, (), 0, (), (), 0, None, Checked())
    tracemalloc.start()
    with suppress(UsbupdateError):
        office_files(mount, verdict)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 256 << 20


def test_a_later_authorisation_that_does_not_count_does_not_hide_one_that_does() -> None:
    old = offer(1)
    orders = [allowed(old, 1), allowed(old, 2, expires="2026-05-01T00:00:00Z")]
    taken = chosen([old, offer(3)], orders, running(2))
    assert taken is not None
    assert taken.manifest.sequence == 1


def test_a_program_that_the_signal_command_names_is_in_nobodys_hands(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "beep.sh"
    script.write_text(f"touch {told}\n")
    script.chmod(0o777)
    DeviceAnnouncer(SignalsConfiguration(("/bin/sh", str(script)), None), print, tmp_path / "run/status.json").announce(
        Signal.DONE
    )
    assert not told.exists()


def test_the_number_after_the_last_one_is_refused_and_not_signed_for_nobody(field: Field) -> None:
    field.release(NEXT)
    wish = Wish("gw-1", Digest("a" * 64), f"gw-{OFFERED}", "T", number=NUMBER_MAX)
    downgrade.allow(field.office, wish, field.now)
    with pytest.raises(UsbupdateError):
        downgrade.allow(field.office, replace(wish, number=None), field.now)
