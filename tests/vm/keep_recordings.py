"""Records both updates and keeps what `make test` needs of them: `python -m tests.vm.keep_recordings`.

To be run when the format of what a device remembers has changed, or the way in which it is written.
"""

from __future__ import annotations

from pathlib import Path

from refdevice.release import Fault
from tests.power import recorded_archive
from tests.vm.moments import recorded_disk
from tests.vm.recording import recorded_update


def keep(folder: Path) -> None:
    """Write both archives into a folder."""
    for name, fault in (("good", None), ("unhealthy", Fault.UNHEALTHY)):
        disk = recorded_disk(recorded_update(fault), is_good=fault is None)
        recorded_archive.save(disk, folder / f"{name}.tar.zst")


if __name__ == "__main__":
    keep(Path(__file__).parents[1] / "power/recorded")
