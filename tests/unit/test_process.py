from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.matrix import By, On, attack
from usbupdate.device.process import BARE_ENVIRONMENT, Companion, Finished, run


def shell(script: str, *, timeout_s: float = 20, output_limit: int = 1000) -> Finished:
    return run(["sh", "-c", script], timeout_s=timeout_s, output_limit=output_limit)


def gone(pid: int) -> bool:
    """Tell whether a process has ended, as a zombie too; wait a moment for the kernel to deliver the signal."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        os.sched_yield()
    return False


def test_output_and_exit_code_are_returned() -> None:
    finished = shell("echo out; echo err >&2; exit 3")
    assert (finished.exit_code, finished.output) == (3, b"out\nerr\n")
    assert not finished.succeeded
    assert finished.last_line == "err"


def test_a_program_ended_by_a_signal_says_so() -> None:
    assert shell("kill -TERM $$").exit_code == -signal.SIGTERM


def test_only_the_last_output_is_kept_however_much_there_is() -> None:
    finished = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo end", output_limit=10)
    assert finished.output == b"xxxxxxend\n"
    assert finished.succeeded


def test_the_environment_is_bare_and_the_input_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USBUPDATE_SECRET", "x")
    finished = shell("pwd; env | cut -d= -f1 | sort; cat", output_limit=10_000)
    assert finished.output.split()[0] == b"/"
    assert set(finished.output.split()[1:]) == {b"HOME", b"LC_ALL", b"PATH", b"PWD"} | {b"_"} & set(finished.output.split())


def test_no_shell_looks_at_arguments() -> None:
    assert run(["echo", "$HOME; `id`"], timeout_s=20).output == b"$HOME; `id`\n"


def test_a_hanging_program_is_killed_with_all_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    finished = shell(f"sleep 600 & echo $! > {tmp_path}/child; echo hangs; wait", timeout_s=0.5)
    assert finished.exit_code is None
    assert finished.output == b"hangs\n"
    assert finished.last_line == "hangs"
    assert gone(int((tmp_path / "child").read_text()))
    assert time.monotonic() - started < 10


def test_a_child_left_behind_with_the_pipe_open_neither_delays_nor_survives(tmp_path: Path) -> None:
    finished = shell(f"sleep 600 & echo $! > {tmp_path}/child; echo done")
    assert (finished.exit_code, finished.output) == (0, b"done\n")
    assert gone(int((tmp_path / "child").read_text()))


def test_a_child_that_writes_for_ever_does_not_delay(tmp_path: Path) -> None:
    finished = shell(f"yes & echo $! > {tmp_path}/child")
    assert finished.exit_code == 0
    assert gone(int((tmp_path / "child").read_text()))


def test_a_program_that_closes_its_output_and_hangs_is_killed() -> None:
    assert shell("exec >/dev/null 2>&1; sleep 600", timeout_s=0.3).exit_code is None


def test_a_program_that_ignores_every_signal_is_killed() -> None:
    assert shell("trap '' TERM INT HUP; while :; do sleep 1; done", timeout_s=0.3).exit_code is None


def test_a_program_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/nowhere/at/all"], timeout_s=1)


def test_no_descriptor_stays_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    shell("true")
    shell("sleep 600", timeout_s=0.1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def companion(script: str) -> Companion:
    return Companion(["sh", "-c", script], descriptors=(), environment=BARE_ENVIRONMENT)


def test_a_companion_answers_as_often_as_it_is_asked() -> None:
    one = companion("while read -r word; do echo $word; done")
    assert [one.ask(word, 4, timeout_s=20) for word in (b"one\n", b"two\n")] == [b"one\n", b"two\n"]
    one.stop()


def test_a_companion_that_answers_in_parts_is_waited_for() -> None:
    one = companion("read -r _; printf a; read -r _ </dev/null; printf b")
    assert one.ask(b"\n", 2, timeout_s=20) == b"ab"
    one.stop()


@pytest.mark.parametrize(
    ("script", "error"), [("exit 0", BrokenPipeError), ("printf a", BrokenPipeError), ("sleep 600", TimeoutError)]
)
def test_a_companion_without_an_answer_is_an_os_error(script: str, error: type[OSError]) -> None:
    one = companion(f"read -r _; {script}")
    with pytest.raises(error):
        one.ask(b"\n", 2, timeout_s=0.5 if error is TimeoutError else 20)
    one.stop()


@attack(
    By.STICK,
    On.SERVICE,
    "a decompressor that was taken over answers without being asked, and listens no more",
    "one that speaks before it was asked, or lets its pipe run full, is given up",
)
def test_a_companion_that_answers_without_listening_is_given_up_in_time() -> None:
    # It needs no question to see what lies in the memory that it shares.
    one = Companion(
        [sys.executable, "-c", "import os\nwhile True: os.write(1, bytes(4096))"], descriptors=(), environment=BARE_ENVIRONMENT
    )

    def ask() -> None:
        with suppress(OSError):
            for _ in range(20_000):
                one.ask(bytes(12), 1, timeout_s=1.0)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(10)
    is_stuck = asking.is_alive()
    one.stop()
    assert not is_stuck


def test_a_companion_that_is_stopped_is_gone_with_its_children_and_leaves_nothing_open() -> None:
    before = {each.name for each in Path("/proc/self/fd").iterdir()}
    one = companion("sleep 600 & printf %020d $!; wait")
    child = int(one.ask(b"", 20, timeout_s=20))
    one.stop()
    assert gone(child)
    assert one._child.returncode == -signal.SIGKILL
    one.stop()
    assert {each.name for each in Path("/proc/self/fd").iterdir()} == before
