from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.matrix import By, On, attack
from usbupdate.device.bootloaders import grubenv
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from pathlib import Path

names = st.from_regex(grubenv.NAME, fullmatch=True).filter(lambda name: len(name) < 40)
values = st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"\\").decode("utf-8", "surrogateescape"))
comments = st.lists(st.from_regex(re.compile(rb"#[ -\[\]-~]{0,40}\n"), fullmatch=True), max_size=3).map(tuple)
environments = st.builds(grubenv.Environment, st.dictionaries(names, values, max_size=5), comments)

needs_grub_editenv = pytest.mark.skipif(shutil.which("grub-editenv") is None, reason="grub-editenv is not installed")
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def editenv(file: Path, *arguments: str) -> bytes:
    return subprocess.run(["grub-editenv", str(file), *arguments], check=True, capture_output=True).stdout


@given(environments)
def test_what_was_encoded_decodes_to_the_same(environment: grubenv.Environment) -> None:
    block = grubenv.encode(environment)

    assert len(block) == grubenv.SIZE
    assert grubenv.decode(block) == environment


@given(st.binary(max_size=1100))
def test_any_bytes_are_decoded_or_rejected(raw: bytes) -> None:
    with pytest.raises(BootLoaderError):
        grubenv.decode(raw)


@attack(
    By.CHANCE, On.SERVICE, "odd bytes in the boot environment", "a strict decoder, which changes nothing that it does not know"
)
@given(st.binary(max_size=grubenv.SIZE - len(grubenv.HEADER)))
def test_any_block_is_decoded_or_rejected_and_survives_a_rewrite(rest: bytes) -> None:
    block = (grubenv.HEADER + rest).ljust(grubenv.SIZE, b"#")
    try:
        environment = grubenv.decode(block)
    except BootLoaderError:
        return
    assert grubenv.decode(grubenv.encode(environment)) == environment


@given(environments, st.integers(0, grubenv.SIZE - 1), st.integers(0, 255))
def test_a_damaged_block_is_decoded_or_rejected(environment: grubenv.Environment, position: int, byte: int) -> None:
    block = bytearray(grubenv.encode(environment))
    block[position] = byte
    with contextlib.suppress(BootLoaderError):
        grubenv.decode(bytes(block))


@needs_grub_editenv
@few
@given(st.dictionaries(names, values.filter(lambda value: "\n" not in value), max_size=4))
def test_grub_editenv_reads_what_we_wrote(tmp_path: Path, variables: dict[str, str]) -> None:
    file = tmp_path / "grubenv"
    file.write_bytes(grubenv.encode(grubenv.Environment(variables)))

    expected = b"".join(f"{name}={value}\n".encode("utf-8", "surrogateescape") for name, value in variables.items())

    assert editenv(file, "list") == expected


@needs_grub_editenv
@few
@given(st.dictionaries(names.filter(lambda name: not name.startswith("-")), values, max_size=4))
def test_we_read_what_grub_editenv_wrote(tmp_path: Path, variables: dict[str, str]) -> None:
    file = tmp_path / "grubenv"
    editenv(file, "create")
    if variables:
        editenv(file, "set", *(f"{name}={value}" for name, value in variables.items()))

    assert grubenv.decode(file.read_bytes()).variables == variables


@needs_grub_editenv
@few
@given(names.filter(lambda name: not name.startswith("-")), values, values)
def test_grub_editenv_and_we_change_a_variable_alike(tmp_path: Path, name: str, first: str, second: str) -> None:
    theirs = tmp_path / "theirs"
    ours = tmp_path / "ours"
    editenv(theirs, "create")
    editenv(theirs, "set", f"{name}={first}", "OTHER_=kept")
    shutil.copy(theirs, ours)

    editenv(theirs, "set", f"{name}={second}")
    grubenv.write(ours, grubenv.read(ours).changed({name: second}))

    assert ours.read_bytes() == theirs.read_bytes()
