"""`usbupdate audit`: prove what every device did, in which order, and that nothing was removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usbupdate.audit import telling
from usbupdate.audit.copies import find_copies
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.verdict import require_good
from usbupdate.audit.verdict import verify as verify_copies
from usbupdate.core import strictjson

app = typer.Typer(no_args_is_help=True, help="Prove what every device did, in which order, and that nothing was removed.")

Places = Annotated[
    list[Path], typer.Argument(metavar="MOUNT...", help="Sticks that came back, copies of them, or folders with devices' logs.")
]
DevicesFolder = Annotated[
    Path, typer.Option("--devices", metavar="DIR", help="Where the enrolled devices and what was seen of them are kept.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_DEVICES = Path(typer.get_app_dir("usbupdate")) / "devices"


@app.command()
def enroll(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A device's identity.json, or a stick with its log.")],
    device: Annotated[str | None, typer.Option(metavar="ID", help="Enrol this device only.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the device showed at provisioning. Without it: trust on first use.")
    ] = None,
    devices: DevicesFolder = _DEVICES,
    json: AsJson = False,
) -> None:
    """Say which key belongs to a device."""
    enrolments = enrol(source, Devices(devices), device=device, fingerprint=fingerprint)
    _print(telling.enrolments_table(enrolments) if json else list(telling.enrolments_told(enrolments)))


@app.command()
def verify(mounts: Places, devices: DevicesFolder = _DEVICES, json: AsJson = False) -> None:
    """Check every device's receipts: signatures, chain, gaps, checkpoint, and what was seen before."""
    known = Devices(devices)
    verdicts = verify_copies(find_copies(mounts), known)
    _print(telling.table(verdicts, known.names()) if json else list(telling.told(verdicts, known.names())))
    require_good(verdicts)


@app.command()
def show(mounts: Places, devices: DevicesFolder = _DEVICES, json: AsJson = False) -> None:
    """Tell what each device did, oldest first; what is not proven is left out and ends in the code of 'verify'."""
    verdicts = verify_copies(find_copies(mounts), Devices(devices))
    _print(telling.timelines_table(verdicts) if json else list(telling.timelines(verdicts)))
    require_good(verdicts)


def _print(told: dict[str, strictjson.Json] | list[str]) -> None:
    typer.echo(strictjson.encode(told).decode("ascii") if isinstance(told, dict) else "\n".join(told))
