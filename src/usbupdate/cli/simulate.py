"""`usbupdate simulate`: a device that is a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usbupdate.cli.joining import Silent, show
from usbupdate.cli.outcome import require_kept
from usbupdate.cli.progress import InstallProgress
from usbupdate.cli.status import show_status
from usbupdate.core.words import DeviceId, SlotClass
from usbupdate.errors import UnusableValueError
from usbupdate.simulate.bench import Bench, Mishaps
from usbupdate.simulate.setup import ROOTFS, Plan, create

app = typer.Typer(name="simulate", help="A device that is a folder: the real agent on files.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the simulated device.")]


@app.command()
def new(
    folder: Folder,
    image: Annotated[Path, typer.Option("--image", help="What slot a holds.")],
    compatible: Annotated[str, typer.Option("--compatible", help="The hardware string that bundles must name.")],
    root: Annotated[Path, typer.Option("--root", help="The office's root metadata, such as REPO/metadata/1.root.json.")],
    device: Annotated[str | None, typer.Option("--id", help="The device's id; made from its key if not given.")] = None,
    version: Annotated[str, typer.Option("--version", help="The version that the image is.")] = "",
    sequence: Annotated[int, typer.Option("--sequence", min=0, help="The sequence that the image has.")] = 0,
    group: Annotated[list[str] | None, typer.Option("--group", help="A group that the device belongs to.")] = None,
    more: Annotated[list[str] | None, typer.Option("--class", metavar="CLASS=IMAGE", help="A further slot class.")] = None,
) -> None:
    """Make a simulated device that runs IMG."""
    images = {ROOTFS: image, **dict(_class_image(each) for each in more or [])}
    made = create(
        folder, Plan(images, compatible, root, DeviceId(device) if device else None, tuple(group or ()), version, sequence)
    )
    typer.echo(f"The device {made.device} runs in {folder}. The fingerprint of its key, for the auditor:\n{made.fingerprint}")


@app.command()
def insert(folder: Folder, stick: Annotated[Path, typer.Argument(help="A folder that is a stick, or an image file.")]) -> None:
    """Plug a stick in: the agent runs until it rests or asks for a restart."""
    with InstallProgress() as progress:
        Bench(folder, show, progress).insert(stick)


@app.command()
def remove(folder: Folder) -> None:
    """Pull the stick out."""
    Bench(folder, show, Silent()).remove()


@app.command()
def boot(
    folder: Folder,
    panic: Annotated[bool, typer.Option("--panic", help="Boots of a slot on trial never come up.")] = False,
    unhealthy: Annotated[bool, typer.Option("--unhealthy", help="A health check fails on trial.")] = False,
) -> None:
    """Switch the device off and on, and take every restart that it asks for."""
    with InstallProgress() as progress:
        ran = Bench(folder, show, progress).boot(Mishaps(panic, unhealthy))
    require_kept(ran.told)


@app.command()
def status(folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Show how the device stands; changes nothing."""
    show_status(Bench(folder, show, Silent()).status(), as_json=as_json)


def _class_image(text: str) -> tuple[SlotClass, Path]:
    name, separator, path = text.partition("=")
    if not separator:
        raise UnusableValueError(what="--class", value=text, problem="not of the form CLASS=IMAGE")
    return SlotClass(name), Path(path)
