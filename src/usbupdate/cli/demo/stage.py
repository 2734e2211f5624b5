"""What the demonstration stands on: commands as a person types them, and claims that are checked before they are told."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.device import process
from usbupdate.errors import DemoClaimError, UnusableFileError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from usbupdate.core.strictjson import Json

_COMMAND_S: Final = 120.0
CHUNK: Final = 256 << 10


class Stage:
    """One folder in which the story plays; paths in commands are relative to it, as if a person had changed into it.

    Args:
        folder: empty or absent.
        out: where the story is told.
    """

    def __init__(self, folder: Path, out: TextIO) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UnusableFileError(path=str(folder), problem="it is not an empty folder")
        durable.make_directory(folder)
        self.folder = folder
        self.claims = 0
        self._out = out
        self._width = max(60, min(110, shutil.get_terminal_size((100, 24)).columns))

    def title(self, text: str) -> None:
        """Begin a step of the story."""
        self._print(f"\n== {text}")

    def say(self, text: str) -> None:
        """Tell something in plain words."""
        for line in textwrap.wrap(text, self._width, break_long_words=False, break_on_hyphens=False):
            self._print(line)

    def claim(self, text: str, *, found: object, expected: object) -> None:
        """Tell something that was just found to be true.

        Raises:
            DemoClaimError: it is not.
        """
        if found != expected:
            raise DemoClaimError(claim=text, found=str(found), expected=str(expected))
        self.claims += 1
        self._print(f"  \N{CHECK MARK} {text}")

    def run(self, command: str, *, code: int = 0, shows: int = 3) -> str:
        """Run a command of usbupdate in a process of its own, show it and the end of what it prints, and return all of that.

        Args:
            command: as a person types it, without the leading `usbupdate`.
            code: the exit code that it must end with.
            shows: how many of its last lines are shown.

        Raises:
            DemoClaimError: it ended otherwise.
        """
        self._show_command(command)
        finished = self._started(command, None)
        text = finished.output.decode("utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip() and not line.rstrip().endswith("%")]
        if shows and len(lines) > shows:
            self._print("    …")
        for line in lines[-shows:] if shows else []:
            for part in textwrap.wrap(line, self._width - 4, subsequent_indent="  ", drop_whitespace=False) or [""]:
                self._print(f"    {part.rstrip()}")
        if finished.exit_code != code:
            raise DemoClaimError(claim=f"'usbupdate {command}' ends with {code}", found=text[-600:], expected=str(code))
        return text

    def cut(self, command: str, *, at: str) -> None:
        """Start a command and kill it with SIGKILL, as a power cut would end it, as soon as it prints `at`.

        Raises:
            DemoClaimError: it ended before.
        """
        self._show_command(command)
        finished = self._started(command, at)
        self.claim(f"the power went when it said '{at}'", found=finished.exit_code, expected=None)

    def status(self, device: str) -> dict[str, Json]:
        """Return how a simulated device stands."""
        finished = self._started(f"simulate status {device} --json", None)
        found = json.loads(finished.output)
        if not isinstance(found, dict):
            raise DemoClaimError(claim="status prints one JSON object", found=str(found), expected="an object")
        return found

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file."""
        with (self.folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def lacking(self, slot: str, image: str) -> int:
        """Return how many bytes of an image a slot lacks, counted in whole chunks, from the bytes of both."""
        missing = 0
        with (self.folder / slot).open("rb") as held, (self.folder / image).open("rb") as wanted:
            while chunk := wanted.read(CHUNK):
                if held.read(len(chunk)) != chunk:
                    missing += len(chunk)
        return missing

    def _started(self, command: str, until: str | None) -> process.Finished:
        # What the office keeps for its next bundle lies in the folder too: all of the story does.
        own = {"XDG_CACHE_HOME": str(self.folder / "cache"), "PYTHONUNBUFFERED": "1", "COLUMNS": "1000"}
        return process.run(
            [sys.executable, "-m", "usbupdate", *shlex.split(command)],
            timeout_s=_COMMAND_S,
            output_limit=1 << 20,
            place=process.Place(str(self.folder), {**process.BARE_ENVIRONMENT, **own}),
            until=None if until is None else until.encode(),
        )

    def _show_command(self, command: str) -> None:
        """Show a command as a person would break it over lines: each option stays with its value."""
        line, *options = re.split(r" (?=--)", f"$ usbupdate {command}")
        for option in options:
            if len(line) + len(option) + 3 > self._width:
                self._print(f"{line} \\")
                line = "   "
            line = f"{line} {option}"
        self._print(line)

    def _print(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()
