"""How much processor time the service takes from its start to its first verification, against a Python that does nothing.

A stick whose bundle is for other hardware goes through everything before an installation: imports, state, key, the chain of
metadata, the manifest, a receipt, the log on the stick. What is measured is more than the start, and bounds it from above.

Run: make bench
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROUNDS: Final = 9
LIMIT_S: Final = 1.0
USBUPDATE: Final = (sys.executable, "-m", "usbupdate")


def processor_time_s(*command: str) -> float:
    """Return the user and system seconds that a command took, whatever its exit code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - the product itself
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder: Path) -> tuple[str, str]:
    """Make an office, a stick for other hardware and a device, and return the device's configuration and the stick."""
    office, stick, image, device = (folder / name for name in ("office", "stick", "image", "device"))
    image.write_bytes(os.urandom(1 << 20))
    stick.mkdir()
    for command in (
        ("repo", "init", office),
        (
            "bundle",
            "create",
            image,
            "--repo",
            office,
            "--name",
            "other",
            "--version",
            "1",
            "--sequence",
            "1",
            "--compatible",
            "other,kind",
        ),
        ("stick", "write", office, stick),
        ("simulate", "new", device, "--image", image, "--compatible", "this,kind", "--root", office / "metadata/1.root.json"),
    ):
        subprocess.run([*USBUPDATE, *map(str, command)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - the product itself
    return str(device / "device.toml"), str(stick)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        configuration, stick = prepare(Path(folder))
        nothing, boot, insert = [], [], []
        for _ in range(ROUNDS):
            nothing.append(processor_time_s(sys.executable, "-c", "pass"))
            boot.append(processor_time_s(*USBUPDATE, "device", "boot", "--config", configuration))
            insert.append(processor_time_s(*USBUPDATE, "device", "insert", stick, "--config", configuration))
    least = statistics.median(nothing)
    for name, figures in (("device boot", boot), ("device insert, to its answer", insert)):
        median = statistics.median(figures)
        print(f"{name}: {median:.2f} s of processor time, {median / least:.0f} times that of a Python that does nothing")
    print(f"limit for the service: {LIMIT_S:g} s: {'held' if statistics.median(insert) < LIMIT_S else 'BROKEN'}")


if __name__ == "__main__":
    main()
