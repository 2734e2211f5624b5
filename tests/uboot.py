"""A board with U-Boot: a redundant environment in two files, libubootenv's own tools, and what RAUC's boot script does."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MISSING = [tool for tool in ("fw_setenv", "fw_printenv") if shutil.which(tool) is None]
SIZE = 0x2000
TRIES = 3


class UbootBoard:
    """Two copies of an environment in `folder`, and the file that tells the tools where they are."""

    def __init__(self, folder: Path) -> None:
        self.copies = [folder / "environment-1", folder / "environment-2"]
        self.config = folder / "fw_env.config"
        self.config.write_text("".join(f"{copy} 0x0 {SIZE:#x}\n" for copy in self.copies))
        for copy in self.copies:
            copy.write_bytes(b"\xff" * SIZE)
        self._nothing = folder / "nothing"
        self._nothing.write_bytes(b"")
        self._script = folder / "script"

    def set(self, **variables: str) -> None:
        """Set variables; the environment begins empty."""
        self._script.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        subprocess.run(
            ["fw_setenv", "-c", self.config, "-f", self._nothing, "-s", self._script], check=True, capture_output=True
        )

    @property
    def variables(self) -> dict[str, str]:
        """All variables, as the tools read them."""
        printed = subprocess.run(["fw_printenv", "-c", self.config], check=True, capture_output=True, text=True).stdout
        return dict(line.split("=", 1) for line in printed.splitlines())

    def power_cycle(self, names: tuple[str, str]) -> str:
        """Do what RAUC's boot script does, and return the name of the slot that it starts."""
        while True:
            variables = self.variables
            for name in variables["BOOT_ORDER"].split():
                left = int(variables.get(f"BOOT_{name}_LEFT", "3"), 16)
                if left > 0:
                    self.set(**{f"BOOT_{name}_LEFT": f"{left - 1:x}"})
                    return name
            self.set(**{f"BOOT_{name}_LEFT": str(TRIES) for name in names})
