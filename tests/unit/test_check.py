from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import simulated
from usbupdate.device.check import Finding, Surroundings, check_device

from .test_configuration import SMALL, WHOLE, write

if TYPE_CHECKING:
    from collections.abc import Mapping

TOP = Path(__file__).parents[2]


def found(path: Path, surroundings: Surroundings | None = None) -> Mapping[str, Finding]:
    findings = check_device(path, surroundings)
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert finding.text.isprintable()
        assert finding.ok == (not finding.advice)
    return {finding.name: finding for finding in findings}


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_a_bad_configuration_is_the_only_finding(tmp_path: Path) -> None:
    findings = found(write(tmp_path, SMALL.replace("compatible", "compatibel")))
    assert list(findings) == ["configuration"]
    assert "device.compatible" in findings["configuration"].text


def test_a_machine_that_is_no_device_yet_is_told_everything_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    before = tree(tmp_path)
    findings = found(path)
    assert {name for name, finding in findings.items() if not finding.ok} == {
        "state folder",
        "marker and state",
        "key",
        "unit",
        "configured root",
        "stored root",
        "boot loader",
    }
    assert "provision" in findings["state folder"].advice
    assert tree(tmp_path) == before


def test_a_state_folder_that_everybody_may_read_is_found(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    (tmp_path / "state").chmod(0o755)
    finding = found(write(tmp_path, SMALL))["state folder"]
    assert not finding.ok
    assert "chmod o=" in finding.advice


def test_folders_of_checks_and_gates_are_looked_at_and_not_run(tmp_path: Path) -> None:
    for name in ("health", "gate"):
        (tmp_path / name).mkdir(mode=0o755)
        (tmp_path / name / "10-a").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (tmp_path / name / "10-a").chmod(0o755)
    (tmp_path / "gate" / "10-a").chmod(0o777)
    simulated.lay_down(tmp_path / "bootloader.json", Slot.A)
    more = '[health]\nchecks = "health"\n[gates]\ninstall = "gate"\nreboot = "none"\n'
    findings = found(write(tmp_path, SMALL + more))
    assert findings["health checks"].ok
    assert findings["boot loader"].ok
    assert not findings["install gates"].ok
    assert findings["reboot gates"].ok
    assert not (tmp_path / "ran").exists()


def test_a_simulated_device_needs_no_udev_and_no_units(tmp_path: Path) -> None:
    assert not {"udev rule", "units", "kernel command line"} & set(found(write(tmp_path, SMALL)))


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    """Return a system into which our rule and our units were installed and enabled."""
    (tmp_path / "cmdline").write_text("root=PARTUUID=1-02 usbupdate.slot=A panic=10\n")
    units = tmp_path / "units"
    for wants in ("multi-user.target.wants", "sysinit.target.wants"):
        (units / wants).mkdir(parents=True)
    for unit in (TOP / "systemd").glob("usbupdate*"):
        (units / unit.name).write_bytes(unit.read_bytes())
    (units / "multi-user.target.wants" / "usbupdate-boot.service").symlink_to("../usbupdate-boot.service")
    (units / "sysinit.target.wants" / "usbupdate-deadman.timer").symlink_to("../usbupdate-deadman.timer")
    return Surroundings(
        command_line=tmp_path / "cmdline", rule_folders=(TOP / "udev-rules",), unit_folders=(tmp_path / "none", units)
    )


def board(folder: Path) -> Path:
    (folder / "grubenv").write_bytes(
        b"# GRUB Environment Block\nORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=0\n".ljust(1024, b"#")
    )
    return write(folder, WHOLE.replace("/boot/efi/grub/grubenv", str(folder / "grubenv")))


def test_a_well_built_image_passes(tmp_path: Path, surroundings: Surroundings) -> None:
    findings = found(board(tmp_path), surroundings)
    for name in ("boot loader", "kernel command line", "udev rule", "units", "units enabled"):
        assert findings[name].ok, findings[name]
    # The machine that runs the tests has none of these partitions.
    assert not findings["slots"].ok


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("root=LABEL=rootfs panic=10", "root=LABEL="),
        ("root=UUID=1234 panic=10", "root=UUID="),
        ("root=/dev/sda2", "panics"),
        ("root=/dev/sda2 panic=0", "panics"),
    ],
)
def test_a_kernel_line_that_cannot_tell_the_slots_apart_or_stands_still_is_found(
    tmp_path: Path, surroundings: Surroundings, line: str, word: str
) -> None:
    surroundings.command_line.write_text(line)
    finding = found(board(tmp_path), surroundings)["kernel command line"]
    assert not finding.ok
    assert word in finding.text


def test_a_missing_rule_and_units_are_named(tmp_path: Path) -> None:
    nowhere = (tmp_path / "nowhere",)
    findings = found(board(tmp_path), Surroundings(rule_folders=nowhere, unit_folders=nowhere))
    assert "90-usbupdate.rules" in findings["udev rule"].text
    assert "usbupdate@.service" in findings["units"].text
    assert "usbupdate-deadman.timer" in findings["units enabled"].text


def test_a_boot_loader_that_knows_other_names_is_found(tmp_path: Path, surroundings: Surroundings) -> None:
    path = board(tmp_path)
    (tmp_path / "grubenv").write_bytes(b"# GRUB Environment Block\nORDER=one two\n".ljust(1024, b"#"))
    finding = found(path, surroundings)["boot loader"]
    assert not finding.ok
    assert "A and B" in finding.text
