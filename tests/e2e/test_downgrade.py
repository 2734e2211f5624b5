"""Going back, by the command line alone: refused, allowed once, obeyed once, audited, and forward again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.commands import Said, usbupdate
from usbupdate.errors import ExitCode

if TYPE_CHECKING:
    from usbupdate.core.strictjson import Json

ROOT: Final = "repo/metadata/1.root.json"
DEVICE: Final = ("--device", "gw-1")
BACK: Final = (*DEVICE, "--bundle", "gw-1", "--ticket", "CHG-4711")


@pytest.fixture(autouse=True)
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an office with two releases, a stick for each, and a device that runs the second, in the present folder."""
    monkeypatch.chdir(tmp_path)
    usbupdate("repo", "init", "repo")
    for sequence in (1, 2):
        Path(f"{sequence}.0.img").write_bytes(os.urandom(300_000) + bytes(600_000))
        release(sequence)
        write(f"stick-{sequence}.0", f"gw-{sequence}")
    usbupdate(
        "simulate", "new", "gw-1", "--image", "1.0.img", "--compatible", "acme,gw", "--root", ROOT, "--id", "gw-1",
        "--version", "1.0", "--sequence", "1",
    )  # fmt: skip
    update("stick-2.0")
    assert running() == ("2.0", 2)


def release(sequence: int) -> None:
    image = Path(f"{sequence}.0.img")
    if not image.exists():
        image.write_bytes(os.urandom(900_000))
    usbupdate(
        "bundle", "create", image, "--repo", "repo", "--name", "gw", "--version", f"{sequence}.0", "--sequence", str(sequence),
        "--compatible", "acme,gw", "--no-cache",
    )  # fmt: skip


def write(mount: str, *bundles: str) -> Said:
    Path(mount).mkdir(exist_ok=True)
    chosen = [argument for bundle in bundles for argument in ("--bundle", bundle)]
    return usbupdate("stick", "write", "repo", mount, *chosen)


def allow(*more: str, code: int = 0) -> Said:
    return usbupdate("repo", "allow-downgrade", "repo", *BACK, "--fingerprint", fingerprint(), *more, code=code)


def fingerprint() -> str:
    found = json.loads(Path("gw-1/state/identity/identity.json").read_bytes())["fingerprint"]
    assert isinstance(found, str)
    return found


def insert(mount: str, code: int = 0) -> Said:
    said = usbupdate("simulate", "insert", "gw-1", mount, code=code)
    usbupdate("simulate", "remove", "gw-1") if code else None
    return said


def update(mount: str) -> None:
    insert(mount)
    usbupdate("simulate", "boot", "gw-1")
    usbupdate("simulate", "remove", "gw-1")


def running() -> tuple[Json, Json]:
    status = usbupdate("simulate", "status", "gw-1", "--json").json()
    slots, booted = status["slots"], status["booted"]
    assert isinstance(slots, dict)
    assert status["state"] == "idle"
    return slots[booted]["version"], status["sequence"]  # type: ignore[return-value] # a table of JSON


def audited(mount: str, code: int = 0) -> Said:
    if not Path("devices").exists():
        usbupdate(
            "audit", "enroll", "gw-1/state/identity/identity.json", "--fingerprint", fingerprint(), "--devices", "devices"
        )
    return usbupdate("audit", "verify", mount, "--devices", "devices", code=code)


def test_one_device_goes_back_once_and_forward_again() -> None:
    # 1. Without an authorisation there is no way back.
    assert "takes only sequences above 2" in insert("stick-1.0", code=ExitCode.REFUSED).err

    # 2. The office allows it, for this device and this release, and writes a stick.
    assert "gw-1 may go back to gw 1.0 from sequence 2 or lower" in allow().out
    assert "ticket CHG-4711" in write("back", "gw-1").out
    assert "back to an older release:\r\n  gw-1, ticket CHG-4711" in Path("back/usbupdate/READ-ME.txt").read_bytes().decode()
    assert "may go back to gw 1.0" in usbupdate("stick", "inspect", "back", "--root", ROOT).out

    # 3. The device goes back.
    update("back")
    assert running() == ("1.0", 1)
    assert "allow-gw-1-1.json: passed. CHG-4711" in Path("back/usbupdate/logs/gw-1/summary.txt").read_text()

    # 4. The same stick again: nothing, however it comes.
    for _ in range(2):
        assert "done, remove" in insert("back").out
        usbupdate("simulate", "boot", "gw-1")
        assert running() == ("1.0", 1)

    # 5. Forward again by an ordinary stick, and the authorisation is used up.
    update("stick-2.0")
    assert running() == ("2.0", 2)
    assert "has used number 1" in insert("back", code=ExitCode.REFUSED).err
    assert running() == ("2.0", 2)

    # 6. The auditor finds the way back allowed.
    audited("back")
    shown = usbupdate("audit", "show", "back", "--devices", "devices")
    assert "2.0 -> 1.0  by the authorisation 1: CHG-4711" in shown.out
    told = json.loads(usbupdate("audit", "show", "back", "--devices", "devices", "--json").out)
    events = told["devices"][0]["events"]
    by = [each["authorisation"] for each in events if each["authorisation"]]
    assert [(each["number"], each["ticket"], len(each["signers"])) for each in by] == [(1, "CHG-4711", 1)]


def test_a_stick_with_both_releases_ends_where_the_order_says_and_never_in_a_loop() -> None:
    allow()
    release(3)
    write("both", "gw-1", "gw-2", "gw-3")
    insert("both")
    for _ in range(4):
        usbupdate("simulate", "boot", "gw-1")
        assert running() == ("1.0", 1)
    usbupdate("simulate", "remove", "gw-1")
    assert "done, remove" in insert("both").out
    # Without the order the same releases are an ordinary stick.
    assert "withdrawn" in usbupdate("repo", "withdraw-downgrade", "repo", *DEVICE).out
    write("both", "gw-1", "gw-2", "gw-3")
    update("both")
    assert running() == ("3.0", 3)


def test_a_trial_that_fails_leaves_the_authorisation_unused() -> None:
    allow()
    write("back", "gw-1")
    insert("back")
    usbupdate("simulate", "boot", "gw-1", "--panic", code=ExitCode.ROLLED_BACK)
    assert running() == ("2.0", 2)
    usbupdate("simulate", "remove", "gw-1")
    update("back")
    assert running() == ("1.0", 1)


def test_the_order_that_lay_in_a_drawer_does_not_undo_a_later_update() -> None:
    allow()
    write("back", "gw-1")
    release(3)
    write("stick-3.0", "gw-3")
    update("stick-3.0")
    said = insert("back", code=ExitCode.REFUSED)
    assert "good from sequence 2 down; this device has had 3" in said.err
    assert running() == ("3.0", 3)


def test_a_withdrawn_authorisation_counts_no_more_on_older_sticks_once_a_newer_one_was_seen() -> None:
    allow()
    write("back", "gw-1")
    usbupdate("repo", "withdraw-downgrade", "repo", *DEVICE, "--number", "1")
    insert(str(_logs()))
    insert("back", code=ExitCode.REFUSED)
    assert running() == ("2.0", 2)
    usbupdate("repo", "withdraw-downgrade", "repo", *DEVICE, code=ExitCode.OFFICE)


def authorisations(said: Said) -> list[dict[str, Json]]:
    found = json.loads(said.out)["authorisations"]
    assert isinstance(found, list)
    return found


def _logs() -> Path:
    Path("logs").mkdir()
    usbupdate("stick", "write", "repo", "logs", "--log-only")
    return Path("logs")


def test_lists_show_authorisations_and_numbers_only_rise() -> None:
    first = allow("--json")
    assert first.json()["signed"] is True
    (told,) = authorisations(first)
    assert {key: told[key] for key in ("device", "number", "floor", "bundle", "ticket", "published")} == {
        "device": "gw-1", "number": 1, "floor": 2, "bundle": "gw-1", "ticket": "CHG-4711", "published": True,
    }  # fmt: skip
    allow("--number", "7", "--floor", "5", "--days", "3")
    assert "not above the highest" in allow("--number", "7", code=ExitCode.OFFICE).err
    assert "authorisation 8" in allow().out
    usbupdate("repo", "withdraw-downgrade", "repo", *DEVICE, "--number", "8")
    assert "authorisation 9" in allow().out, "what was withdrawn may have been used"
    for listing in (("bundle", "list", "--repo", "repo"), ("repo", "check", "repo")):
        lines = [line for line in usbupdate(*listing).out.splitlines() if line.startswith("authorisation ")]
        assert [line.split(":")[0] for line in lines] == ["authorisation 1", "authorisation 7", "authorisation 9"]
        assert [each["number"] for each in authorisations(usbupdate(*listing, "--json"))] == [1, 7, 9]
    found = usbupdate("stick", "inspect", str(_both()), "--json")
    assert [each["number"] for each in authorisations(found)] == [1, 7, 9]


def _both() -> Path:
    write("both", "gw-1", "gw-2")
    return Path("both")


def test_a_stick_without_the_bundle_has_no_use_for_its_authorisation() -> None:
    allow()
    write("newest")
    names = [path.name for path in Path("newest/usbupdate/targets").iterdir()]
    assert [name.partition(".")[2] for name in names] == ["gw-2.json"]


def test_several_people_see_what_they_allow_before_they_sign() -> None:
    for name in ("alice", "bob"):
        usbupdate("key", "create", f"{name}.pem")
    keys = ("--key", "targets=alice.pem.pub", "--key", "targets=bob.pem.pub", "--threshold", "targets=2")
    usbupdate("repo", "rotate", "repo", *keys)
    usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem")
    usbupdate("repo", "sign", "repo", "--yes", "--key", "bob.pem")
    said = allow()
    assert "NOT SIGNED YET: targets needs 2 more" in said.out
    usbupdate("stick", "write", "repo", "stick-1.0", code=ExitCode.UNSIGNED)
    shown = usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem").err
    assert "+ allow-gw-1-1.json, sha256 " in shown
    assert "gw-1 may go back to gw 1.0 from sequence 2 or lower" in shown
    assert f"key of the device {fingerprint()}" in shown
    assert "ticket CHG-4711" in shown
    usbupdate("repo", "sign", "repo", "--yes", "--key", "bob.pem")
    write("back", "gw-1")
    update("back")
    assert running() == ("1.0", 1)


def test_the_key_comes_from_the_auditors_folder_a_returned_stick_or_the_devices_file() -> None:
    audited("stick-2.0")
    for number, place in enumerate(("devices", "stick-2.0", "gw-1/state/identity/identity.json"), 1):
        said = usbupdate("repo", "allow-downgrade", "repo", *BACK, "--key-from", place, "--json")
        (told,) = authorisations(said)
        assert (told["number"], told["fingerprint"]) == (number, fingerprint())
    for place in ("devices", "stick-2.0"):
        other = ("--device", "gw-9", *BACK[2:], "--key-from", place)
        usbupdate("repo", "allow-downgrade", "repo", *other, code=ExitCode.INPUT)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--bundle", "gw-9"), ExitCode.OFFICE),
        (("--bundle", "gw"), ExitCode.OFFICE),
        (("--bundle", "gw-2"), ExitCode.OFFICE),
        (("--floor", "1"), ExitCode.OFFICE),
        (("--floor", "0"), ExitCode.INPUT),
        (("--number", "0"), ExitCode.INPUT),
        (("--days", "0"), ExitCode.INPUT),
        (("--ticket", ""), ExitCode.INPUT),
        (("--ticket", "two\nlines"), ExitCode.INPUT),
        (("--ticket", "x" * 201), ExitCode.INPUT),
        (("--device", "GW"), ExitCode.INPUT),
        (("--fingerprint", "12:34"), ExitCode.INPUT),
        (("--key-from", "devices"), ExitCode.INPUT),
    ],
)
def test_what_cannot_be_meant_changes_nothing(more: tuple[str, ...], code: ExitCode) -> None:
    def picture() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in Path("repo").rglob("*") if path.is_file()}

    before = picture()
    allow(*more, code=code)
    assert picture() == before
    usbupdate("repo", "allow-downgrade", "repo", *BACK, code=ExitCode.INPUT)
    assert picture() == before
