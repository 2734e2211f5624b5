"""`usbupdate audit`: prove what every device did, in which order, and that nothing was removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usbupdate.audit import wording
from usbupdate.audit.copies import find_copies
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.verdict import require_good, verify as verify_copies
from usbupdate.cli import show

app = typer.Typer(no_args_is_help=True, help="Prove what every device did, in which order, and that nothing was removed.")

Places = Annotated[
    list[Path], typer.Argument(metavar="MOUNT", help="Sticks that came back, copies of them, or folders with devices' logs.")
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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_DEVICES = Path(typer.get_app_dir("usbupdate")) / "devices"


@app.command()
def enroll(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A device's identity.json, or a stick with its log.")],
    device: Annotated[str | None, typer.Option(metavar="ID", help="Enrol this device only.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the device showed at provisioning. Without it: trust on first use.")
    ] = None,
    devices: DevicesFolder = None,
    json: AsJson = False,
) -> None:
    """Say which key belongs to a device."""
    enrolments = enrol(source, Devices(devices or _DEVICES), device=device, fingerprint=fingerprint)
    show.result(wording.enrolments_table(enrolments), wording.enrolments_told(enrolments), as_json=json)


@app.command()
def verify(mounts: Places, devices: DevicesFolder = None, json: AsJson = False) -> None:
    """Check every device's receipts: signatures, chain, gaps, checkpoint, and what was seen before."""
    known = _known(devices)
    verdicts = verify_copies(find_copies(mounts), known)
    show.result(wording.table(verdicts, known.names()), wording.told(verdicts, known.names()), as_json=json)
    require_good(verdicts)


@app.command("show")
def show_timelines(mounts: Places, devices: DevicesFolder = None, json: AsJson = False) -> None:
    """Tell what each device did, oldest first; what is not proven is left out and ends in the code of 'verify'."""
    verdicts = verify_copies(find_copies(mounts), _known(devices))
    show.result(wording.timelines_table(verdicts), wording.timelines(verdicts), as_json=json)
    require_good(verdicts)


def _known(devices: Path | None) -> Devices:
    if devices is not None and not devices.is_dir():
        # No error: before the first enrolment it is so, and the exit code says what the evidence is worth.
        show.note(f"There is no folder {devices}, so no device counts as enrolled. 'usbupdate audit enroll' makes it.")
    return Devices(devices or _DEVICES)
