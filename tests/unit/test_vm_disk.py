"""What the disk of the reference device holds that a board's does not."""

from __future__ import annotations

import pytest

from refdevice import disk
from refdevice.disk import BootScript
from refdevice.rootfs import IMAGES


@pytest.mark.parametrize("script", BootScript)
def test_only_the_emulators_linux_is_kept_out_of_memory(script: BootScript) -> None:
    shipped = (IMAGES / "grub" / f"{script}.cfg").read_text()
    assert "mem=" not in shipped
    written = disk._for_the_emulator(shipped)
    assert [line for line in written.splitlines() if line not in shipped.splitlines()] == [
        'set more_words="console=tty0 console=ttyS0 quiet mem=480M"'
    ]


def test_a_boot_script_without_the_line_is_not_taken_as_it_is() -> None:
    with pytest.raises(ValueError, match="more_words"):
        disk._for_the_emulator("set words=ro\n")
