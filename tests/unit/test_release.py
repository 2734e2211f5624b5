"""What a release is made from: locked by hashes, and listed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
RUN_TIME: Final = [Requirement(each) for each in PROJECT["dependencies"]]
TOOLS: Final = [Requirement(each) for each in PROJECT["optional-dependencies"]["release"]]
LOCKS: Final = {"release.txt": RUN_TIME, "build.txt": [*RUN_TIME, *TOOLS]}

_HASH: Final = re.compile(r" --hash=sha256:[0-9a-f]{64}")


def lock(name: str) -> list[str]:
    """Return a lock file's entries, each in one line."""
    text = re.sub(r"^\s*#.*\n", "", (TOP / "requirements" / name).read_text("utf-8"), flags=re.MULTILINE)
    return re.sub(r"\s*\\\n\s*", " ", text).splitlines()


def pinned(name: str) -> dict[str, str]:
    """Return each package of a lock file with its version."""
    versions: dict[str, str] = {}
    for line in lock(name):
        requirement = Requirement(_HASH.sub("", line))
        (exact,) = requirement.specifier
        assert exact.operator == "=="
        versions[canonicalize_name(requirement.name)] = exact.version
    assert len(versions) == len(lock(name))
    return versions


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_is_held_by_its_hashes(name: str) -> None:
    assert lock(name)
    assert [line for line in lock(name) if not _HASH.search(line)] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_says_nothing_of_where_packages_come_from(name: str) -> None:
    text = (TOP / "requirements" / name).read_text("utf-8")
    assert re.findall(r"://|@|--(?!hash=)\w[\w-]*|^-\w", text, re.MULTILINE) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_every_dependency_within_its_range(name: str) -> None:
    versions = pinned(name)
    for requirement in LOCKS[name]:
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_what_is_released_is_what_was_built_with() -> None:
    assert pinned("release.txt").items() <= pinned("build.txt").items()


def test_the_build_backend_is_locked_too() -> None:
    build_system = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["build-system"]
    for requirement in map(Requirement, build_system["requires"]):
        assert requirement.specifier.contains(pinned("build.txt")[canonicalize_name(requirement.name)])


def test_the_bill_of_materials_is_valid_whole_and_says_no_time(tmp_path: Path) -> None:
    # Of the environment that runs the tests: `make release` lists one that holds the lock and nothing else.
    command: list[str | Path] = [TOP / ".ci/sbom", Path(sys.executable).parent, sys.executable, tmp_path / "bill"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    text = (tmp_path / "bill").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    # Two builds of a commit give the same bytes.
    assert "timestamp" not in bill["metadata"]
    assert "serialNumber" not in bill
    ours = bill["metadata"]["component"]
    assert (ours["name"], ours["version"]) == (PROJECT["name"], PROJECT["version"])
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    components = {each["bom-ref"]: canonicalize_name(each["name"]) for each in bill["components"]}
    assert {canonicalize_name(each.name) for each in RUN_TIME} <= {components[ref] for ref in needs[ours["bom-ref"]]}
    assert all(each["purl"].startswith("pkg:pypi/") for each in bill["components"])
