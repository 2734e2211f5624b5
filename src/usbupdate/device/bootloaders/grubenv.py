"""GRUB's environment block: 1,024 bytes that GRUB itself reads and writes by their place on the disk.

A header line, lines `NAME=VALUE` with a backslash before each backslash and line feed of a value, lines that begin with `#`,
and `#` up to the end. What other programs keep in the block is carried along byte by byte.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIZE: Final = 1024
HEADER: Final = b"# GRUB Environment Block\n"
NAME: Final = re.compile(r"(?![#])[!-<>-\[\]-~]+")
"""Printable ASCII, no `=`, no backslash, no `#` at the beginning: GRUB takes more, and reads something else than it wrote."""

_LINE: Final = re.compile(rb"(?:[^\\\n]|\\.)*+\n", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL: Final = re.compile(r"[\\\n]")


@dataclass(frozen=True, slots=True)
class Environment:
    """What a block holds; `comments` are the lines after the header that begin with `#`, with their line feeds.

    A value may be any text without NUL; bytes that are not UTF-8 stand in it as lone surrogates.
    """

    variables: Mapping[str, str]
    comments: tuple[bytes, ...] = ()

    def changed(self, changes: Mapping[str, str]) -> Environment:
        """Return the environment with some variables set."""
        return Environment({**self.variables, **changes}, self.comments)

    def words(self, name: str) -> list[str]:
        """Return the words of a variable's value, each once; none of a variable that is not there."""
        return list(dict.fromkeys(self.variables.get(name, "").split()))


def decode(raw: bytes) -> Environment:
    """Return what a block holds.

    Raises:
        BootLoaderError: GRUB could read it differently than we do, or not at all.
    """
    if len(raw) != SIZE:
        raise BootLoaderError(problem=f"the environment block has {len(raw)} bytes instead of {SIZE}")
    if not raw.startswith(HEADER):
        raise BootLoaderError(problem="the environment block does not begin as GRUB's does")
    variables: dict[str, str] = {}
    comments: list[bytes] = []
    position = len(HEADER)
    while line := _LINE.match(raw, position):
        position = line.end()
        if line[0].startswith(b"#"):
            comments.append(line[0])
            continue
        name, separator, escaped = line[0][:-1].decode("utf-8", "surrogateescape").partition("=")
        if not separator or not NAME.fullmatch(name) or "\0" in escaped:
            raise BootLoaderError(problem="the environment block holds a line that is not NAME=VALUE")
        # GRUB's own code changes the first and believes the last.
        if name in variables:
            raise BootLoaderError(problem="the environment block holds a variable twice")
        variables[name] = _ESCAPED.sub(r"\1", escaped)
    if raw[position:].strip(b"#"):
        raise BootLoaderError(problem="the environment block does not end as GRUB's does")
    return Environment(variables, tuple(comments))


def encode(environment: Environment) -> bytes:
    """Return the block that holds an environment.

    Raises:
        BootLoaderError: it does not fit into 1,024 bytes.
    """
    lines = [HEADER, *environment.comments]
    for name, value in environment.variables.items():
        escaped = _SPECIAL.sub(r"\\\g<0>", value)
        lines.append(f"{name}={escaped}\n".encode("utf-8", "surrogateescape"))
    block = b"".join(lines)
    if len(block) > SIZE:
        raise BootLoaderError(problem="the environment block is full")
    return block.ljust(SIZE, b"#")


def read(path: Path) -> Environment:
    """Return what the block in a file holds, as it stands on the disk.

    Raises:
        BootLoaderError: the file cannot be read, or holds no such block.
    """
    return decode(_read_from_disk(path))


def write(path: Path, environment: Environment) -> None:
    """Put an environment into the block of an existing file, in place, and see that it is there.

    The file is neither truncated nor replaced: GRUB finds it by its blocks, does not replay a journal, and writes there itself.

    Raises:
        BootLoaderError: the file holds the old block or the new one.
    """
    block = encode(environment)
    try:
        durable.overwrite(path, block)
    except OSError as error:
        raise BootLoaderError(problem=f"{path} could not be written: {error.strerror or type(error).__name__}") from error
    if _read_from_disk(path) != block:
        raise BootLoaderError(problem=f"{path} did not keep what was written to it")


def _read_from_disk(path: Path) -> bytes:
    # O_NONBLOCK: a FIFO in its place must not stop the boot confirmation.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            return os.read(descriptor, SIZE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BootLoaderError(problem=f"{path} could not be read: {error.strerror or type(error).__name__}") from error
