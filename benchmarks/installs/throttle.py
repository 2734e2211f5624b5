"""A file seen through a slower device: QEMU's storage daemon limits its rate and shows it again by FUSE."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from installs.mounts import is_mounted
from installs.programs import run, started

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

_READY_S: Final = 10.0


@contextmanager
def throttled(file: Path, bytes_per_s: int) -> Iterator[Path]:
    """Yield a path at which the contents of a file can be read and written at most so fast.

    A burst of a tenth of a second is allowed, as by QEMU's own default.
    """
    shown = file.with_name(f"{file.name}.slow")
    shown.touch()
    daemon = (
        "qemu-storage-daemon",
        *("--object", f"throttle-group,id=rate,x-bps-total={bytes_per_s}"),
        *("--blockdev", f"driver=file,node-name=file,filename={file},cache.direct=on,discard=unmap"),
        *("--blockdev", "driver=raw,node-name=raw,file=file"),
        *("--blockdev", "driver=throttle,node-name=slow,file=raw,throttle-group=rate"),
        *("--export", f"type=fuse,id=shown,node-name=slow,mountpoint={shown},writable=on,growable=off,allow-other=off"),
    )
    try:
        with started(*daemon) as process:
            _await_size(shown, file.stat().st_size, process)
            yield shown
    finally:
        # A daemon that was killed leaves its mount behind, at which nobody answers.
        if is_mounted(shown):
            run("umount", "--lazy", shown)
        shown.unlink()


def _await_size(shown: Path, size: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while shown.stat().st_size != size:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{shown} is not shown by the storage daemon")
        time.sleep(0.02)
