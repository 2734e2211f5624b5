"""Kept frames save time and change nothing: not the bytes, and not whether a bundle can be made."""

from __future__ import annotations

import random
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import zstandard

from usbupdate.core.words import SlotClass
from usbupdate.packager import delta, pack
from usbupdate.packager.framecache import SqliteCache, key_of
from usbupdate.packager.pack import Packing, gives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.manifest import Artifact, Delta
    from usbupdate.packager.framecache import FrameCache

ROOTFS = SlotClass("rootfs")
CHUNK = 256 << 10
FILE = "frames-1.sqlite3"


def text(seed: int, size: int = CHUNK) -> bytes:
    """Return bytes that can be compressed."""
    return random.Random(seed).randbytes(size // 8).hex().encode().ljust(size, b".")  # noqa: S311 - bytes that look like an image, not a secret


OLD = b"".join(text(seed) for seed in range(6))
NEW = text(99, 4096) + OLD[: 3 * CHUNK] + text(7) + OLD[4 * CHUNK : -4096]


@dataclass
class Watched:
    """A cache that tells which answers were made anew."""

    cache: FrameCache
    made: list[bytes] = field(default_factory=list)

    def frame(self, key: bytes, is_right: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
        def making() -> bytes:
            self.made.append(key)
            return make()

        return self.cache.frame(key, is_right, making)


def made(folder: Path, cache: FrameCache | None, image: bytes = NEW, level: int = 3) -> tuple[Artifact, Delta | None, int]:
    """Return what is made of an image and a base, and how much of it was made anew."""
    folder.mkdir()
    (folder / "payload").mkdir()
    (folder / "new").write_bytes(image)
    (folder / "old").write_bytes(OLD)
    how = Packing(level=level, threads=2)
    watched = Watched(cache) if cache else None
    if watched:
        how = replace(how, cache=watched)
    artifact = pack.pack_image(folder / "new", ROOTFS, folder / "payload", how)
    return (
        artifact,
        delta.make_delta(folder / "new", artifact, folder / "old", folder / "payload", how),
        len(watched.made if watched else ()),
    )


def files(folder: Path) -> dict[str, bytes]:
    """Return the payload."""
    return {file.name: file.read_bytes() for file in (folder / "payload").rglob("*") if file.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return where the cache is to lie."""
    return tmp_path / "cache" / "frames"


def filled(place: Path, folder: Path) -> int:
    """Fill the cache, and return how much was made."""
    with SqliteCache(place) as cache:
        return made(folder, cache)[2]


def test_the_second_time_nothing_is_made_anew_and_the_bytes_are_the_same(place: Path, tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", None)
    assert filled(place, tmp_path / "first") > 6

    with SqliteCache(place) as cache:
        again = made(tmp_path / "again", cache)

    assert again == (*plain[:2], 0)
    assert files(tmp_path / "again") == files(tmp_path / "plain") == files(tmp_path / "first")


def test_only_what_changed_is_made_anew(place: Path, tmp_path: Path) -> None:
    filled(place, tmp_path / "first")

    with SqliteCache(place) as cache:
        assert made(tmp_path / "again", cache, NEW[:-CHUNK] + text(8))[2] == 2


def test_another_level_is_another_frame(place: Path, tmp_path: Path) -> None:
    filled(place, tmp_path / "first")

    with SqliteCache(place) as cache:
        made(tmp_path / "again", cache, level=5)
    made(tmp_path / "plain", None, level=5)

    assert files(tmp_path / "again") == files(tmp_path / "plain")


def spoil(place: Path, change: Callable[[bytes], bytes]) -> None:
    """Change every frame that is kept."""
    database = sqlite3.connect(place / FILE)
    for key, frame in database.execute("SELECT key, frame FROM frames").fetchall():
        database.execute("UPDATE frames SET frame = ? WHERE key = ?", (change(frame), key))
    database.commit()
    database.close()


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]),
    "cut short": lambda frame: frame[: len(frame) // 2],
    "nothing": lambda _: b"",
    "longer": lambda frame: frame + b"more",
    "of other bytes": lambda _: zstandard.compress(text(1000)),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_was_spoiled_is_made_anew(place: Path, tmp_path: Path, how: str) -> None:
    first = filled(place, tmp_path / "first")
    spoil(place, SPOILED[how])

    with SqliteCache(place) as cache:
        assert made(tmp_path / "again", cache)[2] == first
    assert files(tmp_path / "again") == files(tmp_path / "first")

    with SqliteCache(place) as cache:
        assert made(tmp_path / "third", cache)[2] == 0


@pytest.mark.parametrize("contents", [b"", b"no database at all" * 100, None])
def test_a_broken_file_costs_time_once_and_no_bundle(place: Path, tmp_path: Path, contents: bytes | None) -> None:
    filled(place, tmp_path / "first")
    whole = (place / FILE).read_bytes()
    (place / FILE).write_bytes(whole[: len(whole) // 2] if contents is None else contents)

    for number in range(3):
        with SqliteCache(place) as cache:
            made(tmp_path / f"again-{number}", cache)
        assert files(tmp_path / f"again-{number}") == files(tmp_path / "first")
    with SqliteCache(place) as cache:
        assert made(tmp_path / "last", cache)[2] == 0


def test_a_place_that_cannot_be_used_is_said_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")

    with SqliteCache(tmp_path / "taken") as cache:
        made(tmp_path / "again", cache)
    made(tmp_path / "plain", None)

    assert cache.problem is not None
    assert files(tmp_path / "again") == files(tmp_path / "plain")
    assert (tmp_path / "taken").read_text() == "a file"


def test_what_was_not_used_for_longest_goes_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = {key_of(number): bytes([number]) * 1000 for number in range(10)}
    for now, (key, frame) in enumerate(frames.items()):
        monkeypatch.setattr("time.time", partial(float, now))
        with SqliteCache(place) as cache:
            cache.frame(key, frame.__eq__, partial(bytes, frame))
    monkeypatch.setattr("time.time", lambda: 100)
    with SqliteCache(place) as cache:
        cache.frame(key_of(0), frames[key_of(0)].__eq__, lambda: pytest.fail("it was kept"))

    with SqliteCache(place, size_max=5000):
        pass

    database = sqlite3.connect(place / FILE)
    kept = {key for (key,) in database.execute("SELECT key FROM frames")}
    database.close()
    assert kept == {key_of(number) for number in (0, 7, 8, 9)}


def test_nobody_else_may_look(place: Path, tmp_path: Path) -> None:
    filled(place, tmp_path / "first")

    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_several_threads_and_two_packagers_share_it(place: Path) -> None:
    right = {key_of(number): text(number, 5000) for number in range(40)}

    def ask(cache: SqliteCache, key: bytes) -> bytes:
        return cache.frame(key, right[key].__eq__, lambda: right[key])

    with SqliteCache(place) as one, SqliteCache(place) as other, ThreadPoolExecutor(8) as pool:
        for cache in (one, other):
            assert list(pool.map(partial(ask, cache), right)) == list(right.values())
    assert (one.problem, other.problem) == (None, None)

    with SqliteCache(place) as again:
        for key, frame in right.items():
            assert again.frame(key, frame.__eq__, lambda: pytest.fail("it was kept")) == frame


def test_keys_do_not_run_into_each_other() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("ab", b"c", b""), key_of(1, 2), key_of(12)}) == 6


@pytest.mark.parametrize(("frame", "told"), [(b"", False), (b"\x28\xb5\x2f\xfd", False), (zstandard.compress(b"abc"), True)])
def test_a_frame_is_asked_what_it_gives(frame: bytes, told: bool) -> None:
    assert gives(frame, b"abc") is told
