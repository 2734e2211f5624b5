"""Everything that fuzzing began with, and every input that once did harm, on each run of the tests."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.attack.metadata_office import START
from tests.fuzz.medium import Numbers, changed
from tests.fuzz.quick import OpenTrust, quick
from tests.fuzz.seeds import CORPUS, seeds
from tests.fuzz.sticks import OFFICE, PAYLOAD, STICK, forge, stolen_keys
from tests.fuzz.targets import TARGETS
from tests.inmemory import MemoryMedium
from tests.matrix import By, On, attack
from usbupdate.errors import UsbupdateError
from usbupdate.packager.verification import CheckedStick, verify, verify_beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.layout import MediumPath

NOW = START + timedelta(days=30)
REGRESSIONS = Path(__file__).with_name("regressions")


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_product_writes_is_taken(target: str) -> None:
    for raw in seeds()[target]:
        TARGETS[target](raw)


@pytest.mark.parametrize("file", files_in(CORPUS) + files_in(REGRESSIONS), ids=lambda file: f"{file.parent.name}-{file.name}")
def test_the_corpus_does_no_harm(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


def test_every_target_has_a_corpus() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_bytes_by_chance_do_no_harm(target: str) -> None:
    chance = random.Random(target)  # noqa: S311 - the same bytes each time
    for raw in seeds()[target]:
        for _ in range(30):
            other = bytearray(raw or bytes(40))
            for _ in range(chance.randrange(1, 5)):
                other[chance.randrange(len(other))] = chance.randrange(256)
            TARGETS[target](bytes(other))


def test_a_changed_stick_is_seen_to_be_changed() -> None:
    """The changes reach what is looked at: most of them are rejected."""
    chance = random.Random(1)  # noqa: S311 - the same bytes each time
    programs = [chance.randbytes(60) for _ in range(50)]
    assert sum(changed(STICK, program) != STICK for program in programs) > 45


def _slowly(files: Mapping[MediumPath, bytes]) -> CheckedStick | str:
    try:
        return verify(MemoryMedium(files), OFFICE.first_root, NOW)
    except UsbupdateError as error:
        return str(error)


def _quickly(files: Mapping[MediumPath, bytes]) -> CheckedStick | str:
    with quick(), OpenTrust() as folder:
        try:
            return verify_beside(folder, MemoryMedium(files), OFFICE.first_root, NOW)
        except UsbupdateError as error:
            return str(error)


def test_the_genuine_stick_is_taken_whole() -> None:
    """Fuzzing that begins with a stick which is rejected comes not far."""
    taken = _slowly(STICK)
    assert isinstance(taken, CheckedStick)
    assert [each.manifest for each in taken.bundles] == [PAYLOAD.manifest]


def test_what_is_quick_says_the_same_as_what_is_slow() -> None:
    chance = random.Random(2)  # noqa: S311 - the same bytes each time
    told = set()
    for _ in range(150):
        program = chance.randbytes(80)
        for files in (changed(STICK, program), forge(Numbers(program)).files):
            quickly = _quickly(files)
            assert quickly == _slowly(files)
            told.add(quickly if isinstance(quickly, str) else "taken")
    assert len(told) > 40
    assert "taken" in told


def test_a_thief_with_keys_comes_further_than_the_signatures() -> None:
    """What fuzzing is to try is behind them: manifests, indexes, chunks."""
    chance = random.Random(3)  # noqa: S311 - the same bytes each time
    told = Counter(_reason(forge(Numbers(chance.randbytes(80))).files) for _ in range(400))
    assert told["taken"] > 100
    assert told["malformed"] > 40, "manifests and indexes"
    assert len(told) > 6


@attack(
    By.STOLEN_KEY,
    On.SERVICE,
    "anything that can be signed with every key but the root's",
    "nothing of it outlives the next stick, which comes with other keys",
)
def test_whatever_a_thief_signs_is_cured_by_the_next_stick() -> None:
    chance = random.Random(4)  # noqa: S311 - the same bytes each time
    for _ in range(400):
        stolen_keys(chance.randbytes(80))


def _reason(files: Mapping[MediumPath, bytes]) -> str:
    with quick(), OpenTrust() as folder:
        try:
            verify_beside(folder, MemoryMedium(files), OFFICE.first_root, NOW)
        except UsbupdateError as error:
            return error.reason
    return "taken"
