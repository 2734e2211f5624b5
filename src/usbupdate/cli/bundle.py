"""`usbupdate bundle`: releases, made from images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from usbupdate.cli import show
from usbupdate.cli.arguments import (
    AsJson,
    PassphraseFile,
    RepoOption,
    bases,
    confirm,
    images,
    now,
    passphrases,
    require_yes,
    text_of,
)
from usbupdate.cli.progress import counted
from usbupdate.core.manifest import Kind
from usbupdate.core.strictjson import Json
from usbupdate.errors import SequenceJumpError
from usbupdate.packager import bundle, downgrade, pack
from usbupdate.packager.bundle import Offer, Order
from usbupdate.packager.framecache import FrameCache, NoCache, SqliteCache, usual_folder
from usbupdate.packager.keys import Passphrases
from usbupdate.packager.lock import opened_for_change
from usbupdate.packager.office import Office
from usbupdate.packager.pack import Packing

app = typer.Typer(name="bundle", no_args_is_help=True, help="Make, list and withdraw bundles.")

Many = list[str] | None
_Image = Annotated[Path, typer.Argument(metavar="IMAGE", readable=False, help="The image of slot class rootfs.")]
_Compatible = Annotated[list[str], typer.Option(metavar="C", help="The hardware it is for. Repeatable.")]
_Base = Annotated[Many, typer.Option(metavar="OLD_IMAGE", help="The image of an earlier release, or CLASS=IMAGE. Repeatable.")]
_Class = Annotated[Many, typer.Option("--class", metavar="CLASS=IMAGE", help="The image of another slot class. Repeatable.")]
_Sequence = Annotated[int, typer.Option(metavar="S", help="A number that rises with every release.")]
_From = Annotated[int, typer.Option("--from-sequence", metavar="S", help="The lowest sequence it can be installed from.")]
_Device = Annotated[Many, typer.Option(metavar="ID", help="Only for this device. Repeatable.")]
_Group = Annotated[Many, typer.Option(metavar="G", help="Only for devices of this group. Repeatable.")]
_NotesFile = Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Release notes, as a text file.")]
_Sbom = Annotated[
    Path | None, typer.Option(metavar="FILE", readable=False, help="The bill of materials whose digest is signed too.")
]
_Level = Annotated[int, typer.Option(metavar="N", help="How hard zstd compresses, 1 to 22.")]
_Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", readable=False, help="Where compressed chunks are kept for the next bundle.")
]
_NoCache = Annotated[bool, typer.Option("--no-cache", help="Compress everything anew, and keep nothing.")]
_Yes = Annotated[bool, typer.Option("--yes", help="A jump of more than 1,000 in the sequence is meant.")]
_YesAll = Annotated[bool, typer.Option("--yes", help="Withdraw all bundles of that name without asking.")]


@app.command()
def create(
    image: _Image,
    repo: RepoOption,
    name: Annotated[str, typer.Option(metavar="N", help="The name of the bundle.")],
    version: Annotated[str, typer.Option(metavar="V", help="The version, as people call it.")],
    sequence: _Sequence,
    compatible: _Compatible,
    base: _Base = None,
    classes: _Class = None,
    kind: Annotated[Kind, typer.Option(help="Why the release is made.")] = Kind.FEATURE,
    from_sequence: _From = 0,
    device: _Device = None,
    group: _Group = None,
    notes: Annotated[str, typer.Option(metavar="TEXT", help="Release notes.")] = "",
    notes_file: _NotesFile = None,
    sbom: _Sbom = None,
    level: _Level = pack.LEVEL,
    cache: _Cache = None,
    no_cache: _NoCache = False,
    yes: _Yes = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Pack the images of a release and sign it with every key within reach."""
    order = Order(
        name, version, sequence, tuple(compatible), images(image, classes), kind, from_sequence,
        tuple(device or ()), tuple(group or ()), text_of(notes_file, notes), sbom, bases(base), jump_is_meant=yes,
    )  # fmt: skip
    with opened_for_change(repo) as office, _frames(cache, no_cache=no_cache) as frames:
        how = Packing(level=level, cache=frames)
        offer = _created(office, order, how, passphrases(passphrase_file), quiet=as_json)
    _tell(office, [offer], "made", "made", as_json=as_json)


@app.command("list")
def list_bundles(repo: RepoOption, as_json: AsJson = False) -> None:
    """List the bundles, and the authorisations to go back to one, that are offered or wait for signatures."""
    office, time = Office.open(repo), now()
    found, allowances = bundle.listed(office), downgrade.listed(office)
    lines = [show.bundle_line(each) for each in found] or ["No bundles yet."]
    lines += [show.allowance_line(each, time) for each in allowances]
    bundles: list[Json] = [show.bundle_table(each) for each in found]
    authorisations: list[Json] = [show.allowance_table(each, time) for each in allowances]
    show.result({"bundles": bundles, "authorisations": authorisations}, lines, as_json=as_json)


@app.command()
def withdraw(
    repo: RepoOption,
    name: Annotated[str, typer.Option(metavar="N", help="The name of the bundle.")],
    sequence: Annotated[int | None, typer.Option(metavar="S", help="Only the one with this sequence.")] = None,
    yes: _YesAll = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Offer a bundle no more; devices that see a stick written later refuse it on older sticks too."""
    with opened_for_change(repo) as office:
        meant = bundle.to_withdraw(office, name, sequence)
        if len(meant) > 1 and not yes:
            for each in meant:
                typer.echo(show.bundle_line(each), err=True)
            what = f"Withdrawing all {len(meant)} bundles named {name} (--sequence takes one)"
            require_yes(f"Withdraw all {len(meant)}?", what, yes=yes)
        offers = bundle.withdraw(office, name, sequence, now(), passphrases(passphrase_file))
    told = "will be withdrawn once that is signed" if any(each.bundle.leaving for each in offers) else "withdrawn"
    _tell(office, list(offers), "withdrawn", told, as_json=as_json)


@contextmanager
def _frames(folder: Path | None, *, no_cache: bool) -> Iterator[FrameCache]:
    """Yield the cache of compressed chunks; if it had to be left out, that is said once all is done."""
    if no_cache:
        yield NoCache()
        return
    place = folder or usual_folder()
    with SqliteCache(place) as cache:
        yield cache
    if cache.problem is not None:
        typer.echo(f"Note: not all was kept for the next bundle in {place}: {cache.problem}", err=True)


def _created(office: Office, order: Order, how: Packing, ask: Passphrases, *, quiet: bool) -> Offer:
    """Make a bundle, asking once about a jump in the sequence if somebody is there to ask."""
    # Each image is gone through once to be packed, and once for each of its bases.
    rounds = {path: 1 + len(order.bases.get(slot_class, ())) for slot_class, path in order.images.items()}
    total = sum(count * path.stat().st_size for path, count in rounds.items() if path.is_file())
    try:
        bundle.require_order(office, order, now())
    except SequenceJumpError as error:
        if not confirm(f"{error} Devices never go back below it. Is that meant?"):
            raise
        order = bundle.with_jump_meant(order)
    with counted("packing", total, quiet=quiet) as advance:
        offer = bundle.create(office, order, now(), how=replace(how, progress=advance), ask=ask)
        advance.finish()
    return offer


def _tell(office: Office, offers: list[Offer], what: str, told: str, *, as_json: bool) -> None:
    missing = offers[0].missing
    table = {"signed": not missing, "missing": show.missing_table(office, missing)}
    bundles: list[Json] = [show.bundle_table(each.bundle) for each in offers]
    lines = []
    for each in offers:
        lines.append(f"{told}: {show.bundle_line(replace(each.bundle, leaving=False))}")
        lines += [f"    from {line}" for line in show.base_lines(each.bundle.manifest)]
    show.result({**table, "bundles": bundles, "action": what}, [*lines, *show.missing_lines(office, missing)], as_json=as_json)
