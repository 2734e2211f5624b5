"""A throw-away PostgreSQL server on a socket in a temporary folder, run by an ordinary user, for whoever wants a real one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER: Final = "auditor"
_ORDINARY: Final = "nobody"
_LIMIT_S: Final = 120


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs; `socket` is its folder."""

    programs: Path
    socket: Path
    _numbers: Iterator[int]

    def new_database(self) -> str:
        """Return the address of an empty database."""
        name = f"evidence_{next(self._numbers)}"
        self.run_sql("postgres", f"CREATE DATABASE {name}")
        return f"postgresql://{_USER}@/{name}?host={quote(str(self.socket))}"

    def run_sql(self, database: str, statement: str) -> None:
        """Run a statement as somebody who may do anything."""
        psql: list[str | Path] = [
            self.programs / "psql",
            "-X",
            "-q",
            "-h",
            self.socket,
            "-U",
            _USER,
            "-d",
            database,
            "-c",
            statement,
        ]
        subprocess.run(psql, check=True, capture_output=True, timeout=_LIMIT_S)


def programs() -> Path | None:
    """Return the folder with the programs of PostgreSQL, or None if it is not installed."""
    # Debian keeps the server's programs out of PATH, a folder for each version.
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def problem(folder: Path) -> str | None:
    """Return why no server can be run in a folder, or None if one can."""
    if programs() is None:
        return "PostgreSQL is not installed (Debian: postgresql)"
    if os.geteuid() == 0:
        with TemporaryDirectory(dir=folder) as own:
            try:
                os.chown(own, pwd.getpwnam(_ORDINARY).pw_uid, -1)
            except OSError:
                return "PostgreSQL does not run as root, and there is no other user in this namespace"
    return None


@contextmanager
def running(folder: Path, *, syncs: bool = False) -> Iterator[Server]:
    """Run a server whose data and socket are in a new folder in `folder`, which every user must be able to reach."""
    place = programs()
    assert place is not None
    with TemporaryDirectory(prefix="usbupdate-pg-", dir=folder) as own:
        data = Path(own, "data")
        user: int | None = None
        group: int | None = None
        if os.geteuid() == 0:
            # It refuses to be run by root.
            ordinary = pwd.getpwnam(_ORDINARY)
            user, group = ordinary.pw_uid, ordinary.pw_gid
            os.chown(own, user, group)

        def run(*words: str | Path) -> None:
            subprocess.run(
                words,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                cwd=own,
                timeout=_LIMIT_S,
                user=user,
                group=group,
            )

        run(place / "initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        # Nothing listens on a network, and nothing of a test has to survive.
        settings = f"-c listen_addresses='' -c unix_socket_directories='{own}' -c fsync={'on' if syncs else 'off'}"
        run(place / "pg_ctl", "-D", data, "-w", "-o", settings, "-l", Path(own, "log"), "start")
        try:
            yield Server(place, Path(own), count(1))
        finally:
            run(place / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
