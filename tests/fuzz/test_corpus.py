"""Everything that fuzzing began with, and every input that once did harm, on each run of the tests."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.medium import changed
from tests.fuzz.seeds import CORPUS, seeds
from tests.fuzz.targets import STICK, TARGETS, stick

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
    stick(b"")
