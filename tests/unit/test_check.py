from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.words import Slot
from usbupdate.device.blockdevices import BlockDevices
from usbupdate.device.bootloaders import simulated
from usbupdate.device.check import check_device
from usbupdate.device.configuration import load_configuration
from usbupdate.device.surroundings import LIBRARIES, Surroundings, looks_at_signals, looks_at_system

from .test_configuration import SMALL, WHOLE, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.device.findings import Finding

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
        "privacy",
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
    finding = found(write(tmp_path, SMALL))["privacy"]
    assert finding.is_missing
    assert "chmod o=" in finding.advice


@pytest.mark.parametrize("open_to_others", ["device.toml", "root.json", "grubenv"])
def test_what_the_release_says_and_others_may_change_is_found(
    tmp_path: Path, surroundings: Surroundings, open_to_others: str
) -> None:
    (tmp_path / "root.json").touch()
    path = write(tmp_path, board(tmp_path).read_text("utf-8").replace("/etc/usbupdate/root.json", "root.json"))
    assert found(path, surroundings)["release's files"].ok
    (tmp_path / open_to_others).chmod(0o666)
    finding = found(path, surroundings)["release's files"]
    assert finding.is_missing
    assert f"chmod go-w {tmp_path / open_to_others}" in finding.advice


def test_a_signal_command_that_others_may_change_is_found(tmp_path: Path) -> None:
    command = tmp_path / "buzzer"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o757)
    finding = found(write(tmp_path, SMALL + f'[signals]\ncommand = ["{command}"]\n'))["signal command"]
    assert not finding.ok
    assert "is not run" in finding.text


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
    for wants in ("multi-user.target.wants", "sysinit.target.wants", "timers.target.wants"):
        (units / wants).mkdir(parents=True)
    for unit in (TOP / "systemd").glob("usbupdate*"):
        (units / unit.name).write_bytes(unit.read_bytes())
    (units / "emergency.target.d").mkdir()
    (units / "emergency.target.d" / "usbupdate.conf").write_bytes(
        (TOP / "systemd/emergency.target.d/usbupdate.conf").read_bytes()
    )
    manager = tmp_path / "systemd" / "system.conf.d"
    manager.mkdir(parents=True)
    (manager / "usbupdate.conf").write_bytes((TOP / "systemd/system.conf.d/usbupdate.conf").read_bytes())
    (tmp_path / "watchdog").touch()
    (tmp_path / "mountinfo").write_text(f"25 1 0:40 / {tmp_path} rw - vfat none rw\n")
    (tmp_path / "filesystems").write_text("nodev\tsysfs\n\tvfat\n")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "90-usbupdate.rules").write_bytes((TOP / "udev-rules/90-usbupdate.rules").read_bytes())
    (units / "multi-user.target.wants" / "usbupdate-boot.service").symlink_to("../usbupdate-boot.service")
    (units / "sysinit.target.wants" / "usbupdate-deadman.timer").symlink_to("../usbupdate-deadman.timer")
    (units / "timers.target.wants" / "usbupdate-reboot.timer").symlink_to("../usbupdate-reboot.timer")
    return Surroundings(
        command_line=tmp_path / "cmdline",
        rule_folders=(tmp_path / "etc", tmp_path / "rules"),
        unit_folders=(tmp_path / "none", units),
        systemd=(tmp_path,),
        manager_folders=(tmp_path / "systemd",),
        command=Path("/bin/true"),
        kernel="6.1.0-test",
        kernel_filesystems=tmp_path / "filesystems",
        modules=tmp_path / "modules",
        watchdogs=(tmp_path / "watchdog",),
        dracut=(),
        udev=tmp_path / "udev-control",
        block_devices=BlockDevices(mountinfo=tmp_path / "mountinfo"),
    )


def around(surroundings: Surroundings) -> Mapping[str, Finding]:
    """Return what is found in the system around the agent."""
    folder = surroundings.command_line.parent
    return {look.name: look.found() for look in looks_at_system(load_configuration(board(folder)), surroundings)}


def board(folder: Path) -> Path:
    (folder / "grubenv").write_bytes(
        b"# GRUB Environment Block\nORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=0\n".ljust(1024, b"#")
    )
    return write(folder, WHOLE.replace("/boot/efi/grub/grubenv", str(folder / "grubenv")))


def test_a_well_built_image_passes(tmp_path: Path, surroundings: Surroundings) -> None:
    findings = found(board(tmp_path), surroundings)
    wrong = {name for name, finding in findings.items() if not finding.ok}
    # The machine that runs the tests is no such device: no partitions, no state, no root, none of the owner's programs.
    no_device = {"slots", "booted slot", "state folder", "privacy", "marker and state", "key", "unit", "configured root"}
    assert wrong - {"stored root", "signal command", "signal light", "programs", "environment"} <= no_device


@pytest.mark.parametrize("line", ["root=LABEL=rootfs panic=10", "root=UUID=1234 panic=10"])
def test_a_kernel_line_that_cannot_tell_the_slots_apart_is_found(surroundings: Surroundings, line: str) -> None:
    surroundings.command_line.write_text(line)
    finding = around(surroundings)["kernel command line"]
    assert finding.is_missing
    assert line.split("=")[1] in finding.text


@pytest.mark.parametrize("line", ["root=/dev/sda2", "root=/dev/sda2 panic=0", "root=/dev/sda2 -- panic=10"])
def test_a_kernel_that_would_stand_still_is_advised_against(surroundings: Surroundings, line: str) -> None:
    surroundings.command_line.write_text(line)
    finding = around(surroundings)["kernel panic"]
    assert not finding.ok
    assert not finding.is_missing


def test_dracut_needs_a_word_of_its_own(surroundings: Surroundings) -> None:
    surroundings = replace(surroundings, dracut=(surroundings.command_line,))
    assert not around(surroundings)["initramfs"].ok
    surroundings.command_line.write_text("root=PARTUUID=1-02 panic=10 rd.shell=0 rd.emergency=reboot")
    assert around(surroundings)["initramfs"].ok


@pytest.mark.parametrize(("kernel", "ok"), [("5.4.0-rt", False), ("4.19.1", False), ("5.10.0", True), ("6.1.0-test", True)])
def test_a_kernel_that_is_too_old_is_found(surroundings: Surroundings, kernel: str, ok: bool) -> None:
    assert around(replace(surroundings, kernel=kernel))["kernel"].ok is ok


def test_file_systems_may_be_built_in_loaded_or_loadable(surroundings: Surroundings) -> None:
    surroundings.kernel_filesystems.write_text("nodev\tproc\n\text4\n")
    assert "vfat" in around(surroundings)["file systems"].text
    assert around(surroundings)["file systems"].is_missing
    folder = surroundings.modules / surroundings.kernel
    (folder / "kernel/fs/fat").mkdir(parents=True)
    (folder / "modules.dep").write_text("kernel/fs/fat/vfat.ko.xz: kernel/fs/fat/fat.ko.xz\n")
    # Listed and not there, as in an image from which modules were taken away.
    assert around(surroundings)["file systems"].is_missing
    (folder / "kernel/fs/fat/vfat.ko.xz").touch()
    assert around(surroundings)["file systems"].ok
    (folder / "modules.dep").unlink()
    (folder / "modules.builtin").write_text("kernel/fs/fat/fat.ko\nkernel/fs/fat/vfat.ko\n")
    assert around(surroundings)["file systems"].ok


def test_a_dead_man_that_looks_into_another_state_folder_is_found(tmp_path: Path, surroundings: Surroundings) -> None:
    """It would never end a trial; the blind one would restart every boot after a commit."""
    assert around(surroundings)["dead man"].ok
    path = board(tmp_path)
    path.write_text(path.read_text().replace('state_dir = "/var/lib/usbupdate"', 'state_dir = "/data/usbupdate"'))
    for unit, condition in (
        ("usbupdate-deadman", "/data/usbupdate/trial"),
        ("usbupdate-deadman-blind", "!/data/usbupdate/provisioned"),
    ):
        finding = found(path, surroundings)["dead man"]
        assert finding.is_missing
        assert condition in finding.advice
        drop_in = surroundings.unit_folders[-1] / f"{unit}.service.d" / "state.conf"
        drop_in.parent.mkdir()
        # A condition is added to those before; only an empty one takes these back.
        both = f"ConditionPathExists={condition}\nConditionPathExists=!/run/usbupdate/no-trial\n"
        drop_in.write_text(f"[Unit]\n{both}")
        assert found(path, surroundings)["dead man"].is_missing
        drop_in.write_text(f"[Unit]\nConditionPathExists=\n{both}")
    assert found(path, surroundings)["dead man"].ok


def test_a_masked_rule_or_unit_is_not_there(tmp_path: Path, surroundings: Surroundings) -> None:
    for folder in ("etc", "none"):
        (tmp_path / folder).mkdir()
    (tmp_path / "etc" / "90-usbupdate.rules").symlink_to("/dev/null")
    (tmp_path / "none" / "usbupdate@.service").symlink_to("/dev/null")
    (tmp_path / "none" / "usbupdate-boot.service").touch()
    findings = around(surroundings)
    assert findings["udev rule"].is_missing
    assert "usbupdate@.service, usbupdate-boot.service." in findings["units"].text


def test_gates_that_nobody_asks_again_are_advised_against(tmp_path: Path, surroundings: Surroundings) -> None:
    (tmp_path / "units" / "timers.target.wants" / "usbupdate-reboot.timer").unlink()
    finding = around(surroundings)["gates asked again"]
    assert not finding.ok
    assert not finding.is_missing


def test_a_command_that_does_not_start_is_found(tmp_path: Path, surroundings: Surroundings) -> None:
    command = tmp_path / "usbupdate"
    assert around(replace(surroundings, command=command))["command"].is_missing
    command.write_text("#!/bin/sh\necho ModuleNotFoundError: typer >&2; exit 1\n")
    command.chmod(0o755)
    finding = around(replace(surroundings, command=command))["command"]
    assert finding.is_missing
    assert "ModuleNotFoundError: typer" in finding.text


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_release_without_one_of_the_libraries_is_found(
    surroundings: Surroundings, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    finding = around(surroundings)["libraries"]
    assert finding.is_missing
    assert library in finding.text


def test_a_missing_or_unfed_watchdog_is_advised_against_only(tmp_path: Path, surroundings: Surroundings) -> None:
    for wrong in (replace(surroundings, watchdogs=()), replace(surroundings, manager_folders=())):
        finding = around(wrong)["watchdog"]
        assert not finding.ok
        assert not finding.is_missing
    (tmp_path / "systemd" / "system.conf.d" / "zz.conf").write_text("[Manager]\nRuntimeWatchdogSec=off\n")
    assert not around(surroundings)["watchdog"].ok


def test_without_systemd_the_monitor_counts_and_not_the_units(surroundings: Surroundings) -> None:
    surroundings = replace(surroundings, systemd=(), rule_folders=(), unit_folders=())
    findings = around(surroundings)
    assert not {"udev rule", "units", "command"} & set(findings)
    assert findings["monitor"].is_missing
    surroundings.udev.touch()
    assert around(surroundings)["monitor"].ok


def test_signals_that_cannot_be_given_are_advised_against_only(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL + f'[signals]\ncommand = ["{tmp_path}/none"]\nled = "no:such:led"\n')
    configuration = load_configuration(path)
    findings = {look.name: look.found() for look in looks_at_signals(configuration, tmp_path)}
    assert {name for name, finding in findings.items() if not finding.ok} == {"signal command", "signal light"}
    assert not any(finding.is_missing for finding in findings.values())
    led = tmp_path / "no:such:led"
    led.mkdir()
    (led / "brightness").touch()
    (led / "trigger").write_text("[none] heartbeat\n")
    assert "blink" in {look.name: look.found() for look in looks_at_signals(configuration, tmp_path)}["signal light"].text
    (led / "trigger").write_text("[none] timer heartbeat\n")
    assert {look.name: look.found() for look in looks_at_signals(configuration, tmp_path)}["signal light"].ok


@pytest.mark.parametrize("device", ["/dev/ubi0_1", "/dev/mtdblock2", "/dev/mmcblk0boot0"])
def test_storage_of_another_kind_is_refused_by_name(tmp_path: Path, surroundings: Surroundings, device: str) -> None:
    path = board(tmp_path)
    path.write_text(path.read_text().replace("/dev/disk/by-partlabel/rootfs-a", device))
    finding = found(path, surroundings)["slots"]
    assert finding.is_missing
    assert device in finding.text
    assert "not supported" in finding.text


def test_a_missing_rule_and_units_are_named(tmp_path: Path, surroundings: Surroundings) -> None:
    nowhere = (tmp_path / "nowhere",)
    findings = around(replace(surroundings, rule_folders=nowhere, unit_folders=nowhere))
    assert "90-usbupdate.rules" in findings["udev rule"].text
    assert "usbupdate@.service" in findings["units"].text
    assert "usbupdate-deadman.timer" in findings["units enabled"].text


def test_a_boot_loader_that_knows_other_names_is_found(tmp_path: Path, surroundings: Surroundings) -> None:
    path = board(tmp_path)
    (tmp_path / "grubenv").write_bytes(b"# GRUB Environment Block\nORDER=one two\n".ljust(1024, b"#"))
    finding = found(path, surroundings)["boot loader"]
    assert not finding.ok
    assert "A and B" in finding.text
