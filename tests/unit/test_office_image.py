from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.office import NOW, Bench, open_bench
from usbupdate.errors import UnusableFileError
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import stick
from usbupdate.packager.duplicate import write_image
from usbupdate.packager.verification import verify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = open_bench(tmp_path)
    made.release(1)
    return made


@pytest.mark.skipif(shutil.which("fsck.vfat") is None or shutil.which("mcopy") is None, reason="needs dosfstools and mtools")
def test_an_image_is_a_sound_file_system_with_the_files_of_a_stick(bench: Bench) -> None:
    image = bench.folder / "stick.img"
    checked = write_image(stick.plan(bench.office, NOW), image)
    assert [each.target for each in checked.bundles] == ["gw-1.json"]
    checking = subprocess.run(["fsck.vfat", "-n", str(image)], capture_output=True, text=True, check=False)
    assert checking.returncode == 0, checking.stdout
    copy = bench.folder / "copy"
    copy.mkdir()
    subprocess.run(["mcopy", "-s", "-i", str(image), "::usbupdate", str(copy)], check=True)
    written = bench.stick()
    assert {str(path.relative_to(copy)): path.read_bytes() for path in copy.rglob("*") if path.is_file()} == {
        str(path.relative_to(written)): path.read_bytes() for path in written.rglob("*") if path.is_file()
    }
    verify(DirectoryMedium(copy), bench.root, NOW)


def test_an_image_is_never_written_over_something_that_is_no_file(bench: Bench) -> None:
    with pytest.raises(UnusableFileError):
        write_image(stick.plan(bench.office, NOW), bench.folder)
