"""Imports go one way: cli -> packager | device | audit | simulate -> durable, medium, core -> errors (design, section 8)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.source import modules

SHARED = {"errors", "durable", "plainfile", "medium", "trustfiles", "core"}
MAY_IMPORT = {
    "": set[str](),
    "errors": {"errors"},
    "core": {"core", "errors"},
    "durable": {"durable", "errors"},
    "plainfile": {"plainfile", "errors"},
    "medium": {"medium", "plainfile", "core", "errors"},
    "trustfiles": {"trustfiles", "durable", "plainfile", "core", "errors"},
    "packager": {"packager", *SHARED},
    "device": {"device", *SHARED},
    "audit": {"audit", *SHARED},
    "simulate": {"simulate", "device", *SHARED},
    "cli": {"cli", "packager", "device", "audit", "simulate", *SHARED},
    "__main__": {"cli", *SHARED},
}

IMPURE = {
    "os", "io", "subprocess", "pathlib", "shutil", "tempfile", "glob", "socket", "select", "signal", "threading",
    "multiprocessing", "concurrent", "asyncio", "time", "random", "secrets", "uuid", "platform", "getpass", "locale", "logging",
    "typer", "click", "rich", "pyudev", "fcntl", "pwd", "grp", "termios", "mmap", "ctypes",
}  # fmt: skip

NOT_ON_EVERY_LAPTOP = ["fcntl", "grp", "pwd", "pyudev", "resource", "termios", "tty", "syslog", "posix", "spwd"]

LATE_DEPENDENCIES = [
    "cryptography",
    "pydantic",
    "pyudev",
    "requests",
    "rich",
    "securesystemslib",
    "sqlalchemy",
    "tuf",
    "typer",
    "urllib3",
]


def _imported_modules(code: str, blocked: list[str]) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter in which some modules cannot be imported, even by libraries that try."""
    blocking = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))"
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", f"{blocking}\n{code}"], capture_output=True, text=True, timeout=600, check=False
    )


def test_every_layer_is_known() -> None:
    assert {module.layer for module in modules()} <= set(MAY_IMPORT)


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT), ids=lambda layer: layer or "usbupdate")
def test_imports_go_one_way(layer: str) -> None:
    wrong = [
        f"{module.shown}:{line}: {name}"
        for module in modules()
        if module.layer == layer
        for line, name in module.imports()
        if name.split(".")[0] == "usbupdate" and name != "usbupdate.__version__" and name.split(".")[1] not in MAY_IMPORT[layer]
    ]
    assert wrong == []


def test_core_is_pure() -> None:
    wrong = [
        f"{module.shown}:{line}: {name}"
        for module in modules()
        if module.layer in {"core", "errors"}
        for line, name in module.imports()
        if name.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_core_asks_nobody_for_time_files_or_chance() -> None:
    asking = {"now", "utcnow", "today", "open", "input", "print", "exec", "eval", "compile", "__import__"}
    wrong = [
        f"{module.shown}:{line}: {name}()"
        for module in modules()
        if module.layer == "core"
        for line, name, _ in module.calls()
        if name.split(".")[-1] in asking and name != "re.compile"
    ]
    assert wrong == []


def test_there_are_no_import_cycles_at_run_time() -> None:
    # Each module by itself, first: a cycle shows as a partially initialised module.
    names = [
        f"usbupdate.{module.name}".rstrip(".") for module in modules() if module.layer != "__main__" and not module.is_script
    ]
    code = (
        "import importlib\n"
        f"for name in {names!r}:\n"
        "    for loaded in [each for each in sys.modules if each.split('.')[0] == 'usbupdate']:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )
    done = _imported_modules(code, [])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("side", ["packager", "audit"])
def test_the_laptop_sides_import_nothing_that_only_linux_has(side: str) -> None:
    wrong = [
        f"{module.shown}:{line}: {name}"
        for module in modules()
        if module.layer in {side, *SHARED}
        for line, name in module.imports()
        if name.split(".")[0] in NOT_ON_EVERY_LAPTOP
    ]
    assert wrong == []


@pytest.mark.parametrize("side", ["packager", "audit"])
def test_the_laptop_sides_work_where_linux_modules_are_missing(side: str) -> None:
    names = [f"usbupdate.{module.name}" for module in modules() if module.layer in {side, *SHARED} and not module.is_script]
    # posix and the like are the interpreter's own here; what a library may not find elsewhere is the rest.
    blocked = [name for name in NOT_ON_EVERY_LAPTOP if name != "posix"]
    done = _imported_modules(f"import importlib\nfor name in {names!r}: importlib.import_module(name)", blocked)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["usbupdate.device.confirm", "usbupdate.cli.boot"])
def test_boot_confirmation_starts_without_trust_cryptography_or_typer(path: str) -> None:
    if not any(f"usbupdate.{module.name}" == path for module in modules()):
        pytest.skip(f"{path} is not there yet")
    done = _imported_modules(f"import {path}", LATE_DEPENDENCIES)
    assert done.returncode == 0, done.stderr


def test_an_insertion_starts_without_typer_and_the_office() -> None:
    office = [f"usbupdate.{module.name}" for module in modules() if module.layer in {"packager", "audit"}]
    done = _imported_modules("import usbupdate.cli.insertion", ["typer", "rich", "click", *office])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["usbupdate.cli.main", "usbupdate.cli.insertion"])
def test_no_command_needs_the_libraries_of_the_store_before_it_opens_one(path: str) -> None:
    done = _imported_modules(f"import {path}", ["sqlalchemy", "alembic", "psycopg"])
    assert done.returncode == 0, done.stderr


def test_only_the_store_imports_its_libraries() -> None:
    wrong = [
        f"{module.shown}:{line}: {name}"
        for module in modules()
        if not module.name.startswith("audit.store")
        for line, name in module.imports()
        if name.split(".")[0] in {"sqlalchemy", "alembic", "psycopg"}
    ]
    assert wrong == []
