"""`simulate new` makes a whole device or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate.core.words import DeviceId
from usbupdate.errors import ConfigurationError, ConfiguredRootError, UnusableFileError, UnusableValueError, UsbupdateError
from usbupdate.simulate.setup import ROOTFS, Plan, create

if TYPE_CHECKING:
    from pathlib import Path

    from tests.field import Field


@pytest.mark.parametrize(
    ("root", "device", "error"),
    [
        (b"{}", None, ConfiguredRootError),
        (None, None, UnusableFileError),
        (b"{}", "No Id", UnusableValueError),
    ],
)
def test_an_error_leaves_nothing_behind(
    tmp_path: Path, root: bytes | None, device: str | None, error: type[UsbupdateError]
) -> None:
    image, root_file = tmp_path / "rootfs.img", tmp_path / "root.json"
    image.write_bytes(bytes(4096))
    if root is not None:
        root_file.write_bytes(root)
    before = sorted(tmp_path.iterdir())
    plan = Plan({ROOTFS: image}, "acme,gw-100", root_file, None if device is None else DeviceId(device))
    with pytest.raises(error):
        create(tmp_path / "dev", plan)
    assert sorted(tmp_path.iterdir()) == before


def test_a_slot_outside_the_devices_folder_is_refused(field: Field, tmp_path: Path) -> None:
    rig = field.rig
    rig.configure("slots/b.img", f"{tmp_path}/elsewhere.img")
    with pytest.raises(ConfigurationError, match=r"slots\.b\.rootfs: .*elsewhere\.img is not in the folder"):
        rig.bench.insert(field.good)
