from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.uboot import MISSING, UbootBoard
from usbupdate.core.words import Slot
from usbupdate.device.blockdevices import BlockDevices
from usbupdate.device.bootloaders import grubenv
from usbupdate.device.bootloaders.grubtries import GrubTriesLoader
from usbupdate.device.bootloaders.look import look_at_boot_loader
from usbupdate.device.bootloaders.settings import (
    BootLoaderConfiguration,
    CustomConfiguration,
    GrubConfiguration,
    GrubScript,
    UbootConfiguration,
)
from usbupdate.device.findings import Wrong
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from pathlib import Path

BOOTNAMES = {Slot.A: "A", Slot.B: "B"}
RAUC = {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}


def looked(folder: Path, settings: BootLoaderConfiguration, filesystem: str = "vfat") -> str | Wrong:
    mounts = f"1 0 8:1 / / rw - btrfs /dev/sda1 rw\n2 1 8:2 / {folder} rw - ext4 /dev/sda2 rw\n"
    (folder / "mountinfo").write_text(f"{mounts}3 2 8:3 / {folder} rw - {filesystem} /dev/sda3 rw\n")
    return look_at_boot_loader(settings, BOOTNAMES, BlockDevices(mountinfo=folder / "mountinfo"))


def grub(folder: Path, script: GrubScript) -> GrubConfiguration:
    file = folder / "grubenv"
    file.write_bytes(grubenv.encode(grubenv.Environment(RAUC if script is GrubScript.RAUC else {})))
    if script is GrubScript.USBUPDATE:
        loader = GrubTriesLoader(file, BOOTNAMES, lambda: Slot.A)
        loader.mark_bad(Slot.B)
        loader.mark_good(Slot.A)
    return GrubConfiguration(file, script)


@pytest.mark.parametrize("script", GrubScript)
@pytest.mark.parametrize("filesystem", ["vfat", "msdos", "ext2"])
def test_an_environment_without_a_journal_around_it_is_right(tmp_path: Path, script: GrubScript, filesystem: str) -> None:
    assert looked(tmp_path, grub(tmp_path, script), filesystem) == f"{tmp_path / 'grubenv'} on {filesystem}"


@pytest.mark.parametrize("script", GrubScript)
@pytest.mark.parametrize("filesystem", ["ext4", "ext3", "xfs", "btrfs", "f2fs", "overlay", "tmpfs"])
def test_an_environment_that_grub_may_see_otherwise_is_found(tmp_path: Path, script: GrubScript, filesystem: str) -> None:
    answer = looked(tmp_path, grub(tmp_path, script), filesystem)
    assert isinstance(answer, Wrong)
    assert filesystem in answer.text
    assert "FAT" in answer.advice


def test_a_link_to_the_environment_is_followed(tmp_path: Path) -> None:
    settings = grub(tmp_path, GrubScript.RAUC)
    (tmp_path / "link").symlink_to(settings.environment)
    assert looked(tmp_path, GrubConfiguration(tmp_path / "link", GrubScript.RAUC)) == f"{settings.environment} on vfat"


def test_the_variables_of_the_other_script_are_not_enough(tmp_path: Path) -> None:
    for script, word in ((GrubScript.RAUC, "usbupdate_order"), (GrubScript.USBUPDATE, "<name>_OK")):
        other = next(each for each in GrubScript if each is not script)
        answer = looked(tmp_path, GrubConfiguration(grub(tmp_path, script).environment, other))
        assert isinstance(answer, Wrong)
        assert "A and B" in answer.text
        assert word in answer.advice


@pytest.mark.skipif(bool(MISSING), reason=f"libubootenv-tool is not here: {', '.join(MISSING)}")
def test_an_environment_of_one_copy_is_found(tmp_path: Path) -> None:
    board = UbootBoard(tmp_path)
    board.set(BOOT_ORDER="A B", BOOT_A_LEFT="3", BOOT_B_LEFT="0")
    settings = UbootConfiguration(board.config)
    assert looked(tmp_path, settings) == str(board.config)
    board.config.write_text("# the only one\n\n" + board.config.read_text().splitlines()[0] + "\n")
    board.copies[0].write_bytes(b"\xff" * 0x2000)
    board.set(BOOT_ORDER="A B", BOOT_A_LEFT="3", BOOT_B_LEFT="0")
    answer = looked(tmp_path, settings)
    assert isinstance(answer, Wrong)
    assert "one copy" in answer.text


def test_a_program_that_knows_the_slots_is_right(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ncase "$1" in get-primary) echo A;; get-state) echo good;; esac\n')
    program.chmod(0o755)
    assert looked(tmp_path, CustomConfiguration(program)) == str(program)
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(BootLoaderError):
        looked(tmp_path, CustomConfiguration(program))
