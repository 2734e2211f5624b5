"""What the measurements in benchmarks/ rest on: what counts as installed, whose sticks are made anew, what the page says."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Load = Callable[[str], ModuleType]

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PIECE = 1 << 20
BLOCK = 4096


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Load:
    """What imports a module of the benchmarks, which are no package of the product."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"installs.{name}")

    return load


# --- The slot -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(os.urandom(PIECE) + bytes(PIECE) + os.urandom(3 * BLOCK))
    return path


def test_a_slot_is_erased_before_and_has_its_place_on_the_disk(module: Load, image: Path, tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(b"\xaa" * 5 * PIECE)
    module("slot").lay_down(slot, image.stat().st_size)
    assert slot.read_bytes() == bytes(image.stat().st_size)
    assert slot.stat().st_blocks * 512 >= image.stat().st_size


def test_a_slot_with_the_image_is_told_from_one_with_a_wrong_byte(module: Load, image: Path, tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(image.read_bytes())
    assert module("slot").holds(slot, image)
    with slot.open("r+b") as file:
        file.seek(2 * PIECE + BLOCK)
        file.write(bytes([file.read(1)[0] ^ 1]))
    assert not module("slot").holds(slot, image)


def test_a_slot_that_is_cut_short_is_not_the_image(module: Load, image: Path, tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(image.read_bytes()[:-BLOCK])
    assert not module("slot").holds(slot, image)


# --- Contenders and their sticks ----------------------------------------------------------------------------------------------


def test_contenders_have_names_of_their_own_and_so_have_their_sticks(module: Load) -> None:
    contenders = module("contenders").CONTENDERS
    assert len({each.name for each in contenders}) == len(contenders)
    sticks = {id(each.stick): each.stick.name for each in contenders}
    assert len(set(sticks.values())) == len(sticks)


def test_a_change_of_one_recipe_makes_no_other_stick_anew(module: Load, tmp_path: Path) -> None:
    contender = module("contender")
    recipes = [tmp_path / name for name in ("one.py", "other.py")]
    for recipe in recipes:
        recipe.write_text("before")
    task = contender.Task(tmp_path / "new-1.img", tmp_path / "old-1.img")
    one, other = (contender.Stick("stick", print, (recipe,)) for recipe in recipes)
    before = one.key(task), other.key(task)
    recipes[0].write_text("after")
    assert one.key(task) != before[0]
    assert other.key(task) == before[1]
    assert other.key(replace(task, old=tmp_path / "old-2.img")) != before[1]


# --- The page -----------------------------------------------------------------------------------------------------------------


def test_everything_that_was_measured_stands_in_tables_and_in_the_picture(module: Load) -> None:
    contenders, measure = module("contenders").CONTENDERS, module("measure")
    results = module("page").Results()
    for number, each in enumerate(contenders, start=1):
        results.add("as fast as the disk", "rebuilt", each, measure.Measured(float(number), number << 20, number * 1_000_000))
    tables, picture = results.tables(), results.picture()
    for each in contenders:
        assert f"| {each.name} | {each.proof} |" in tables
        assert f">{each.name}</text>" in picture
    assert "## As fast as the disk: a whole image" in tables
    assert "## As fast as the disk: the device runs the base, next release rebuilt" in tables


def test_a_table_without_its_yardstick_has_no_ratios(module: Load) -> None:
    (usbupdate, *_), measure = module("contenders").CONTENDERS, module("measure")
    results = module("page").Results()
    results.add("as fast as the disk", "rebuilt", usbupdate, measure.Measured(2.0, 30 << 20, 5_000_000))
    assert "| usbupdate | before it writes | yes | 2.00 |  | 5.0 | 30 |" in results.tables()


# --- Ending -------------------------------------------------------------------------------------------------------------------

ENDLESS = """
import sys
from installs import programs
programs.end_orderly_when_told()
try:
    print("begun", flush=True)
    programs.run("sh", "-c", "echo $$ >program; sleep 1000")
finally:
    print("cleared up", programs.run("echo", "by a program"), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_benchmark_that_is_told_to_end_clears_up_and_leaves_no_program(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        program = tmp_path / "program"
        deadline = time.monotonic() + 20
        while not (program.exists() and program.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "cleared up by a program" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(program.read_text()), 0)


def test_a_program_that_fails_is_told_with_its_own_words(module: Load) -> None:
    with pytest.raises(RuntimeError, match=r"exit code 3\nwhy it failed"):
        module("programs").run("sh", "-c", "echo why it failed >&2; exit 3")
