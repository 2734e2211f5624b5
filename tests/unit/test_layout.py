"""Where things lie on a stick, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate.core.layout import (
    METADATA,
    PAYLOAD,
    MediumPath,
    log_path,
    metadata_path,
    names_or_none,
    payload_path,
    require_no_folding_names,
    require_no_lost_manifests,
    shown,
    target_name,
    target_path,
)
from usbupdate.core.words import DeviceId, Digest
from usbupdate.errors import FoldingNamesError, ManifestsLostError, MediumFileMissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGEST = Digest("ab" + "c" * 62)
TIDY: dict[MediumPath, tuple[str, ...]] = {
    (): ("Photos", "photos", "usbupdate"),
    ("usbupdate",): ("READ-ME.txt", "logs", "metadata", "payload", "targets"),
    ("usbupdate", "metadata"): ("1.root.json", "timestamp.json"),
    ("usbupdate", "targets"): ("a.json", "b.json"),
    ("usbupdate", "payload"): ("00", "01"),
    ("usbupdate", "logs"): ("gw-1", "gw-2"),
}


class Listing:
    """A stick of which only the names are known."""

    def __init__(self, folders: Mapping[MediumPath, tuple[str, ...]]) -> None:
        self._folders = folders

    def names(self, path: MediumPath) -> tuple[str, ...]:
        if path not in self._folders:
            raise MediumFileMissingError(name=shown(path))
        return self._folders[path]

    def read(self, path: MediumPath, limit: int) -> bytes:
        raise AssertionError(path)

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        raise AssertionError(path)

    def size(self, path: MediumPath) -> int:
        raise AssertionError(path)


def test_everything_has_its_place() -> None:
    assert shown(metadata_path("root", 3)) == "usbupdate/metadata/3.root.json"
    assert shown(metadata_path("timestamp", None)) == "usbupdate/metadata/timestamp.json"
    assert target_name("gateway", 7) == "gateway-7.json"
    assert shown(target_path(DIGEST, "gateway-7.json")) == f"usbupdate/targets/{DIGEST}.gateway-7.json"
    assert shown(payload_path(DIGEST)) == f"usbupdate/payload/ab/{DIGEST}"
    assert shown(log_path(DeviceId("gw-1"), "checkpoint")) == "usbupdate/logs/gw-1/checkpoint"


def test_names_beside_ours_may_fold_together() -> None:
    require_no_folding_names(Listing(TIDY))


@pytest.mark.parametrize("second", ["FF", "\N{LATIN SMALL LIGATURE FF}"])
@pytest.mark.parametrize("folder", [folder for folder in TIDY if folder], ids=shown)
def test_two_names_that_fold_together_are_refused_and_named(folder: MediumPath, second: str) -> None:
    with pytest.raises(FoldingNamesError) as caught:
        require_no_folding_names(Listing({**TIDY, folder: (*TIDY[folder], "ff", second)}))
    assert (caught.value.first, caught.value.second) == ("ff", second)


def test_our_folder_may_not_be_there_twice() -> None:
    with pytest.raises(FoldingNamesError) as caught:
        require_no_folding_names(Listing({**TIDY, (): ("USBupdate", "usbupdate")}))
    assert (caught.value.first, caught.value.second) == ("USBupdate", "usbupdate")


def test_a_folder_that_is_not_there_holds_no_names() -> None:
    assert names_or_none(Listing(TIDY), METADATA) == ("1.root.json", "timestamp.json")
    assert names_or_none(Listing({}), METADATA) == ()
    require_no_folding_names(Listing({(): ("usbupdate",), ("usbupdate",): ()}))


def test_a_stick_with_payload_and_no_offer_has_lost_its_manifests() -> None:
    for folders in ({}, {PAYLOAD: ()}):
        require_no_lost_manifests(Listing(folders))
    with pytest.raises(ManifestsLostError):
        require_no_lost_manifests(Listing({PAYLOAD: ("00",)}))
