"""What docs/keys.md tells to type, typed in its order, with folders in place of the two computers and the sticks."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import usbupdate
from tests.source import CHECKOUT
from tests.tokens import MODULE, needs_softhsm

PAGE = (CHECKOUT / "docs" / "keys.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh(?: softhsm)?)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with an image, two sticks and the command."""
    monkeypatch.chdir(tmp_path)
    for name in ("carry", "stick", "bin"):
        Path(name).mkdir()
    Path("rootfs.img").write_bytes(bytes(300_000))
    command = Path("bin/usbupdate")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m usbupdate "$@"\n')
    command.chmod(0o755)
    return tmp_path


def typed(kind: str) -> str:
    """Return all blocks of a kind, with the sticks where the test has them."""
    return "\n".join(text for info, text in BLOCK.findall(PAGE) if info == kind).replace("/media/", "./")


def run(place: Path, script: str) -> None:
    """Type a script into a shell, and stop at the first command that fails."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("USBUPDATE_", "SOFTHSM2", "PYKCS11"))
    }
    environment["PATH"] = f"{place}/bin:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def roots(stick: str) -> int:
    return len(list(Path(stick, "usbupdate/metadata").glob("*.root.json")))


def test_the_ceremony_and_every_change_of_hands_work_as_the_page_tells_them() -> None:
    # In this process: starting Python for each of them would take minutes.
    for line in typed("sh").replace("\\\n", " ").splitlines():
        match shlex.split(line, comments=True):
            case ["usbupdate", *arguments]:
                usbupdate(*arguments)
            case ["cp", *files, to]:
                for file in files:
                    shutil.copy(file, to)
            case other:
                assert other == []
    checked = json.loads(usbupdate("repo", "check", "office", "--json").out)
    assert checked["roles"]["root"]["version"] == 5
    assert checked["roles"]["root"]["threshold"] == 3
    # The last command of the page proposes a root that nobody has signed yet.
    assert [each["role"] for each in checked["missing"]] == ["root"]
    assert roots("stick") == 4


@needs_softhsm
@pytest.mark.skipif(shutil.which("pkcs11-tool") is None, reason="pkcs11-tool is not here: apt-get install opensc")
def test_the_practice_with_tokens_works_as_the_page_tells_it(place: Path) -> None:
    script = typed("sh softhsm").replace("/usr/lib/softhsm/libsofthsm2.so", MODULE)
    run(place, f"usbupdate key create alice.pem\n{script}")
    assert roots("stick") == 2
