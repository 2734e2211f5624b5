"""What the auditor's commands have in common: where the logs lie, and what is known of the devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from usbupdate.audit.devices import Devices
from usbupdate.audit.office import acknowledgers_of
from usbupdate.cli import show
from usbupdate.core.cosignature import Cosigner

Places = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="MOUNT",
        help="Sticks that came back, copies or archives of them, or folders of logs. Without any: what was imported.",
        show_default=False,
    ),
]
DevicesFolder = Annotated[
    Path | None,
    typer.Option(
        "--devices",
        metavar="DIR",
        help="Where the enrolled devices and what was seen of them are kept.",
        show_default="in the folder for settings in your home",
    ),
]
KeptBy = Annotated[
    Path | None,
    typer.Option(
        "--repo",
        metavar="REPO",
        readable=False,
        help="The office's repository: whose word counts that receipts which are not here are kept?",
    ),
]
OfficeRoot = Annotated[
    Path | None, typer.Option("--root", metavar="FILE", help="With --repo: the office's root, not taken from there.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_DEVICES: Final = Path(typer.get_app_dir("usbupdate")) / "devices"


def named_by(repo: Path | None, root: Path | None, mounts: list[Path] | None, store: str | None) -> tuple[Cosigner, ...]:
    """Return whose word counts that receipts which are not here are kept.

    Raises:
        UnusableFileError: there is no metadata of an office in the repository, or it is not what it should be.
    """
    if root is not None and repo is None:
        raise typer.BadParameter("--root says whom to believe about --repo.")
    # Where the store itself is looked at, nobody's word stands for what is not in it.
    return acknowledgers_of(repo, root) if repo is not None and mounts and store is None else ()


def folder_of(devices: Path | None) -> Path:
    """Return where the enrolled devices are kept."""
    return devices or _DEVICES


def known(devices: Path | None) -> Devices:
    """Return the enrolled devices; a folder that was named and is not there is said to be none."""
    if devices is not None and not devices.is_dir():
        # No error: before the first enrolment it is so, and the exit code says what the evidence is worth.
        show.note(f"There is no folder {devices}, so no device counts as enrolled. 'usbupdate audit enroll' makes it.")
    return Devices(folder_of(devices))
