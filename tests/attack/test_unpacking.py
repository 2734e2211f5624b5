"""The decompressor taken over by a signed release: its process can do nothing, and nothing that it says is believed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import zstandard

from tests.field import NEXT, Quiet
from tests.matrix import By, On, attack
from usbupdate.core.unpack import WINDOW_MAX, Failed
from usbupdate.device import rights
from usbupdate.device.obligations import Rest
from usbupdate.device.unpacking import Unpacker
from usbupdate.errors import UnpackerEndedError, UnpackerMissingError, UsbupdateError
from usbupdate.simulate.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.field import Field, Rig
    from usbupdate.core.unpack import Unpack

RAW: Final = b"to be unpacked " * 1000
FRAME: Final = zstandard.ZstdCompressor().compress(RAW)

_TAKEN_OVER: Final = """
import ctypes, os, socket, struct, sys, threading
from usbupdate.device import rights
{before}
os.write(1, b"f" if rights.give_up() else b"u")
os.read(0, 12)
try:
    {deed}
except (OSError, RuntimeError, ValueError):
    os.write(1, b"\\x01")
else:
    os.write(1, b"\\x00")
"""


def taken_over(deed: str, before: str = "") -> tuple[str, str]:
    """Return a program that gives up its rights, does a deed when it is first asked, and says DONE if that went well."""
    return "-c", _TAKEN_OVER.format(deed=deed, before=before)


@pytest.fixture
def unpacker() -> Iterator[Unpacker]:
    started = Unpacker()
    yield started
    started.close()


@contextmanager
def running(program: tuple[str, ...], frame_s: float = 60.0) -> Iterator[Unpacker]:
    started = Unpacker(program, frame_s=frame_s)
    try:
        yield started
    finally:
        started.close()


def test_what_comes_out_is_what_was_put_in(unpacker: Unpacker) -> None:
    assert unpacker(FRAME, len(RAW)) == RAW
    assert unpacker(FRAME, len(RAW) - 1) is Failed.UNFIT
    assert unpacker(FRAME[:-1], len(RAW)) is Failed.BROKEN
    assert unpacker(b"", 0) is Failed.UNFIT
    dictionary = os.urandom(1 << 20)
    content = dictionary[5000 : 5000 + (256 << 10)]
    known = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    assert unpacker(zstandard.ZstdCompressor(dict_data=known).compress(content), len(content), dictionary) == content


def test_the_largest_chunk_with_the_largest_dictionary(unpacker: Unpacker) -> None:
    raw = os.urandom(WINDOW_MAX)
    assert unpacker(zstandard.ZstdCompressor(level=1).compress(raw), len(raw), os.urandom(1 << 20)) == raw


FORBIDDEN: Final = {
    "read the device's key": "open('{state}/identity/key.pem')",
    "write into the state": "os.open('{state}/state.json', os.O_WRONLY)",
    "make a file": "os.open('/tmp/usbupdate-hole', os.O_WRONLY | os.O_CREAT)",
    "open a device": "os.open('/dev/null', os.O_RDWR)",
    "make a socket": "socket.socket()",
    "make two sockets": "socket.socketpair()",
    "make a pipe": "os.pipe()",
    "make memory that can be executed by name": "os.memfd_create('x')",
    "start a process": "os.fork()",
    "start a thread": "threading.Thread(target=int).start()",
}
FORBIDDEN_BY_FILTER: Final = {
    "execute a program": "os.execv('/bin/true', ['true'])",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "take a file away": "os.unlink('{state}/state.json')",
    "give itself rights back": "os.setuid(0)",
    "look around": "os.stat('/')",
    "change its limits": "rights.resource.setrlimit(rights.resource.RLIMIT_NOFILE, (9, 9))",
}


def is_filtering() -> bool:
    with running(taken_over("pass")) as one:
        return one.is_filtered


@attack(
    By.SIGNER,
    On.SLOT,
    "a frame that takes the decompressor over, in a release whose image others have approved",
    "it runs in a process that can open, execute, start and send nothing",
)
@pytest.mark.parametrize("deed", [*FORBIDDEN, *FORBIDDEN_BY_FILTER])
def test_the_process_that_unpacks_can_do_nothing_else(field: Field, deed: str) -> None:
    if not is_filtering():
        pytest.skip("this kernel or processor has no filter that we know")
    code = (FORBIDDEN | FORBIDDEN_BY_FILTER)[deed].format(state=field.rig.folder / "state")
    with running(taken_over(code)) as one:
        assert one(FRAME, 1) is Failed.UNFIT


@pytest.mark.parametrize("deed", FORBIDDEN)
def test_where_the_kernel_filters_nothing_it_still_cannot(field: Field, deed: str) -> None:
    if os.geteuid() != 0 and deed in {"start a process", "start a thread"}:
        pytest.skip("the limit counts for all that a user runs, so it may be used up or not")
    code = FORBIDDEN[deed].format(state=field.rig.folder / "state")
    with running(taken_over(code, "rights._filter = lambda libc: False")) as one:
        assert not one.is_filtered
        assert one(FRAME, 1) is Failed.UNFIT


def test_the_deeds_are_such_that_would_go_well(field: Field) -> None:
    # Else what is refused above might be refused for another reason.
    for deed in (*FORBIDDEN.values(), "os.stat('/')", "os.kill(os.getppid(), 0)", "os.unlink('{state}/state.json')"):
        code = deed.format(state=field.rig.folder / "state")
        with running(taken_over(code, "rights.give_up = lambda: False")) as one:
            assert one(FRAME, 1) == FRAME[:0].ljust(1, b"\0"), deed


def test_the_process_is_nobody_and_has_nothing_open(unpacker: Unpacker) -> None:
    pid = unpacker._companion._child.pid
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["CapEff"] == status["CapPrm"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == ("2" if unpacker.is_filtered else "0")
    if os.geteuid() == 0:
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(rights.NOBODY)}
        assert status["Groups"].split() == []
    opened = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    assert {re.sub(r"\d+", "", name) for name in opened} == {"pipe:[]", "/dev/null", "/memfd:usbupdate (deleted)"}


HOSTILE: Final[dict[str, str]] = {
    "dies": "os._exit(0)",
    "is killed": "os.kill(os.getpid(), 9)",
    "hangs": "os.read(0, 1)",
    "talks nonsense": "os.write(1, b'\\x07')",
    "shrinks the memory": "os.ftruncate(int(sys.argv[1]), 0)",
}


@contextmanager
def hostile(deed: str) -> Iterator[Unpack]:
    with running(taken_over(deed, "rights.give_up = lambda: True"), frame_s=0.5) as one:
        yield one


_LYING: Final = """
import mmap, os, sys
memory = mmap.mmap(int(sys.argv[1]), 0)
os.write(1, b"f")
while os.read(0, 12):
    for place in range(0, len(memory), 4096):
        memory[place : place + 4] = b"evil"
    os.write(1, b"\\x00")
"""


def _bench(rig: Rig, unpacking: Callable[[], AbstractContextManager[Unpack]]) -> Bench:
    return Bench(rig.folder, lambda line: rig.lines.append(line), Quiet(), unpacking=unpacking)  # noqa: PLW0108 - the console's argument has a name


def _error_of(bench: Bench, stick: Path) -> UsbupdateError:
    with pytest.raises(UsbupdateError) as raised:
        bench.insert(stick)
    bench.remove()
    return raised.value


@attack(
    By.SIGNER,
    On.SERVICE,
    "a frame that kills the decompressor, makes it hang or answer nonsense",
    "one documented error, a condemned slot, one receipt, and the next stick is taken",
)
@pytest.mark.parametrize("deed", HOSTILE)
def test_an_unpacker_that_ends_or_hangs_ends_the_installation(field: Field, deed: str) -> None:
    rig = field.rig
    error = _error_of(_bench(rig, lambda: hostile(HOSTILE[deed])), field.good)
    assert isinstance(error, UnpackerEndedError), repr(error)
    assert rig.lines[-1].startswith("failed: ")
    assert rig.status()["slots"]["b"]["good"] is False  # type: ignore[index,call-overload] # JSON
    assert rig.events()[-1] == "interrupted"
    assert rig.boot().rest is Rest.IDLE
    assert rig.status()["booted"] == "a"
    assert rig.update(field.cure).rest is Rest.IDLE
    assert rig.status()["sequence"] == NEXT


@attack(
    By.SIGNER,
    On.SLOT,
    "a decompressor that was taken over gives other bytes",
    "what comes out is compared with what was signed, in a process of its own",
)
def test_other_bytes_from_the_unpacker_reach_no_slot(field: Field) -> None:
    @contextmanager
    def lying() -> Iterator[Unpack]:
        with running(("-c", _LYING)) as one:
            yield one

    rig = field.rig
    before = rig.slot_image("b")
    error = _error_of(_bench(rig, lying), field.good)
    assert error.reason == "contents-differ"
    assert rig.slot_image("b") == before
    assert rig.update(field.cure).rest is Rest.IDLE


def test_an_unpacker_that_does_not_start_changes_nothing(field: Field) -> None:
    @contextmanager
    def missing() -> Iterator[Unpack]:
        with running(("-c", "raise SystemExit(1)")) as one:
            yield one

    rig = field.rig
    before = rig.slot_image("b")
    assert isinstance(_error_of(_bench(rig, missing), field.good), UnpackerMissingError)
    assert rig.events()[-1] == "refused"
    assert rig.slot_image("b") == before


def test_it_ends_when_nobody_asks_any_more(unpacker: Unpacker) -> None:
    child = unpacker._companion._child
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=60) == 0


def test_numbers_of_system_calls_are_those_of_the_kernel_headers() -> None:
    headers = {
        "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
        "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
        "riscv64": [Path("/usr/include/asm-generic/unistd.h")],
    }
    compared = 0
    for machine, (_, calls) in rights.CALLS.items():
        for header in filter(Path.exists, headers[machine]):
            text = header.read_text()
            for name, number in calls.items():
                assert re.search(rf"#define __NR(?:3264)?_{name}\s+{number}\b", text), (machine, name)
                compared += 1
    if not compared:
        pytest.skip("the kernel's headers are not here (linux-libc-dev)")


def _pss_kib(pid: int) -> int:
    try:
        return int(re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[0])
    except (OSError, IndexError):
        return 0


def _memory_of(process: subprocess.Popen[bytes]) -> int:
    """Return the KiB of a process and its children, each page counted once; a child that was not started yet is its parent."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    unpackers = [
        int(pid)
        for pid in children.read_text().split()
        if b"usbupdate.device.unpacker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return sum(map(_pss_kib, (process.pid, *unpackers))) if unpackers else 0


def test_both_processes_of_an_insertion_take_less_than_64_mib(field: Field) -> None:
    command = [sys.executable, "-m", "usbupdate", "device", "insert", str(field.good), "--config", "device.toml"]
    started = time.monotonic()
    most = 0
    with subprocess.Popen(command, cwd=field.rig.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and time.monotonic() - started < 120:
            try:
                most = max(most, _memory_of(process))
            except OSError:
                continue
    assert process.returncode == 0
    assert 0 < most < 64 << 10
