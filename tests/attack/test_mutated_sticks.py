"""Thousands of sticks, each a genuine one with something changed by chance: none does harm, whatever it was.

A stick is either not taken, and everything is as it was, or what was changed did not matter, and the genuine release runs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.field import OFFERED
from tests.matrix import By, On, attack
from usbupdate.core.receipt import Event
from usbupdate.errors import ExitCode, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.field import Field, Rig

STICKS: Final = 2000
BY_COMMAND: Final = 50
_AT_ONCE: Final = 250
_NO_HARM: Final = frozenset({ExitCode.REJECTED, ExitCode.REFUSED, ExitCode.MEDIUM})


# --- What may have become of a stick ----------------------------------------------------------------------------------


def flip_a_bit(file: Path, chance: random.Random) -> None:
    raw = bytearray(file.read_bytes())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    file.write_bytes(raw)


def change_bytes(file: Path, chance: random.Random) -> None:
    raw = bytearray(file.read_bytes())
    start = chance.randrange(len(raw))
    raw[start : start + chance.randrange(1, 64)] = chance.randbytes(chance.randrange(64))
    file.write_bytes(raw)


def cut(file: Path, chance: random.Random) -> None:
    os.truncate(file, chance.randrange(file.stat().st_size))


def grow(file: Path, chance: random.Random) -> None:
    with file.open("ab") as more:
        more.write(chance.randbytes(chance.randrange(1, 4096)))


def blank(file: Path, chance: random.Random) -> None:
    raw = bytearray(file.read_bytes())
    start = chance.randrange(len(raw))
    end = min(len(raw), start + (1 << chance.randrange(13)))
    raw[start:end] = bytes(end - start)
    file.write_bytes(raw)


def remove(file: Path, _chance: random.Random) -> None:
    file.unlink()


def lead_elsewhere(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.symlink_to(chance.choice(["/etc/hostname", "/dev/zero", ".", file.name, "../../../.."]))


def become_a_pipe(file: Path, _chance: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def become_a_folder(file: Path, _chance: random.Random) -> None:
    file.unlink()
    file.mkdir()


def hold_what_another_holds(file: Path, chance: random.Random) -> None:
    others = [each for each in _files(_mount_of(file)) if each != file]
    file.write_bytes(chance.choice(others).read_bytes())


def change_places(file: Path, chance: random.Random) -> None:
    other = chance.choice([each for each in _files(_mount_of(file)) if each != file])
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


def get_another_name(file: Path, chance: random.Random) -> None:
    names = [file.name.upper(), f"{file.name} ", f"{file.name}.part", "0" * 64, "1.root.json"]
    file.rename(file.with_name(chance.choice(names)))


def get_a_twin(file: Path, chance: random.Random) -> None:
    names = [each for each in (file.name.swapcase(), f"2{file.name}", f"{file.name}~") if each != file.name]
    shutil.copyfile(file, file.with_name(chance.choice(names)))


def change_a_value(file: Path, chance: random.Random) -> None:
    """Change one value of a document, whatever it is; nobody signs it anew."""
    try:
        document = json.loads(file.read_bytes())
    except ValueError:
        flip_a_bit(file, chance)
        return
    holder: Any = document
    while True:
        key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        inner = holder[key]
        if not isinstance(inner, list | dict) or not inner or chance.random() < 0.2:
            break
        holder = inner
    odd: list[Any] = [
        None,
        True,
        0,
        -1,
        1 << 63,
        1.5,
        "",
        "../..",
        "a" * 5000,
        [],
        {},
        "2099-01-01T00:00:00Z",
        "\x1b[2J",
        ["x"] * 99,
    ]
    holder[key] = chance.choice(odd)
    file.write_bytes(json.dumps(document).encode())


MUTATIONS: Final[tuple[Callable[[Path, random.Random], object], ...]] = (
    flip_a_bit,
    change_bytes,
    cut,
    grow,
    blank,
    remove,
    lead_elsewhere,
    become_a_pipe,
    become_a_folder,
    hold_what_another_holds,
    change_places,
    get_another_name,
    get_a_twin,
    change_a_value,
)


def _mount_of(file: Path) -> Path:
    return next(parent for parent in file.parents if (parent / "usbupdate").is_dir() and parent.name != "usbupdate")


def _files(mount: Path) -> list[Path]:
    return [path for path in sorted(mount.rglob("*")) if path.is_file() and not path.is_symlink() and path.stat().st_size]


def mutated(genuine: Path, mount: Path, chance: random.Random) -> list[str]:
    """Make a stick of a genuine one, and return what was done to it: one thing mostly, or several."""
    shutil.copytree(genuine, mount)
    done = []
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        files = _files(mount)
        if len(files) < 2:
            break
        mutation, file = chance.choice(MUTATIONS), chance.choice(files)
        done.append(f"{mutation.__name__} {file.relative_to(mount)}")
        mutation(file, chance)
    return done


# --- What comes of it -------------------------------------------------------------------------------------------------


def require_no_harm(rig: Rig, before: dict[str, bytes], error: UsbupdateError | None, image: str, told: str) -> None:
    """Hold that a stick left everything as it was, or brought the genuine release."""
    if error is None:
        status = rig.status()
        assert (status["state"], status["sequence"]) == ("idle", OFFERED), told
        assert rig.slot_image("b") == image, told
        return
    assert error.exit_code in _NO_HARM, f"{told}: {error!r}"
    assert rig.picture() == before, f"{told}: {error!r}"
    assert rig.last().event in {Event.REJECTED, Event.REFUSED}, told


@attack(By.STICK, On.SLOT, "2,000 sticks that were changed by chance", "everything that is used is proven first")
@pytest.mark.parametrize("part", range(STICKS // _AT_ONCE))
def test_no_stick_that_was_changed_by_chance_does_harm(field: Field, part: int) -> None:
    """One device sees them one after the other; where a change did not matter, the next ones meet a fresh one."""
    pristine = field.folder / "pristine"
    shutil.copytree(field.rig.folder, pristine, symlinks=True)
    rig, taken = field.rig, 0
    before, image = rig.picture(), field.image_sha256(OFFERED)
    for number in range(part * _AT_ONCE, (part + 1) * _AT_ONCE):
        chance = random.Random(number)  # noqa: S311 - the same sticks each time
        mount = field.folder / "mutated"
        told = f"stick {number}: {', '.join(mutated(field.good, mount, chance))}"
        error: UsbupdateError | None = None
        try:
            rig.update(mount)
        except UsbupdateError as caught:
            error = caught
        rig.remove()
        require_no_harm(rig, before, error, image, told)
        shutil.rmtree(mount)
        if error is None:
            taken += 1
            shutil.rmtree(rig.folder)
            shutil.copytree(pristine, rig.folder, symlinks=True)
    # Changes that do not matter exist, but most do.
    assert taken < _AT_ONCE // 2
    rig.update(field.cure)
    assert rig.status()["last_event"] == "committed"


def test_none_does_harm_by_the_command_line_either(field: Field) -> None:
    rig = field.rig
    before = rig.picture()
    refused = 0
    for number in range(10_000, 10_000 + BY_COMMAND):
        chance = random.Random(number)  # noqa: S311 - the same sticks each time
        mount = field.folder / "mutated"
        told = ", ".join(mutated(field.good, mount, chance))
        command = [sys.executable, "-m", "usbupdate", "simulate", "insert", str(rig.folder), str(mount)]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        subprocess.run([*command[:4], "remove", str(rig.folder)], check=False, capture_output=True, timeout=120)
        shutil.rmtree(mount)
        if ran.returncode == ExitCode.OK:
            # What was changed did not matter: the next sticks meet a device that has this release.
            assert rig.slot_image("b") == field.image_sha256(OFFERED), told
            before = rig.picture()
            continue
        refused += 1
        assert ran.returncode in _NO_HARM, f"{told}\n{ran.stdout}{ran.stderr}"
        assert "Traceback" not in ran.stderr, f"{told}\n{ran.stderr}"
        assert ran.stderr.count("What to do: ") == 1, f"{told}\n{ran.stderr}"
        assert rig.picture() == before, told
    assert refused > BY_COMMAND // 2
