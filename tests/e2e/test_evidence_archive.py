"""The archive for a third party: what its page says to type works, and the verifier in it believes nothing that was changed."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests.matrix import By, On, attack
from tests.office import NOW, Bench
from tests.receipts import acknowledgement, chain, checkpoint_over, device, draft, write_log
from tests.source import CHECKOUT, PACKAGE
from usbupdate.audit.depth import Checked
from usbupdate.audit.evidence.archive import office_files
from usbupdate.audit.verdict import Standing, Verdict
from usbupdate.cli.audit import app
from usbupdate.core import acknowledged, envelope, identity as identity_form, merkle
from usbupdate.core.acknowledged import Acknowledged
from usbupdate.core.identity import public_key_pem
from usbupdate.core.receipt import NO_PREVIOUS, BundleRef, Event, Receipt
from usbupdate.core.words import BundleName, DeviceId, Digest
from usbupdate.errors import DeviceNotThereError, EvidenceBrokenError, NotEnrolledError, UnusableFileError
from usbupdate.packager import keys, office
from usbupdate.packager.keys import Algorithm
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY, SIGNER = device("gw-0001")
VERIFIER = PACKAGE / "audit" / "evidence" / "verify.py.txt"

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None or shutil.which("sha256sum") is None,
    reason="openssl or sha256sum is not installed (on Debian: apt-get install openssl coreutils)",
)


def run(tmp_path: Path, *arguments: object) -> BaseException | None:
    return CliRunner().invoke(app, [*map(str, arguments), "--devices", str(tmp_path / "devices")]).exception


def bench_of(tmp_path: Path, algorithm: Algorithm = Algorithm.ED25519) -> Bench:
    """Return an office that has changed hands once, its keys of some kind."""
    first, second = (tmp_path / f"{name}.pem" for name in ("first", "second"))
    for path in (first, second):
        keys.create(path, algorithm=algorithm)
    made, missing = office.create(tmp_path / "repo", NOW, Hands({Role.TARGETS: [str(first)], Role.ROOT: [str(first)]}))
    assert missing == ()
    bench = Bench(tmp_path, made)
    bench.release(2)
    bench.office, missing = office.rotate(bench.office, NOW, Hands({Role.TARGETS: [str(second)], Role.ROOT: [str(second)]}))
    assert missing == ()
    bench.release(3)
    return bench


def log_of(folder: Path, digests: list[str]) -> Path:
    """Make the log of a device that committed the bundles with these manifests."""
    lines: list[bytes] = []
    for number, each in enumerate([None, *digests], 1):
        event = Event.PROVISIONED if each is None else Event.COMMITTED
        bundle = None if each is None else BundleRef(BundleName("gw"), Digest(each))
        previous = envelope.line_digest(lines[-1]) if lines else NO_PREVIOUS
        stated = replace(draft(number, event), bundle=bundle)
        lines.append(envelope.sign(Receipt(IDENTITY.device, number, previous, stated), SIGNER))
    return write_lines(folder, lines)


def write_lines(folder: Path, lines: list[bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identity.json").write_bytes(identity_form.encode(IDENTITY))
    (folder / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "checkpoint").write_bytes(checkpoint_over(lines, IDENTITY, SIGNER))
    return folder


def manifests(bench: Bench) -> list[str]:
    return sorted(path.name[:64] for path in (bench.office.path / "targets").iterdir())


def unpacked(tmp_path: Path, *arguments: object) -> Path:
    run(tmp_path, "evidence", "gw-0001", *arguments, "--output", tmp_path / "evidence.zip")
    with zipfile.ZipFile(tmp_path / "evidence.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked" / "evidence-gw-0001"


def verified(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", "verify.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """Return the unpacked evidence of a device with three receipts, two copies of its log and its office's metadata."""
    bench = bench_of(tmp_path)
    full = log_of(tmp_path / "second" / "gw-0001", manifests(bench))
    lines = (full / "receipts.jsonl").read_bytes().splitlines()
    write_lines(tmp_path / "first" / "gw-0001", lines[:2])
    run(tmp_path, "enroll", full, "--fingerprint", IDENTITY.fingerprint)
    return unpacked(tmp_path, tmp_path / "first", tmp_path / "second", "--repo", bench.office.path)


def test_what_the_page_says_to_type_works(evidence: Path) -> None:
    page = (evidence / "README.txt").read_text(encoding="utf-8")
    typed = [line.removeprefix("    $ ") for line in page.splitlines() if line.startswith("    $ ")]
    assert len(typed) >= 10
    done = subprocess.run(
        ["sh", "-e"], input="\n".join(typed), cwd=evidence, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{IDENTITY.fingerprint}  -"
    assert lines.count("Signature Verified Successfully") == 2
    second = json.loads((evidence / "copies" / "1" / "receipts.jsonl").read_bytes().splitlines()[1])
    previous = json.loads(base64.b64decode(second["payload"]))["predicate"]["previous"]
    assert f"{previous}  line" in lines
    assert lines[-1] == "Everything agrees."


def test_the_page_answers_the_five_questions(evidence: Path) -> None:
    page = " ".join((evidence / "README.txt").read_text(encoding="utf-8").split())
    release = draft(3).after
    assert release is not None
    assert f"What runs on it? Version {release.version} (sequence {release.sequence}), as receipt 3 says. [proven]" in page
    assert "Is anything missing? No: receipts 1 to 3 are all here" in page
    assert "@" not in page


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_verifier_follows_the_office_through_a_change_of_keys(tmp_path: Path, algorithm: Algorithm) -> None:
    bench = bench_of(tmp_path, algorithm)
    log = log_of(tmp_path / "log" / "gw-0001", manifests(bench))
    code, told = verified(unpacked(tmp_path, log, "--repo", bench.office.path))
    assert (code, told.splitlines()[-1]) == (0, "Everything agrees.")
    assert "ok      office: root 2 is signed by the keys of root 1 and its own" in told
    assert told.count("that it installed was signed by the office") == 2


def test_a_stick_will_do_for_the_office(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    log = log_of(tmp_path / "log" / "gw-0001", manifests(bench)[:1])
    code, told = verified(unpacked(tmp_path, log, "--repo", bench.stick()))
    assert (code, "signed by the office" in told) == (0, True)


def _resum(folder: Path) -> None:
    """Do what whoever changes something would do next."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names if name != "SHA256SUMS"]
    (folder / "SHA256SUMS").write_text("".join(sums))


def _edit_receipts(folder: Path, edit: str) -> None:
    path = folder / "copies" / "2" / "receipts.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    match edit:
        case "changed":
            text = json.loads(lines[1])
            payload = base64.b64decode(text["payload"]).replace(b'"operator":"unattended"', b'"operator":"nobody at all"')
            lines[1] = json.dumps({**text, "payload": base64.b64encode(payload).decode()}).encode() + b"\n"
        case "removed":
            del lines[1]
        case "removed at the end":
            del lines[-1]
        case "swapped":
            lines[1], lines[2] = lines[2], lines[1]
        case "added":
            lines.append(lines[-1])
        case "another history":
            lines = [line + b"\n" for line in chain(3, text="another")]
        case "cut short":
            lines[-1] = lines[-1][:-9]
        case "foreign":
            lines[2] = chain(3, "gw-0002")[2] + b"\n"
        case _:
            lines = [b"[]\n"]
    path.write_bytes(b"".join(lines))


def _edit_office(folder: Path, edit: str) -> None:
    metadata = folder / "office" / "metadata"
    newest = max(metadata.glob("*.targets.json"), key=lambda path: int(path.name.split(".")[0]))
    match edit:
        case "root removed":
            (metadata / "2.root.json").unlink()
        case "root changed":
            root = json.loads((metadata / "2.root.json").read_bytes())
            root["signed"]["expires"] = "2099-01-01T00:00:00Z"
            (metadata / "2.root.json").write_text(json.dumps(root))
        case "targets changed":
            targets = json.loads(newest.read_bytes())
            next(iter(targets["signed"]["targets"].values()))["hashes"]["sha256"] = "00" * 32
            newest.write_text(json.dumps(targets))
        case "targets unsigned":
            targets = json.loads(newest.read_bytes())
            newest.write_text(json.dumps({**targets, "signatures": []}))
        case _:
            for path in metadata.glob("*.targets.json"):
                path.unlink()


RECEIPT_EDITS = (
    "changed", "removed", "removed at the end", "swapped", "added", "another history", "cut short", "foreign", "no receipt",
)  # fmt: skip
OFFICE_EDITS = ("root removed", "root changed", "targets changed", "targets unsigned", "targets removed")


@attack(By.OWNER, On.RECORD, "evidence changed after it was put together", "the verifier in it needs nobody's word")
@pytest.mark.parametrize("is_resummed", [True, False], ids=["digests redone", "digests as they were"])
@pytest.mark.parametrize("edit", [*RECEIPT_EDITS, *OFFICE_EDITS, "checkpoint removed", "checkpoint older", "key", "device"])
def test_the_verifier_finds_what_was_changed(evidence: Path, edit: str, is_resummed: bool) -> None:
    match edit:
        case "checkpoint removed":
            (evidence / "copies" / "2" / "checkpoint").unlink()
        case "checkpoint older":
            shutil.copy(evidence / "copies" / "1" / "checkpoint", evidence / "copies" / "2" / "checkpoint")
        case "key":
            thief = device("gw-0001", "thief")[0]
            (evidence / "device.pem").write_text(public_key_pem(thief.public_key))
        case "device":
            (evidence / "device.json").write_bytes(identity_form.encode(device("gw-0002")[0]))
        case _ if edit in OFFICE_EDITS:
            _edit_office(evidence, edit)
        case _:
            _edit_receipts(evidence, edit)
    if is_resummed:
        _resum(evidence)
    code, told = verified(evidence)
    assert code == 1
    assert "WRONG" in told
    assert "Everything agrees" not in told


def test_the_verifier_compares_the_fingerprint_that_it_is_given(evidence: Path) -> None:
    written = ":".join(IDENTITY.fingerprint.upper()[at : at + 2] for at in range(0, 64, 2))
    assert verified(evidence, written)[0] == 0
    code, told = verified(evidence, "00" * 32)
    assert (code, "WRONG   the device's key has the fingerprint that was given" in told) == (1, True)


def test_the_verifier_is_short_and_needs_the_standard_library_alone() -> None:
    text = VERIFIER.read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 185
    imported = {line.split()[1] for line in code if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names
    compile(text, "verify.py", "exec")
    linter = (sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=128")
    done = subprocess.run(
        [*linter, "--select=E,F,B,PL,SIM", "--ignore=PLR2004", "-"],
        input=text,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def later_log(folder: Path, begin: int, count: int = 9, *, kept: int = 0) -> Path:
    """Make a log that lacks the receipts up to `begin`, which were acknowledged, but for the first `kept`."""
    lines = chain(count)
    write_lines(folder, lines)
    (folder / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in (*lines[:kept], *lines[begin:])))
    tree = merkle.GrowingTree(map(merkle.leaf_hash, lines[:begin]))
    stated = Acknowledged(acknowledgement(lines[:begin]), tree.subtrees)
    (folder / "acknowledged").write_bytes(acknowledged.encode(stated))
    return folder


@pytest.mark.parametrize(("begin", "count", "kept"), [(6, 7, 0), (6, 9, 0), (1, 9, 0), (8, 9, 3), (9, 9, 0), (4, 9, 4)])
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen before", "nothing known"])
def test_an_archive_of_a_log_that_begins_later_verifies(
    tmp_path: Path, begin: int, count: int, kept: int, is_seen: bool
) -> None:
    if is_seen:
        whole = write_log(tmp_path / "whole" / "gw-0001", begin)
        run(tmp_path, "enroll", whole, "--fingerprint", IDENTITY.fingerprint)
        run(tmp_path, "verify", whole)
    folder = unpacked(tmp_path, later_log(tmp_path / "later" / "gw-0001", begin, count, kept=kept))
    code, told = verified(folder, IDENTITY.fingerprint)
    assert (code, "WRONG" in told) == (0, False), told
    assert (f"of receipts 1 to {begin}, {begin - kept} are NOT IN THIS ARCHIVE" in told) == (kept < begin)
    assert (told.splitlines()[-1] == "Everything agrees.") == (kept == begin)


@pytest.mark.parametrize("edit", ["removed", "note", "subtree", "claims more", "another history", "acknowledged removed"])
def test_the_verifier_finds_what_was_changed_behind_the_acknowledged(tmp_path: Path, edit: str) -> None:
    folder = unpacked(tmp_path, later_log(tmp_path / "later" / "gw-0001", 6))
    copy = folder / "copies" / "1"
    lines = (copy / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    stated = json.loads((copy / "acknowledged").read_bytes())
    match edit:
        case "removed":
            (copy / "receipts.jsonl").write_bytes(b"".join(lines[1:]))
        case "note":
            stated["note"] = acknowledgement(chain(6, text="another")).decode()
        case "subtree":
            stated["subtrees"][0] = "00" * 32
        case "claims more":
            (copy / "receipts.jsonl").write_bytes(b"".join(lines[1:]))
            stated["note"] = stated["note"].replace("\n6\n", "\n7\n", 1)
        case "another history":
            other = chain(6, text="another")
            stated["note"] = acknowledgement(other).decode()
            stated["subtrees"] = [each.hex() for each in merkle.GrowingTree(map(merkle.leaf_hash, other)).subtrees]
        case _:
            (copy / "acknowledged").unlink()
    if (copy / "acknowledged").exists():
        (copy / "acknowledged").write_text(json.dumps(stated))
    _resum(folder)
    code, told = verified(folder)
    assert code == 1
    assert "WRONG" in told
    assert "Everything agrees" not in told


def test_the_verifier_helps_and_compares_the_offices_root(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    log = log_of(tmp_path / "log" / "gw-0001", manifests(bench))
    folder = unpacked(tmp_path, log, "--repo", bench.office.path)
    code, told = verified(folder, "--help")
    assert (code, "verify.py [FINGERPRINT [ROOT]]" in told, "ok " in told) == (0, True, False)
    root = hashlib.sha256((bench.office.path / "metadata" / "1.root.json").read_bytes()).hexdigest()
    code, told = verified(folder, IDENTITY.fingerprint, root.upper())
    assert (code, "ok      the office's first root has the SHA-256 that was given" in told) == (0, True)
    assert told.count("what was put into the archive") == 1
    assert verified(folder, IDENTITY.fingerprint, "00" * 32)[0] == 1
    shutil.rmtree(folder / "office")
    _resum(folder)
    assert "WRONG   the office's metadata are in the archive" in verified(folder, IDENTITY.fingerprint, root)[1]


def test_the_same_input_makes_the_same_archive(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 3)
    made = []
    for name in ("one.zip", "two.zip"):
        run(tmp_path, "evidence", "gw-0001", log, "--output", tmp_path / name)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


def test_a_copy_that_is_there_twice_is_put_in_once_and_everything_as_it_came(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 3)
    shutil.copytree(log, tmp_path / "again" / "gw-0001")
    write_log(tmp_path / "log" / "gw-0002", 2, "gw-0002")
    folder = unpacked(tmp_path, tmp_path / "log", tmp_path / "again")
    assert [path.name for path in (folder / "copies").iterdir()] == ["1"]
    for name in ("receipts.jsonl", "checkpoint", "identity.json"):
        assert (folder / "copies" / "1" / name).read_bytes() == (log / name).read_bytes()
    assert not (folder / "office").exists()


def test_evidence_that_is_not_in_order_is_put_in_as_it_is_and_said(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 3)
    lines = (log / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    (log / "receipts.jsonl").write_bytes(b"".join(lines[1:]))
    raised = run(tmp_path, "evidence", "gw-0001", log, "--output", tmp_path / "evidence.zip")
    assert isinstance(raised, EvidenceBrokenError)
    folder = unpacked(tmp_path, log)
    assert "receipt 1: it is missing" in " ".join((folder / "README.txt").read_text(encoding="utf-8").split())
    assert verified(folder)[0] == 1


@pytest.mark.parametrize("lacking", ["checkpoint", "receipts.jsonl", "identity.json"])
def test_evidence_of_an_unknown_device_that_is_not_whole_still_makes_an_archive(tmp_path: Path, lacking: str) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 3)
    (log / lacking).unlink()
    code, told = verified(unpacked(tmp_path, tmp_path / "log"))
    assert (code, "WRONG" in told) == (1, True)


def test_a_device_that_is_not_there_and_an_office_that_is_none_are_said(tmp_path: Path) -> None:
    write_log(tmp_path / "log" / "gw-0001", 3)
    output = tmp_path / "evidence.zip"
    assert isinstance(run(tmp_path, "evidence", "gw-0009", tmp_path / "log", "--output", output), DeviceNotThereError)
    assert isinstance(
        run(tmp_path, "evidence", "gw-0001", tmp_path / "log", "--repo", tmp_path, "--output", output), UnusableFileError
    )
    assert not output.exists()
    assert isinstance(run(tmp_path, "evidence", "gw-0001", tmp_path / "log", "--output", output), NotEnrolledError)


def test_an_archive_is_one_that_anybody_can_unpack(tmp_path: Path) -> None:
    unpacked(tmp_path, write_log(tmp_path / "log" / "gw-0001", 3))
    with zipfile.ZipFile(tmp_path / "evidence.zip") as packed:
        assert packed.testzip() is None
        names = packed.namelist()
    assert names == sorted(names)
    assert {name.split("/")[0] for name in names} == {"evidence-gw-0001"}


@attack(
    By.STICK,
    On.OFFICE,
    "a log whose text steers the terminal of whoever verifies the evidence",
    "the verifier prints what can be seen, and a sign for what cannot",
)
def test_the_verifier_prints_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 2)
    first, _, rest = (log / "receipts.jsonl").read_bytes().partition(b"\n")
    line = json.loads(first)
    said = json.loads(base64.b64decode(line["payload"]))
    said["predicate"]["event"] = "committed\x1b[2J\x1b[HEverything agrees.\x1b[8m"
    line["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    (log / "receipts.jsonl").write_bytes(json.dumps(line).encode() + b"\n" + rest)
    code, told = verified(unpacked(tmp_path, tmp_path / "log"))
    assert code != 0
    assert "Everything agrees" in told
    assert "\x1b" not in told


@attack(
    By.STICK,
    On.OFFICE,
    "metadata without end on a stick that is given for the office's",
    "all of them together have a limit",
)
def test_a_stick_given_for_the_offices_metadata_does_not_fill_the_memory(mount: Path) -> None:
    folder = mount / "usbupdate" / "metadata"
    folder.mkdir(parents=True)
    for number in range(1, 200):
        with (folder / f"{number}.root.json").open("wb") as file:
            file.truncate(8 << 20)
    verdict = Verdict(DeviceId("gw-1"), Standing.OK, None, None, (), 0, (), (), 0, None, Checked())
    tracemalloc.start()
    try:
        with pytest.raises(UnusableFileError, match="more than an office ever has"):
            office_files(mount, verdict)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 256 << 20
