"""Change the code that decides, one place at a time, and ask of each change that a test sees it: `make mutants`.

`python -m tests.mutation [MODULE]...` does it for the modules named, or for all. Each module is judged by its own tests alone
(`MODULES`), so that a test of something else, which happens to pass through, hides nothing. A mutant that survives is explained
in `survivors.toml`; one that is not there fails the run, and so does an explanation of a mutant that is killed or gone.
`--again` tries only what survived the last time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutation.modules import MODULES

REPOSITORY: Final = Path(__file__).resolve().parents[2]
WORK: Final = REPOSITORY / "build" / "mutation"
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
MEMORY: Final = "/dev/shm"  # noqa: S108 - pytest makes private folders in it
KILLED: Final = frozenset({"killed", "timeout"})
PYTEST: Final = ("-p no:xdist", "-p no:cacheprovider", "--hypothesis-profile=mutants", "-m not vm")
TIMEOUT_S: Final = 2
"""What a mutant may take of the processor beyond its tests' own time, before it counts as caught in a loop."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of the code: where, what was there, and what stands there instead."""

    module: str
    function: str
    was: str
    becomes: str

    def __str__(self) -> str:
        changed = [*(f"  - {line}" for line in self.was.splitlines()), *(f"  + {line}" for line in self.becomes.splitlines())]
        return "\n".join([f"{self.module}: {self.function}", *changed])


def explained(module: str) -> list[Mutant]:
    """Return the mutants of a module that may survive, because somebody has written down why."""
    kept = tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))["survivor"]
    if nameless := [each for each in kept if not each["why"].strip()]:
        message = f"without a reason: {nameless}"
        raise SystemExit(message)
    return [
        Mutant(module, each["function"], each["was"].strip(), each["becomes"].strip())
        for each in kept
        if each["module"] == module
    ]


def prepare(folder: Path) -> None:
    """Lay out a folder in which mutmut finds the sources and the tests."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mutants").mkdir(parents=True)
    for name in ("src", "pyproject.toml"):
        (folder / name).symlink_to(REPOSITORY / name)
    # The tests are not copied: a copy would be older than what is being written.
    for name in ("tests", "docs", "images", "udev-rules", "systemd"):
        (folder / "mutants" / name).symlink_to(REPOSITORY / name)


def configure(module: str, folder: Path) -> None:
    """Tell mutmut what it is to change, and which tests it is to ask."""
    lines = {
        "source_paths": ["src"],
        "only_mutate": [f"src/usbupdate/{module}"],
        "pytest_add_cli_args": [argument for pair in PYTEST for argument in pair.split(" ", 1)],
        "pytest_add_cli_args_test_selection": list(MODULES[module]),
        "timeout_constant": [str(TIMEOUT_S)],
        "timeout_multiplier": ["3"],
        "on_dependency_change": ["ignore"],
    }
    text = "".join(f"{key} =\n" + "".join(f"    {value}\n" for value in values) for key, values in lines.items())
    (folder / "setup.cfg").write_text("[mutmut]\n" + text, encoding="utf-8")


def read_results(output: Path) -> dict[str, dict[str, str]]:
    """Return what is known of each mutant, by its name."""
    return {each["name"]: each for each in json.loads(output.read_text(encoding="utf-8"))} if output.exists() else {}


def run(module: str, jobs: int, *, only_survivors: bool) -> list[tuple[Mutant, str]]:
    """Return each mutant of a module with how it ended."""
    folder = WORK / module.replace("/", ".").removesuffix(".py")
    output = folder / "results.json"
    known = read_results(output) if only_survivors else {}
    again = [name for name, each in known.items() if each["ended"] not in KILLED]
    if not known:
        prepare(folder)
    if again or not known:
        configure(module, folder)
        program = Path(__file__).with_name("mutmut_run.py")
        command = [
            sys.executable,
            str(program),
            f"src/usbupdate/{module}",
            str(output),
            "run",
            "--max-children",
            str(jobs),
            *again,
        ]
        # In memory, where there is room for that: thousands of runs wait for thousands of disks.
        environment = {**os.environ, **({"TMPDIR": MEMORY} if os.access(MEMORY, os.W_OK) else {})}
        with (folder / "log").open("wb") as log:
            subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    ended = read_results(output)
    if not ended:
        message = f"{module}: mutmut came to nothing; {folder / 'log'} says why."
        raise SystemExit(message)
    ended |= {name: each for name, each in known.items() if name not in again}
    output.write_text(json.dumps(list(ended.values()), indent=1), encoding="utf-8")
    return [
        (Mutant(module, each["function"], each["was"].strip(), each["becomes"].strip()), each["ended"])
        for each in ended.values()
    ]


def judge(module: str, ended: list[tuple[Mutant, str]]) -> list[str]:
    """Print a module's line and return what is wrong with it."""
    survivors = {mutant for mutant, how in ended if how not in KILLED}
    may_survive = set(explained(module))
    counts = Counter("killed" if how == "killed" else "loops" if how == "timeout" else "survived" for _, how in ended)
    print(f"{module:24} {len(ended):5} {counts['killed']:7} {counts['loops']:6} {counts['survived']:9}", flush=True)
    return [
        *(f"survived: {mutant}" for mutant in sorted(survivors - may_survive, key=str)),
        *(f"explained, but killed or gone: {mutant}" for mutant in sorted(may_survive - survivors, key=str)),
    ]


def main() -> int:
    """Judge the modules that were asked for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="for example core/policy.py")
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    print(f"{'module':22} mutants  killed  loops  survived")
    wrong: list[str] = []
    for module in arguments.modules or MODULES:
        wrong += judge(module, run(module, arguments.jobs, only_survivors=arguments.again))
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
