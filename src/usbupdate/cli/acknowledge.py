"""`usbupdate audit acknowledge`: say to devices what of their receipts has arrived for good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from usbupdate.audit.received import received
from usbupdate.audit.verdict import Standing, require_good, verify
from usbupdate.cli import show
from usbupdate.cli.arguments import PassphraseFile, now, passphrases
from usbupdate.cli.auditoptions import AsJson, DevicesFolder, known
from usbupdate.cli.store import StoreAddress, opened_places
from usbupdate.errors import EvidenceBrokenError
from usbupdate.packager import acknowledging
from usbupdate.packager.lock import opened_for_change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from usbupdate.core.strictjson import Json
    from usbupdate.core.words import DeviceId
    from usbupdate.packager.acknowledging import Done


def acknowledge(
    repo: Annotated[Path, typer.Option("--repo", metavar="REPO", readable=False, help="The office's repository.")],
    key: Annotated[str, typer.Option(metavar="KEY", help="The key to cosign with, which 'repo name-acknowledger' has named.")],
    store: StoreAddress = None,
    devices: DevicesFolder = None,
    passphrase_file: PassphraseFile = None,
    json: AsJson = False,
) -> None:
    """Cosign up to where the store holds each device's receipts; the next sticks bring it. It ends in the code of 'verify'."""
    enrolled = known(devices)
    with opened_places([], store) as places, opened_for_change(repo) as office:
        verdicts = [verdict.bare() for verdict in verify(places, enrolled)]
        whole = list(received(places, verdicts, enrolled))
        done = acknowledging.acknowledge(office, whole, key, now(), passphrases(passphrase_file))
    left = {each.device: str(each.standing) for each in verdicts if each.standing is not Standing.OK}
    there = {each.identity.device for each in whole}
    not_there = [each.device for each in verdicts if each.standing is Standing.OK and each.device not in there]
    left |= dict.fromkeys(not_there, "not all in the store")
    table: dict[str, Json] = {
        "repo": str(repo),
        "acknowledged": {str(device): count for device, count in done.counts.items()},
        "new": [str(device) for device in done.fresh],
        "refused": {str(device): problem for device, problem in done.refused.items()},
        "left": {str(device): why for device, why in left.items()},
    }
    show.result(table, _told(done, left), as_json=json)
    if lost := [*done.refused, *not_there]:
        raise EvidenceBrokenError(devices=", ".join(lost))
    require_good(verdicts)


def _told(done: Done, left: Mapping[DeviceId, str]) -> Iterator[str]:
    yield from (f"{device}: {done.counts[device]} receipts are acknowledged" for device in done.fresh)
    yield from (f"{device}: NOT ACKNOWLEDGED: {problem}" for device, problem in done.refused.items())
    for device, why in left.items():
        yield f"{device}: NOT ACKNOWLEDGED: its evidence is {why}; see 'usbupdate audit verify'"
    if not done.fresh:
        yield f"Nothing is new. Receipts of {len(done.counts)} device(s) are acknowledged."
    else:
        yield f"Receipts of {len(done.counts)} device(s) are acknowledged. Sticks that are written from now on say so."
