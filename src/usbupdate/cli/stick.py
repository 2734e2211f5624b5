"""`usbupdate stick`: what technicians carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from usbupdate.cli import inspected, show
from usbupdate.cli.arguments import AsJson, Repo, now
from usbupdate.cli.progress import counted
from usbupdate.core.strictjson import Json
from usbupdate.errors import UnusableValueError, UsbupdateError
from usbupdate.packager import inspection, stick
from usbupdate.packager.duplicate import write_image
from usbupdate.packager.office import Office
from usbupdate.packager.places import plain_folders, require_image_place, require_mounts
from usbupdate.packager.stick import MARGIN_DAYS, Plan, Watch, Wishes
from usbupdate.packager.verification import CheckedStick

app = typer.Typer(name="stick", no_args_is_help=True, help="Write and inspect update sticks.")

_Mounts = Annotated[list[Path] | None, typer.Argument(metavar="MOUNT...", readable=False, help="Where the sticks are mounted.")]
_Bundles = Annotated[list[str] | None, typer.Option(metavar="NAME", help="A bundle, or NAME-SEQUENCE. Repeatable.")]
_Image = Annotated[
    Path | None, typer.Option(metavar="FILE", readable=False, help="A FAT32 image for a duplicator, instead of a stick.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file that --image names, if it is there.")]
_LogOnly = Annotated[bool, typer.Option("--log-only", help="A stick without bundles, to collect logs.")]
_OnlyDelta = Annotated[
    bool, typer.Option("--only-delta", help="Only what differs from the bases: a small stick for devices that run one of them.")
]
_Margin = Annotated[int, typer.Option(metavar="DAYS", min=0, help="How long a stick must be good for at least.")]


@app.command()
def write(
    repo: Repo,
    mounts: _Mounts = None,
    bundle: _Bundles = None,
    image: _Image = None,
    overwrite: _Overwrite = False,
    log_only: _LogOnly = False,
    only_delta: _OnlyDelta = False,
    margin: _Margin = MARGIN_DAYS,
    as_json: AsJson = False,
) -> None:
    """Write sticks, then read everything back and verify it as a device would."""
    if bundle and log_only:
        raise UnusableValueError(what="--bundle", value=bundle[0], problem="--log-only makes a stick without bundles")
    if only_delta and log_only:
        raise UnusableValueError(what="--only-delta", value="", problem="--log-only makes a stick without bundles")
    places = _places(mounts, image)
    office = Office.open(repo)
    require_mounts(office.path, places)
    if image is not None:
        require_image_place(image, overwrite=overwrite)
    plan = stick.plan(office, now(), Wishes(tuple(bundle or ()), log_only, only_delta, margin))
    for folder in plain_folders(places):
        show.note(f"{folder} is a plain folder: nothing is mounted there. It is written all the same.")
    with counted("writing and reading back", 2 * plan.size * max(1, len(places)), quiet=as_json) as advance:
        watch = Watch(advance, advance)
        results = stick.write_all(plan, places, watch) if image is None else ((image, write_image(plan, image, watch)),)
        if not any(isinstance(found, UsbupdateError) for _, found in results):
            advance.finish()
    _tell(plan, results, as_json=as_json)


@app.command()
def inspect(
    mount: Annotated[
        Path, typer.Argument(metavar="MOUNT", readable=False, help="The folder where the stick is mounted, or a copy of it.")
    ],
    root: Annotated[Path | None, typer.Option(metavar="ROOT", readable=False, help="The root that the devices trust.")] = None,
    margin: _Margin = MARGIN_DAYS,
    as_json: AsJson = False,
) -> None:
    """Read and verify every byte of a stick, and say what is on it and until when it is good."""
    medium = inspection.opened(mount)
    with counted("reading", inspection.payload_size(medium), quiet=as_json) as read:
        found = inspection.inspect(medium, root, now(), read)
        read.finish()
    show.result(inspected.table(found), inspected.lines(found), as_json=as_json)
    stick.require_alive(found.first_to_end, found.expires[found.first_to_end], now(), margin)


def _places(mounts: list[Path] | None, image: Path | None) -> list[Path]:
    if bool(mounts) == (image is not None):
        raise UnusableValueError(what="MOUNT", value="", problem="give either mounted sticks or --image FILE")
    return mounts or []


def _tell(plan: Plan, results: Sequence[tuple[Path, CheckedStick | UsbupdateError]], *, as_json: bool) -> None:
    """Print what became of each stick, then raise what became of the first that failed."""
    failed = [found for _, found in results if isinstance(found, UsbupdateError)]
    sticks: list[Json] = [
        {"mount": str(mount), "written": not isinstance(found, UsbupdateError), "error": _error(found)}
        for mount, found in results
    ]
    bundles: list[Json] = [show.bundle_table(each) for each in plan.bundles]
    good = [mount for mount, found in results if not isinstance(found, UsbupdateError)]
    lines = [f"{mount}: written, read back and verified" for mount in good]
    if good:
        lines += [show.bundle_line(each) for each in plan.bundles] or ["Without bundles: for logs, and for whom to trust."]
        lines += [show.allowance_line(each, plan.now) for each in plan.allowances]
        if plan.only_deltas:
            lines += ["ONLY WHAT DIFFERS: devices that run another release than these bases refuse this stick:"]
            lines += [f"    {line}" for each in plan.bundles for line in show.base_lines(each.manifest)]
        lines += inspected.word_on_receipts(plan.acknowledged)
        lines.append(f"{show.size(plan.size)} a stick, good until {plan.expires}")
    table: dict[str, Json] = {
        "bundles": bundles,
        "authorisations": [show.allowance_table(each, plan.now) for each in plan.allowances],
        "sticks": sticks,
        "bytes": plan.size,
        "only_delta": plan.only_deltas,
        "good_until": plan.expires,
        "acknowledged_devices": plan.acknowledged,
    }
    show.result(table, lines, as_json=as_json)
    for other in failed[:0:-1]:
        show.problem(other)
    if failed:
        raise failed[0]


def _error(found: CheckedStick | UsbupdateError) -> str | None:
    return f"{found} {found.hint}" if isinstance(found, UsbupdateError) else None
