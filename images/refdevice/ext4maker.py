"""Making ext4, for sticks whose partitions pose as those of a device."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice import programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refdevice.partitiontable import Extent
    from refdevice.stickfiles import StickFile

_NAMESPACE: Final = uuid.UUID("75736275-7064-4174-8500-737469636b01")
_TIMES: Final = ("atime", "ctime", "mtime", "crtime")


def make_ext4(image: Path, extent: Extent, label: str, volume_id: int, folder: Path | None) -> None:
    """Make an ext4 file system in a part of an image, with what lies in a folder; all in it belongs to root.

    Raises:
        ProgramMissingError: mke2fs is missing or failed.
    """
    identity = str(uuid.uuid5(_NAMESPACE, str(volume_id)))
    options = f"offset={extent.start},hash_seed={identity},root_owner=0:0,nodiscard"
    contents: Sequence[str | Path] = () if folder is None else ("-d", folder.absolute())
    size = f"{extent.size // 1024}k"
    programs.run("mke2fs", "-q", "-F", "-t", "ext4", "-U", identity, "-L", label, "-E", options, *contents, image, size)


def forget_origin(image: Path, extent: Extent, files: Sequence[StickFile]) -> None:
    """Set times and owners of all that was copied: mke2fs takes them over from this machine, where no two copies have the same.

    Raises:
        ProgramMissingError: debugfs is missing or failed.
    """
    fields = [*((name, f"@{programs.MADE_AT}") for name in _TIMES), *((f"{name}_extra", "0") for name in _TIMES)]
    fields += [("uid", "0"), ("gid", "0")]
    paths = ["/", "/lost+found", *("/" + "/".join(each.path) for each in files)]
    # No name has a quotation mark or a control character in it: `list_files` refused those.
    orders = "".join(f'set_inode_field "{path}" {name} {value}\n' for path in paths for name, value in fields)
    with tempfile.NamedTemporaryFile("w", dir=image.parent, prefix=f"{image.name}.", encoding="utf-8") as script:
        script.write(orders)
        script.flush()
        programs.run("debugfs", "-w", "-f", Path(script.name), f"{image}?offset={extent.start}")
