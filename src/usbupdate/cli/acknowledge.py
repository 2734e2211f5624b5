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
from usbupdate.core.plaintext import counted
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
    there = {each.identity.device for each in whole}
    flawed = {each.device: str(each.standing) for each in verdicts if each.flaws and each.device in there}
    absent = [each for each in verdicts if each.device not in there]
    left = {each.device: str(each.standing) for each in absent if each.standing is not Standing.OK}
    not_there = [each.device for each in absent if each.standing is Standing.OK]
    left |= dict.fromkeys(not_there, "not all in the store")
    table: dict[str, Json] = {
        "repo": str(repo),
        "acknowledged": {str(device): count for device, count in done.counts.items()},
        "new": [str(device) for device in done.fresh],
        "refused": {str(device): problem for device, problem in done.refused.items()},
        "left": {str(device): why for device, why in left.items()},
        "flawed": {str(device): why for device, why in flawed.items()},
    }
    show.result(table, _told(done, left, flawed), as_json=json)
    if lost := [*done.refused, *not_there]:
        raise EvidenceBrokenError(devices=", ".join(lost))
    require_good(verdicts)


def _told(done: Done, left: Mapping[DeviceId, str], flawed: Mapping[DeviceId, str]) -> Iterator[str]:
    for device in done.fresh:
        count = done.counts[device]
        yield f"{device}: {counted(count, 'receipt')} {'is' if count == 1 else 'are'} acknowledged"
    for device, problem in done.refused.items():
        yield f"{device}: {_nothing_new(done, device)}: {problem}"
    for device, why in left.items():
        yield f"{device}: {_nothing_new(done, device)}: its evidence is {why}; see 'usbupdate audit verify'"
    for device, why in flawed.items():
        if device not in done.refused:
            yield f"{device}: that is what whole copies prove; another one is {why}: see 'usbupdate audit verify'"
    devices = counted(len(done.counts), "device")
    if not done.fresh:
        yield f"Nothing is newly acknowledged; the repository keeps the acknowledgements of {devices}."
    else:
        yield f"The repository keeps the acknowledgements of {devices}. Sticks that are written from now on bring them."


def _nothing_new(done: Done, device: DeviceId) -> str:
    before = done.counts.get(device)
    return "NOT ACKNOWLEDGED" if before is None else f"NOTHING NEW ACKNOWLEDGED beyond {counted(before, 'receipt')}"
