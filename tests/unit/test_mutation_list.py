"""What `make mutants` goes by is about code and tests that exist; whether it is true is its own to find out."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.mutation.modules import MODULES
from tests.source import CHECKOUT

SOURCES = CHECKOUT / "src/usbupdate"
LIST = CHECKOUT / "tests/mutation/survivors.toml"


@pytest.mark.parametrize("module", MODULES)
def test_each_module_that_is_changed_has_tests_that_are_there(module: str) -> None:
    assert (SOURCES / module).is_file()
    files = [Path(CHECKOUT, argument.rpartition("=")[2].partition("::")[0]) for argument in MODULES[module]]
    assert all(file.is_file() for file in files)


def test_each_mutant_that_may_survive_changes_a_line_that_is_there_and_has_a_reason() -> None:
    for each in tomllib.loads(LIST.read_text(encoding="utf-8"))["survivor"]:
        lines = {line.strip() for line in (SOURCES / each["module"]).read_text(encoding="utf-8").splitlines()}
        assert each["module"] in MODULES
        assert lines.issuperset(each["was"].splitlines())
        assert each["why"].endswith(".")
