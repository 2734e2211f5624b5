"""The udev rule and the units, held to what the design asks of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from usbupdate.device.board import TRIAL_WORD
from usbupdate.device.configuration import HEALTH_TIMEOUT_MAX_S
from usbupdate.device.deadman import NO_TRIAL
from usbupdate.device.facts import PARTS_MAX
from usbupdate.device.statestore import PROVISIONED_FILE

TOP = Path(__file__).parents[2]
UNITS = TOP / "systemd"
RULES = (TOP / "udev-rules" / "90-usbupdate.rules").read_text("utf-8")
INSERT = "usbupdate@.service"
BOOT = "usbupdate-boot.service"
SERVICES = [INSERT, BOOT]


def settings(name: str) -> dict[str, list[str]]:
    """Return every setting of a unit as `Section.Key`, with its values in order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (UNITS / name).read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def rules() -> list[str]:
    return [line for line in RULES.splitlines() if line and not line.startswith("#")]


def follow(device: dict[str, str], *, behind_usb: bool) -> dict[str, str]:
    """Return what the rule assigns to a device: as much of udev's language as the rule uses."""
    assigned: dict[str, str] = {}
    goal = ""
    for rule in rules():
        tokens = re.findall(r'([A-Z_]+(?:\{\w+\})?)(==|!=|\+=|=)"([^"]*)"', rule)
        if goal:
            goal = "" if ("LABEL", "=", goal) in tokens else goal
            continue
        for key, operator, value in tokens:
            if operator not in {"==", "!="}:
                continue
            pattern = value.replace("?*", ".+")
            if key == "SUBSYSTEMS":
                assert operator == "==", "a negative match fits any parent"
                fits = behind_usb and value == "usb"
            else:
                fits = (re.fullmatch(pattern, device.get(key, "")) is not None) == (operator == "==")
            if not fits:
                break
        else:
            for key, operator, value in tokens:
                if operator in {"=", "+="}:
                    if key == "GOTO":
                        goal = value
                    elif key != "LABEL":
                        assigned[key] = value
    assert not goal
    return assigned


PARTITION = {
    "ACTION": "add",
    "SUBSYSTEM": "block",
    "ENV{DEVTYPE}": "partition",
    "ENV{ID_FS_USAGE}": "filesystem",
    "ATTR{partition}": "1",
}
WANTS = "ENV{SYSTEMD_WANTS}"


@pytest.mark.parametrize("bus", ["usb", "ata"])
def test_a_partition_on_usb_starts_the_agent_and_stops_automounters(bus: str) -> None:
    assigned = follow(PARTITION | {"ENV{ID_BUS}": bus}, behind_usb=True)
    assert assigned == {"ENV{UDISKS_IGNORE}": "1", "TAG": "systemd", WANTS: "usbupdate@%k.service"}


def test_an_unpartitioned_stick_and_a_blank_one_start_the_agent() -> None:
    disk = {"ACTION": "add", "SUBSYSTEM": "block", "ENV{DEVTYPE}": "disk", "ENV{ID_BUS}": "usb", "ATTR{size}": "2048"}
    assert WANTS in follow(disk | {"ENV{ID_FS_USAGE}": "filesystem"}, behind_usb=True)
    assert WANTS in follow(disk, behind_usb=True)


@pytest.mark.parametrize("usage", ["", "crypto", "raid", "other"])
def test_a_partition_whose_file_system_is_not_recognised_starts_the_agent(usage: str) -> None:
    partition = PARTITION | {"ENV{ID_FS_USAGE}": usage, "ENV{ID_PART_TABLE_TYPE}": "dos", "ATTR{size}": "2048"}
    assert WANTS in follow(partition, behind_usb=True)


def test_of_very_many_partitions_the_first_sixteen_start_the_agent_and_automounters_leave_them_all_alone() -> None:
    stick = PARTITION | {"ENV{ID_BUS}": "usb", "ATTR{size}": "2048"}
    starting = []
    for number in range(1, 257):
        assigned = follow(stick | {"ATTR{partition}": str(number)}, behind_usb=True)
        assert assigned["ENV{UDISKS_IGNORE}"] == "1"
        starting += [number] if WANTS in assigned else []
    assert starting == list(range(1, PARTS_MAX + 1))


def test_a_partitioned_disk_and_an_empty_card_reader_do_not_start_the_agent() -> None:
    disk = {"ACTION": "add", "SUBSYSTEM": "block", "ENV{DEVTYPE}": "disk", "ENV{ID_BUS}": "usb", "ATTR{size}": "2048"}
    for other in ({"ENV{ID_PART_TABLE_TYPE}": "dos"}, {"ATTR{size}": "0"}):
        assigned = follow(disk | other, behind_usb=True)
        assert assigned == {"ENV{UDISKS_IGNORE}": "1"}


@pytest.mark.parametrize("other", [{"SUBSYSTEM": "usb"}, {"ACTION": "remove"}, {"ENV{ID_BUS}": "ata"}])
def test_what_is_no_stick_is_left_alone(other: dict[str, str]) -> None:
    assert follow(PARTITION | other, behind_usb=False) == {}


def test_udev_runs_no_program() -> None:
    assert not [rule for rule in rules() if "RUN" in rule or "PROGRAM" in rule or "IMPORT" in rule]


def test_the_units_run_the_documented_commands() -> None:
    assert settings(INSERT)["Service.ExecStart"] == ["/usr/bin/usbupdate device insert /dev/%I"]
    assert settings(BOOT)["Service.ExecStart"] == ["/usr/bin/usbupdate device boot"]
    assert settings(BOOT)["Install.WantedBy"] == ["multi-user.target"]


@pytest.mark.parametrize("name", SERVICES)
def test_sticks_are_mounted_in_a_namespace_of_their_own(name: str) -> None:
    assert settings(name)["Service.PrivateMounts"] == ["yes"]


@pytest.mark.parametrize("name", SERVICES)
def test_several_agents_share_one_folder_for_the_status(name: str) -> None:
    assert settings(name)["Service.RuntimeDirectory"] == ["usbupdate"]
    assert settings(name)["Service.RuntimeDirectoryPreserve"] == ["yes"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_unit_delays_the_boot_or_is_kept_from_starting_again(name: str) -> None:
    assert settings(name)["Service.Type"] == ["notify"]
    assert settings(name)["Unit.StartLimitIntervalSec"] == ["0"]
    assert not {"Service.RemainAfterExit", "Service.WatchdogSec"} & set(settings(name))


@pytest.mark.parametrize("name", SERVICES)
def test_a_state_partition_that_is_missing_keeps_no_agent_from_saying_so(name: str) -> None:
    assert not {"Unit.RequiresMountsFor", "Unit.Requires", "Unit.BindsTo"} & set(settings(name))
    assert settings(name)["Unit.Wants"] == ["var-lib-usbupdate.mount"]
    assert "var-lib-usbupdate.mount" in settings(name)["Unit.After"][0]


@pytest.mark.parametrize("name", SERVICES)
def test_the_boot_loaders_environment_is_mounted_first(name: str) -> None:
    assert "boot.mount boot-efi.mount efi.mount" in settings(name)["Unit.After"]


def test_sticks_come_after_the_confirmation_of_the_boot() -> None:
    assert BOOT in settings(INSERT)["Unit.After"]


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_closes_what_the_agent_must_write(name: str) -> None:
    assert not {"Service.ProtectSystem", "Service.PrivateDevices", "Service.ProtectClock", "Service.DevicePolicy"} & set(
        settings(name)
    )
    assert settings(name)["Service.ReadOnlyPaths"] == ["/usr /etc"]


def test_the_boot_waits_for_no_folder_that_may_fail() -> None:
    assert "Service.PrivateTmp" not in settings(BOOT)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_figure_of_the_sandbox_is_the_one_that_is_written_down() -> None:
    readme = (UNITS / "README.md").read_text("utf-8")
    for name in SERVICES:
        argv = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNITS / name)]
        report = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        found = re.search(r"exposure level for \S+: (\d+\.\d)", report)
        if found is None:
            pytest.skip("this systemd-analyze knows no offline figure")
        stated = re.search(rf"`{name}`: (\d+\.\d)", readme)
        assert stated is not None
        # Versions of systemd count a little differently.
        assert abs(float(found[1]) - float(stated[1])) <= 0.5


def test_pulling_the_stick_does_not_end_the_agent() -> None:
    assert not {"Unit.BindsTo", "Unit.PartOf", "Unit.StopPropagatedFrom"} & set(settings(INSERT))


def test_the_dead_man_needs_no_python_and_only_strikes_on_trial() -> None:
    service = settings("usbupdate-deadman.service")
    assert service["Unit.SuccessAction"] == ["reboot-force"]
    assert "Service.ExecStart" not in service
    assert service["Unit.ConditionPathExists"] == ["/var/lib/usbupdate/trial", f"!{NO_TRIAL}"]
    assert service["Unit.DefaultDependencies"] == ["no"]
    now, later = settings("emergency.target.d/usbupdate.conf")["Unit.Wants"]
    assert now == "var-lib-usbupdate.mount usbupdate-deadman.service"
    assert later == "usbupdate-deadman.timer"


def test_a_trial_that_cannot_see_the_state_ends_too_and_a_committed_release_does_not() -> None:
    blind = settings("usbupdate-deadman-blind.service")
    assert settings("usbupdate-deadman.service")["Unit.Wants"] == ["usbupdate-deadman-blind.service"]
    assert blind["Unit.SuccessAction"] == ["reboot-force"]
    assert blind["Unit.ConditionKernelCommandLine"] == [TRIAL_WORD]
    assert blind["Unit.ConditionPathExists"] == [f"!/var/lib/usbupdate/{PROVISIONED_FILE}", f"!{NO_TRIAL}"]
    assert TRIAL_WORD in (TOP / "images/grub/usbupdate.cfg").read_text("utf-8")


def test_the_dead_man_waits_longer_than_any_trial() -> None:
    (limit,) = settings("usbupdate-deadman.timer")["Timer.OnBootSec"]
    assert int(limit.removesuffix("min")) * 60 > HEALTH_TIMEOUT_MAX_S


def test_the_dead_man_is_armed_before_anything_can_hang() -> None:
    timer = settings("usbupdate-deadman.timer")
    assert timer["Install.WantedBy"] == ["sysinit.target"]
    assert timer["Unit.DefaultDependencies"] == ["no"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for unit in UNITS.glob("usbupdate*"):
        # The program is not installed where tests run.
        (tmp_path / unit.name).write_text(unit.read_text("utf-8").replace("/usr/bin/usbupdate", "/bin/true"))
    (tmp_path / INSERT).rename(tmp_path / "usbupdate@sda1.service")
    names = sorted(unit.name for unit in tmp_path.iterdir())
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names]
    result = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("udevadm") is None, reason="udevadm is not installed")
def test_udev_understands_every_line() -> None:
    usage = subprocess.run(["udevadm", "--help"], capture_output=True, text=True, check=False).stdout
    if "verify" not in usage:
        pytest.skip("this udevadm cannot verify rules")
    argv = ["udevadm", "verify", str(TOP / "udev-rules" / "90-usbupdate.rules")]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
