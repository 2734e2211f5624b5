"""A newcomer who copies every command of the tutorial sees what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.source import CHECKOUT

if TYPE_CHECKING:
    import pytest

TUTORIAL: Final = CHECKOUT / "docs/tutorial.md"
_BLOCK: Final = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_BY_HAND: Final = {"make install", "sudo make vm-install"}
_LIMIT_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Step:
    """Commands, and the lines that they are said to print, in this order and with others between them."""

    commands: str
    promised: tuple[str, ...]


def _steps() -> list[Step]:
    blocks = [(found["kind"], found["text"]) for found in _BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8"))]
    followers = [*blocks[1:], ("", "")]
    return [
        Step(text, tuple(after.splitlines()) if kind_after == "text" else ())
        for (kind, text), (kind_after, after) in zip(blocks, followers, strict=True)
        if kind == "sh"
    ]


def test_what_is_to_be_installed_by_hand_is_what_make_installs() -> None:
    (console,) = [
        found["text"] for found in _BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8")) if found["kind"] == "console"
    ]
    ordered = {line.partition("#")[0].strip() for line in console.splitlines()}
    assert ordered >= _BY_HAND
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{command.split()[-1]}: " in makefile for command in _BY_HAND)


def test_each_command_does_what_the_tutorial_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(sys.executable).parent
    monkeypatch.setenv("PATH", os.pathsep.join([str(own), str(CHECKOUT / "images"), os.environ["PATH"]]))
    steps = _steps()
    assert len(steps) > len(_BY_HAND)
    try:
        for step in steps:
            said = _run(step.commands, tmp_path)
            assert _missing(step.promised, said) is None, f"{step.commands}\n{said}"
    finally:
        # A test that failed half-way leaves no machine behind.
        subprocess.run(["usbupdate-vm", "power-cut"], cwd=tmp_path, check=False, capture_output=True)


def _run(commands: str, folder: Path) -> str:
    shell = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(
        shell, cwd=folder, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_LIMIT_S
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


def _missing(promised: tuple[str, ...], said: str) -> str | None:
    """Return the first promised line that does not come; an ellipsis stands for anything."""
    lines = iter(said.splitlines())
    for line in promised:
        wanted = re.compile(".*".join(re.escape(part) for part in line.split("…")))
        if not any(wanted.fullmatch(each.rstrip()) for each in lines):
            return line
    return None
