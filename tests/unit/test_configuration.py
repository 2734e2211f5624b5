from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from usbupdate.core.rootrules import SIZE_MAX
from usbupdate.core.words import DeviceId, Slot, SlotClass
from usbupdate.device.bootloaders.settings import (
    CustomConfiguration,
    GrubConfiguration,
    GrubScript,
    SimulatedConfiguration,
    UbootConfiguration,
)
from usbupdate.device.configuration import (
    DEFAULT_FILESYSTEMS,
    HEALTH_TIMEOUT_MAX_S,
    ROOT_SIZE_MAX,
    BootLoaderType,
    ClockTrust,
    RebootPolicy,
    load_configuration,
)
from usbupdate.device.toml import FILE_SIZE_MAX
from usbupdate.device.unit import Unit, load_unit, save_unit
from usbupdate.errors import ConfigurationError, NotProvisionedError, UnitFileError, UnusableValueError

MANUAL = Path(__file__).parents[2] / "docs" / "device.md"

SMALL = """
[device]
compatible = "acme,gw-100"
state_dir = "state"
[trust]
root = "root.json"
[slots.a]
bootname = "A"
rootfs = "slots/a.img"
[slots.b]
bootname = "B"
rootfs = "slots/b.img"
[bootloader]
type = "simulated"
environment = "bootloader.json"
"""

WHOLE = """
[device]
compatible = "acme,gw-100"
state_dir = "/var/lib/usbupdate"
slots_behind_usb = true
[trust]
root = "/etc/usbupdate/root.json"
clock = "untrusted"
[slots.a]
bootname = "A"
rootfs = "/dev/disk/by-partlabel/rootfs-a"
app = "/dev/disk/by-partlabel/app-a"
[slots.b]
bootname = "B"
app = "/dev/disk/by-partlabel/app-b"
rootfs = "/dev/disk/by-partlabel/rootfs-b"
[bootloader]
type = "grub"
environment = "/boot/efi/grub/grubenv"
[media]
filesystems = ["vfat"]
[health]
checks = "/usr/lib/usbupdate/health.d"
timeout_s = 60
[gates]
install = "/etc/usbupdate/install.d"
reboot = "/etc/usbupdate/reboot.d"
[policy]
reboot = "gated"
[logs]
export = false
[signals]
command = ["/usr/bin/buzz", "--loud"]
led = "board:green:status"
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "device.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problem_of(folder: Path, text: str | bytes) -> ConfigurationError:
    path = write(folder, text)
    with pytest.raises(ConfigurationError) as raised:
        load_configuration(path)
    assert raised.value.path == str(path)
    return raised.value


def test_the_smallest_configuration_is_read_with_safe_defaults(tmp_path: Path) -> None:
    read = load_configuration(write(tmp_path, SMALL))
    assert read.bootloader.type is BootLoaderType.SIMULATED
    assert read.clock is ClockTrust.SYSTEM
    assert read.filesystems == ("vfat", "exfat")
    assert read.reboot is RebootPolicy.AUTOMATIC
    assert read.export_logs
    assert not read.slots_behind_usb
    assert read.health.checks is None
    assert read.health.timeout_s == 120
    assert read.gates.install is None
    assert read.signals.command == ()


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, SMALL)
    monkeypatch.chdir(tmp_path)
    read = load_configuration(Path("device.toml"))
    assert read.state_dir == tmp_path / "state"
    assert read.slots[Slot.A].devices == {"rootfs": tmp_path / "slots/a.img"}
    assert read.bootloader == SimulatedConfiguration(tmp_path / "bootloader.json")


def test_every_key_of_the_design_is_read(tmp_path: Path) -> None:
    read = load_configuration(write(tmp_path, WHOLE))
    assert set(read.slots[Slot.A].devices) == {SlotClass("app"), SlotClass("rootfs")}
    assert read.slots[Slot.B].bootname == "B"
    assert read.slots[Slot.B].devices[SlotClass("app")] == Path("/dev/disk/by-partlabel/app-b")
    assert read.clock is ClockTrust.UNTRUSTED
    assert read.filesystems == ("vfat",)
    assert read.health.timeout_s == 60
    assert read.gates.reboot == Path("/etc/usbupdate/reboot.d")
    assert read.reboot is RebootPolicy.GATED
    assert not read.export_logs
    assert read.slots_behind_usb
    assert read.signals.command == ("/usr/bin/buzz", "--loud")
    assert read.signals.led == "board:green:status"


def test_the_example_in_the_manual_is_a_configuration(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)
    assert example is not None
    read = load_configuration(write(tmp_path, example[1]))
    assert read.health.timeout_s == 120
    assert read.filesystems == DEFAULT_FILESYSTEMS
    assert f"1 to {HEALTH_TIMEOUT_MAX_S}" in example[1]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('compatible = "acme,gw-100"', "", "device.compatible"),
        ('compatible = "acme,gw-100"', "compatible = 7", "device.compatible"),
        ('compatible = "acme,gw-100"', 'compatible = "a b"', "device.compatible"),
        ('state_dir = "/var/lib/usbupdate"', 'state_dir = ""', "device.state_dir"),
        ('state_dir = "/var/lib/usbupdate"', 'state_dir = "a\\u0000b"', "device.state_dir"),
        ("slots_behind_usb = true", "slots_behind_usb = 1", "device.slots_behind_usb"),
        ("slots_behind_usb = true", "slots_behind_usb = true\nsequnce = 1", "device.sequnce"),
        ('clock = "untrusted"', 'clock = "rtc"', "trust.clock"),
        ('clock = "untrusted"', 'clock = "system"\nkeys = 1', "trust.keys"),
        ('bootname = "B"', 'bootname = "A"', "slots.b.bootname"),
        ('bootname = "B"', 'bootname = "B=1"', "slots.b.bootname"),
        ('app = "/dev/disk/by-partlabel/app-b"', "", "slots.b"),
        ('app = "/dev/disk/by-partlabel/app-b"', 'app = "/dev/disk/by-partlabel/app-a"', "slots.b"),
        ('app = "/dev/disk/by-partlabel/app-b"', 'App = "/dev/x"', "slots.b.App"),
        ("[slots.b]", "[slots.c]", "slots.b"),
        ("[media]", '[slots.c]\nbootname = "C"\nrootfs = "/dev/c"\n[media]', "slots.c"),
        ('type = "grub"', 'type = "lilo"', "bootloader.type"),
        ('environment = "/boot/efi/grub/grubenv"', "", "bootloader.environment"),
        ('environment = "/boot/efi/grub/grubenv"', 'environment = "/e"\nenv = 1', "bootloader.env"),
        ('filesystems = ["vfat"]', "filesystems = []", "media.filesystems"),
        ('filesystems = ["vfat"]', 'filesystems = "vfat"', "media.filesystems"),
        ('filesystems = ["vfat"]', 'filesystems = ["vfat,dev"]', "media.filesystems"),
        ("timeout_s = 60", "timeout_s = 0", "health.timeout_s"),
        ("timeout_s = 60", f"timeout_s = {HEALTH_TIMEOUT_MAX_S + 1}", "health.timeout_s"),
        ("timeout_s = 60", "timeout_s = true", "health.timeout_s"),
        ("timeout_s = 60", "timeout = 60", "health.timeout"),
        ('reboot = "gated"', 'reboot = "later"', "policy.reboot"),
        ("export = false", 'export = "no"', "logs.export"),
        ('command = ["/usr/bin/buzz", "--loud"]', 'command = ["buzz"]', "signals.command"),
        ('command = ["/usr/bin/buzz", "--loud"]', 'command = "/usr/bin/buzz"', "signals.command"),
        ('led = "board:green:status"', 'led = "../../power"', "signals.led"),
        ("[signals]", "[signal]", "signal"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert WHOLE.count(old) == 1
    assert problem_of(tmp_path, WHOLE.replace(old, new)).key == key


def test_a_boot_loader_that_comes_later_is_refused_by_name(tmp_path: Path) -> None:
    error = problem_of(tmp_path, WHOLE.replace('type = "grub"', 'type = "systemd-boot"'))
    assert "the boot loader systemd-boot is not supported yet" in str(error)


GRUB = 'type = "grub"\nenvironment = "/boot/efi/grub/grubenv"'


@pytest.mark.parametrize(
    ("keys", "settings"),
    [
        (GRUB, GrubConfiguration(Path("/boot/efi/grub/grubenv"), GrubScript.RAUC)),
        (f'{GRUB}\nscript = "rauc"', GrubConfiguration(Path("/boot/efi/grub/grubenv"), GrubScript.RAUC)),
        (f'{GRUB}\nscript = "usbupdate"', GrubConfiguration(Path("/boot/efi/grub/grubenv"), GrubScript.USBUPDATE)),
        ('type = "uboot"', UbootConfiguration(None)),
        ('type = "uboot"\nconfig = "/etc/fw.config"', UbootConfiguration(Path("/etc/fw.config"))),
        ('type = "custom"\nprogram = "/usr/lib/boot"', CustomConfiguration(Path("/usr/lib/boot"))),
    ],
)
def test_each_boot_loader_has_its_own_keys(tmp_path: Path, keys: str, settings: object) -> None:
    assert load_configuration(write(tmp_path, WHOLE.replace(GRUB, keys))).bootloader == settings


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        (f'{GRUB}\nscript = "barebox"', "bootloader.script"),
        (f'{GRUB}\nprogram = "/x"', "bootloader.program"),
        ('type = "uboot"\nenvironment = "/x"', "bootloader.environment"),
        ('type = "uboot"\nscript = "rauc"', "bootloader.script"),
        ('type = "custom"', "bootloader.program"),
        ('type = "custom"\nprogram = "boot"', "bootloader.program"),
        ('type = "custom"\nprogram = "/x"\nenvironment = "/y"', "bootloader.environment"),
        ('type = "simulated"\nenvironment = "/x"\nscript = "usbupdate"', "bootloader.script"),
    ],
)
def test_a_key_of_another_boot_loader_is_unknown(tmp_path: Path, keys: str, key: str) -> None:
    assert problem_of(tmp_path, WHOLE.replace(GRUB, keys)).key == key


@pytest.mark.parametrize(("script", "is_read"), [("rauc", True), ("usbupdate", False)])
def test_our_grub_script_takes_no_name_that_grub_cannot_make_a_variable_of(tmp_path: Path, script: str, is_read: bool) -> None:
    text = WHOLE.replace(GRUB, f'{GRUB}\nscript = "{script}"').replace('bootname = "B"', 'bootname = "system-1.0"')
    if is_read:
        assert load_configuration(write(tmp_path, text)).bootnames[Slot.B] == "system-1.0"
    else:
        assert problem_of(tmp_path, text).key == "bootloader.script"


@pytest.mark.parametrize("table", ["device", "trust", "slots", "bootloader"])
def test_a_table_that_must_be_there_is_named(tmp_path: Path, table: str) -> None:
    assert problem_of(tmp_path, WHOLE.replace(f"[{table}", f"[x{table}")).key.startswith(table)


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe", b"[device", b"a = 1\na = 2", b"a=" + b"[" * 20_000, b"#" * (FILE_SIZE_MAX + 1)]
)
def test_what_is_no_toml_is_an_error_and_no_traceback(tmp_path: Path, raw: bytes) -> None:
    assert problem_of(tmp_path, raw).hint


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigurationError, match="the file"):
            load_configuration(path)


@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_make_the_reader_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), raw)
    with pytest.raises(ConfigurationError):
        load_configuration(path)


@given(data=st.data())
def test_no_single_changed_character_makes_the_reader_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    changed = WHOLE[:at] + data.draw(st.characters(exclude_categories=["Cs"])) + WHOLE[at + 1 :]
    path = write(tmp_path_factory.getbasetemp(), changed.encode())
    # Any other exception fails the test.
    with contextlib.suppress(ConfigurationError):
        load_configuration(path)


def test_a_unit_is_read_as_it_was_saved(tmp_path: Path) -> None:
    unit = Unit(DeviceId("gw-0001"), ("north", "line-3"))
    save_unit(tmp_path, unit)
    assert load_unit(tmp_path) == unit


def test_a_device_without_a_unit_file_is_not_provisioned(tmp_path: Path) -> None:
    with pytest.raises(NotProvisionedError):
        load_unit(tmp_path)


def test_a_unit_file_that_the_disk_does_not_give_is_an_error_of_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", fail)
        with pytest.raises(UnitFileError, match="Input/output"):
            load_unit(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'id = "GW"',
        'id = "../x"',
        'id = "a"\ngroups = "b"',
        'id = "a"\ngroups = ["B"]',
        'id = "a"\ncompatible = "acme"',
        'id = "a"\nroot = "x"',
        "id",
    ],
)
def test_a_unit_that_says_more_than_who_it_is_stops_the_device(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(UnitFileError):
        load_unit(tmp_path)


@pytest.mark.parametrize(("id_", "groups"), [("a\nb", ()), ("", ()), ("a", ('b"',)), ("a", ("b", "b"))])
def test_a_unit_with_a_wrong_name_is_not_saved(tmp_path: Path, id_: str, groups: tuple[str, ...]) -> None:
    with pytest.raises(UnusableValueError):
        save_unit(tmp_path, Unit(DeviceId(id_), groups))
    assert not list(tmp_path.iterdir())


def test_a_configured_root_is_read_as_far_as_a_root_may_reach() -> None:
    assert SIZE_MAX["root"] == ROOT_SIZE_MAX
