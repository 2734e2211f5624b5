"""`usbupdate audit`: prove what every device did, in which order, and that nothing was removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from usbupdate.audit import terminal, wording
from usbupdate.audit.asked import Asked
from usbupdate.audit.depth import Depth
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import Replacement, enrol
from usbupdate.audit.office import ever_signed
from usbupdate.audit.roster import never_heard, read_roster
from usbupdate.audit.selection import places_of
from usbupdate.audit.taken import Taken
from usbupdate.audit.verdict import require_good, verify as verify_copies
from usbupdate.audit.workers import conclude
from usbupdate.cli import acknowledge, auditfiles, show, store as store_commands
from usbupdate.cli.arguments import now
from usbupdate.cli.auditoptions import AsJson, DevicesFolder, KeptBy, OfficeRoot, Places, folder_of, known, named_by
from usbupdate.cli.store import StoreAddress, opened_places, person
from usbupdate.core.timefloor import format_time

app = typer.Typer(no_args_is_help=True, help="Prove what every device did, in which order, and that nothing was removed.")

app.add_typer(store_commands.app, name="store")
app.command("import")(store_commands.import_logs)
app.command("acknowledge")(acknowledge.acknowledge)
app.command("report")(auditfiles.report)
app.command("export")(auditfiles.export)
app.command("evidence")(auditfiles.evidence)


@app.command()
def enroll(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A device's identity.json, or a stick with its log.")],
    device: Annotated[str | None, typer.Option(metavar="ID", help="Enrol this device only.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the device showed at provisioning. Without it: trust on first use.")
    ] = None,
    replace_key: Annotated[
        bool, typer.Option("--replace-key", help="The device has another key now; who says so, and when, is recorded.")
    ] = False,
    devices: DevicesFolder = None,
    json: AsJson = False,
) -> None:
    """Say which key belongs to a device."""
    if replace_key and fingerprint is None:
        raise typer.BadParameter("--replace-key needs --fingerprint: compare the new key on the device itself.")
    replacement = Replacement(person(), format_time(now())) if replace_key else None
    enrolments = enrol(source, Devices(folder_of(devices)), device=device, fingerprint=fingerprint, replacement=replacement)
    show.result(wording.enrolments_table(enrolments), wording.enrolments_told(enrolments), as_json=json)


@app.command()
def verify(
    mounts: Places = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only compare each log as a whole with the device's signed checkpoint.")
    ] = False,
    thorough: Annotated[bool, typer.Option("--thorough", help="Check the signature of every single receipt too.")] = False,
    repo: Annotated[
        Path | None,
        typer.Option(
            metavar="REPO",
            readable=False,
            help="The office's repository: what did it sign, and what does it keep?",
        ),
    ] = None,
    root: OfficeRoot = None,
    roster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The devices that there should be, one id a line: which were never heard of?"),
    ] = None,
    silent_after: Annotated[
        int | None, typer.Option(metavar="DAYS", min=1, help="Which devices were not heard of for longer?")
    ] = None,
    store: StoreAddress = None,
    devices: DevicesFolder = None,
    json: AsJson = False,
) -> None:
    """Check every device's receipts: checkpoint, signatures, chain, gaps, contents, and what was seen before."""
    depth = _depth(quick=quick, thorough=thorough)
    asked = _asked(depth, repo, root, silent_after)
    asked = replace(asked, named=named_by(repo, root, mounts, store))
    listed = () if roster is None else read_roster(roster)
    enrolled = known(devices)
    with opened_places(mounts or [], store) as places:
        verdicts = list(conclude(places, enrolled, depth, asked))
    verdicts += never_heard(listed, {verdict.device for verdict in verdicts}, enrolled, str(roster))
    table = wording.table(verdicts, enrolled.names(), depth) if json else {}
    show.result(table, wording.told(verdicts, enrolled.names(), depth), as_json=json)
    require_good(verdicts)


@app.command("show")
def show_devices(
    mounts: Places = None,
    device: Annotated[str | None, typer.Option(metavar="ID", help="Tell of this device only, and all that it did.")] = None,
    repo: KeptBy = None,
    root: OfficeRoot = None,
    store: StoreAddress = None,
    devices: DevicesFolder = None,
    json: AsJson = False,
) -> None:
    """Show the fleet, or what a device did, oldest first, as far as it is proven; it ends in the code of 'verify'."""
    asked = Asked(named=named_by(repo, root, mounts, store))
    enrolled = known(devices)
    with opened_places(mounts or [], store) as places:
        chosen = places if device is None else places_of(device, places)
        verdicts = Taken(verify_copies(chosen, enrolled, asked=asked))
        if json:
            show.result({"devices": [*map(terminal.device_table, verdicts)]}, (), as_json=True)
        else:
            show.result({}, terminal.shown(verdicts, show.width()), as_json=False)
    verdicts.require_good()


def _depth(*, quick: bool, thorough: bool) -> Depth:
    if quick and thorough:
        raise typer.BadParameter("--quick and --thorough exclude each other.")
    return Depth.QUICK if quick else Depth.THOROUGH if thorough else Depth.CONTENTS


def _asked(depth: Depth, repo: Path | None, root: Path | None, silent_after: int | None) -> Asked:
    if depth is Depth.QUICK and (repo is not None or silent_after is not None):
        raise typer.BadParameter("--repo and --silent-after need what the receipts say, which --quick does not read.")
    return Asked(
        None if repo is None else ever_signed(repo, root),
        None if silent_after is None else now() - timedelta(days=silent_after),
    )
