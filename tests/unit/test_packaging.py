from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import PurePosixPath

import pytest

import usbupdate
from tests.source import CHECKOUT, PACKAGE

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "usbupdate", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_version_stands_once_and_is_read_from_the_installed_package() -> None:
    assert importlib.metadata.version("usbupdate") == PROJECT["project"]["version"]
    wrong = [path for path in PACKAGE.rglob("*.py") if PROJECT["project"]["version"] in path.read_text(encoding="utf-8")]
    assert wrong == []
    assert not hasattr(usbupdate, "__version__") or usbupdate.__version__ == PROJECT["project"]["version"]


def test_python_dash_m_says_the_version() -> None:
    if not (PACKAGE / "cli" / "main.py").exists():
        pytest.skip("there is no command line yet")
    done = _run("--version")
    assert done.returncode == 0, done.stderr
    assert PROJECT["project"]["version"] in done.stdout


def test_a_command_that_does_not_exist_is_a_wrong_use_without_a_traceback() -> None:
    if not (PACKAGE / "cli" / "main.py").exists():
        pytest.skip("there is no command line yet")
    done = _run("no-such-command")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_wheel_holds_the_package_its_type_marker_and_no_tests() -> None:
    # Asked of the build backend itself, which needs neither a network nor a build environment.
    builders = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not in this environment")
    builder = builders.WheelBuilder(str(CHECKOUT))
    paths = {PurePosixPath(included.distribution_path.replace("\\", "/")) for included in builder.recurse_included_files()}
    assert PurePosixPath("usbupdate/py.typed") in paths
    assert {path.parts[0] for path in paths} == {"usbupdate"}
    assert {path.suffix for path in paths} <= {".py", ".typed", ".html", ".css", ".js", ".txt"}
    in_source = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py")}
    assert in_source <= {str(path) for path in paths}


def test_every_dependency_is_documented_with_its_reason() -> None:
    page = (CHECKOUT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(each for extra in extras for each in extra)]
    names = {requirement.split(";")[0].split(">")[0].split("[")[0].strip() for requirement in wanted} - {"usbupdate"}
    assert [name for name in sorted(names) if f"| {name} |" not in page] == []


def test_licence_is_the_whole_text() -> None:
    text = (CHECKOUT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"
