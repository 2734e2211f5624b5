"""Kept frames save time and change nothing: not the bytes, and not whether a bundle can be made."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from usbupdate.core.words import SlotClass
from usbupdate.packager import cachefile, delta, pack, similarity
from usbupdate.packager.framecache import SqliteCache, key_of
from usbupdate.packager.pack import Packing, gives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from usbupdate.core.manifest import Artifact, Delta
    from usbupdate.packager.framecache import FrameCache

ROOTFS = SlotClass("rootfs")
CHUNK = 256 << 10
FILE = "frames.sqlite3"
GIB = 1 << 30


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


def made(
    folder: Path, cache: FrameCache | None, image: bytes = NEW, level: int = 3, threads: int = 2
) -> tuple[Artifact, Delta | None, int]:
    """Return what is made of an image and a base, and how much of it was made anew."""
    folder.mkdir()
    (folder / "payload").mkdir()
    (folder / "new").write_bytes(image)
    (folder / "old").write_bytes(OLD)
    how = Packing(level=level, threads=threads)
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


def cache_in(place: Path, size_max: int = GIB, free: int = 50 * GIB) -> SqliteCache:
    """Return a cache on a disk of 100 GiB, however full the one is on which this runs."""
    return SqliteCache(place, size_max, lambda _: (100 * GIB, 100 * GIB - free, free))


def filled(place: Path, folder: Path) -> int:
    """Fill the cache, and return how much was made."""
    with cache_in(place) as cache:
        return made(folder, cache)[2]


def test_the_second_time_nothing_is_made_anew_and_the_bytes_are_the_same(place: Path, tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", None)
    assert filled(place, tmp_path / "first") > 6

    with cache_in(place) as cache:
        again = made(tmp_path / "again", cache)

    assert again == (*plain[:2], 0)
    assert files(tmp_path / "again") == files(tmp_path / "plain") == files(tmp_path / "first")


def test_only_what_changed_is_made_anew(place: Path, tmp_path: Path) -> None:
    filled(place, tmp_path / "first")

    with cache_in(place) as cache:
        assert made(tmp_path / "again", cache, NEW[:-CHUNK] + text(8))[2] == 2


def test_for_what_changed_a_base_is_not_looked_at_again(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(place, tmp_path / "first")
    image = NEW[:-CHUNK] + text(8)
    plain = made(tmp_path / "plain", None, image)

    monkeypatch.setattr(similarity, "survey", lambda *_: pytest.fail("it was looked at"))
    with cache_in(place) as cache:
        assert made(tmp_path / "again", cache, image)[:2] == plain[:2]
    assert files(tmp_path / "again") == files(tmp_path / "plain")


@pytest.mark.parametrize("threads", [1, 5])
def test_the_number_of_threads_changes_nothing(place: Path, tmp_path: Path, threads: int) -> None:
    filled(place, tmp_path / "first")

    with cache_in(place) as cache:
        made(tmp_path / "again", cache, threads=threads)
    made(tmp_path / "plain", None, threads=threads)

    assert files(tmp_path / "again") == files(tmp_path / "plain") == files(tmp_path / "first")


def test_another_level_is_another_frame(place: Path, tmp_path: Path) -> None:
    filled(place, tmp_path / "first")

    with cache_in(place) as cache:
        made(tmp_path / "again", cache, level=5)
    made(tmp_path / "plain", None, level=5)

    assert files(tmp_path / "again") == files(tmp_path / "plain")


def spoil(place: Path, change: Callable[[bytes], bytes]) -> None:
    """Change every frame that is kept."""
    with contextlib.closing(sqlite3.connect(place / FILE)) as database, database:
        for key, frame in database.execute("SELECT key, frame FROM frames").fetchall():
            database.execute("UPDATE frames SET frame = ? WHERE key = ?", (change(frame), key))


def kept(place: Path) -> set[bytes]:
    """Return the keys of what is kept."""
    with contextlib.closing(sqlite3.connect(place / FILE)) as database:
        return {key for (key,) in database.execute("SELECT key FROM frames")}


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]),
    "cut short": lambda frame: frame[: len(frame) // 2],
    "nothing": lambda _: b"",
    "longer": lambda frame: frame + b"more",
    "of other bytes": lambda _: zstandard.compress(text(1000)),
}


def test_a_frame_of_another_level_is_not_taken_though_it_gives_the_right_bytes(place: Path) -> None:
    right = zstandard.compress(OLD, 3)
    with cache_in(place) as cache:
        cache.frame(key_of("level 3"), lambda frame: gives(frame, OLD), lambda: right)
    spoil(place, lambda _: zstandard.compress(OLD, 19))

    with cache_in(place) as cache:
        assert cache.frame(key_of("level 3"), lambda frame: gives(frame, OLD), lambda: right) == right


def test_a_whole_row_under_the_key_of_another_is_not_taken(place: Path) -> None:
    with cache_in(place) as cache:
        for name in ("one", "other"):
            cache.frame(key_of(name), bool, name.encode)
    with contextlib.closing(sqlite3.connect(place / FILE)) as database, database:
        database.execute("DELETE FROM frames WHERE key = ?", (key_of("one"),))
        database.execute("UPDATE frames SET key = ? WHERE key = ?", (key_of("one"), key_of("other")))

    with cache_in(place) as cache:
        assert cache.frame(key_of("one"), bool, lambda: b"one") == b"one"


@pytest.mark.parametrize("how", SPOILED)
def test_what_was_spoiled_is_made_anew(place: Path, tmp_path: Path, how: str) -> None:
    first = filled(place, tmp_path / "first")
    spoil(place, SPOILED[how])

    with cache_in(place) as cache:
        assert made(tmp_path / "again", cache)[2] == first
    assert files(tmp_path / "again") == files(tmp_path / "first")

    with cache_in(place) as cache:
        assert made(tmp_path / "third", cache)[2] == 0


@pytest.mark.parametrize("contents", [b"", b"no database at all" * 100, None])
def test_a_broken_file_costs_time_once_and_no_bundle(place: Path, tmp_path: Path, contents: bytes | None) -> None:
    filled(place, tmp_path / "first")
    whole = (place / FILE).read_bytes()
    (place / FILE).write_bytes(whole[: len(whole) // 2] if contents is None else contents)

    for number in range(3):
        with cache_in(place) as cache:
            made(tmp_path / f"again-{number}", cache)
        assert files(tmp_path / f"again-{number}") == files(tmp_path / "first")
    with cache_in(place) as cache:
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
        with cache_in(place) as cache:
            cache.frame(key, frame.__eq__, partial(bytes, frame))
    monkeypatch.setattr("time.time", lambda: 100)
    with cache_in(place) as cache:
        cache.frame(key_of(0), frames[key_of(0)].__eq__, lambda: pytest.fail("it was kept"))

    with cache_in(place, 5000 + 6 * 128):
        pass

    assert kept(place) == {key_of(number) for number in (0, 7, 8, 9)}


def fill(cache: FrameCache, numbers: range, size: int = 10_000) -> None:
    for number in numbers:
        cache.frame(key_of(number), lambda _: True, partial(text, number, size))


def test_it_is_never_larger_than_it_may_be_while_it_grows(place: Path) -> None:
    size_max = 1 << 20
    sizes = []
    with cache_in(place, size_max) as cache:
        for number in range(400):
            fill(cache, range(number, number + 1))
            sizes.append((place / FILE).stat().st_size)
    assert size_max // 2 < max(sizes) < size_max * 1.3
    assert key_of(399) in kept(place)
    assert key_of(0) not in kept(place)


def test_what_would_drive_out_much_else_is_not_kept(place: Path) -> None:
    with cache_in(place, 1 << 20) as cache:
        fill(cache, range(50))
        cache.frame(key_of("large"), bool, lambda: bytes(1 << 18))
    assert kept(place) == {key_of(number) for number in range(50)}


def test_what_a_larger_cache_has_left_is_given_back(place: Path) -> None:
    with cache_in(place) as cache:
        fill(cache, range(400))
    assert (place / FILE).stat().st_size > 4_000_000
    with cache_in(place, 1 << 20) as cache:
        pass
    assert (place / FILE).stat().st_size < 1_300_000
    assert cache.problem is None


def test_on_a_disk_that_is_nearly_full_what_is_there_is_used_and_nothing_added(place: Path) -> None:
    with cache_in(place) as cache:
        fill(cache, range(10))
    with cache_in(place, free=GIB + 50_000) as cache:
        fill(cache, range(20))
    assert kept(place) == {key_of(number) for number in range(10)}
    assert cache.problem == "the disk is nearly full"

    with cache_in(place, free=GIB + 50_000) as cache:
        assert cache.frame(key_of(3), lambda _: True, lambda: pytest.fail("it was kept")) == text(3, 10_000)
    assert cache.problem is None


def test_of_a_small_disk_a_part_is_left(place: Path) -> None:
    with SqliteCache(place, disk=lambda _: (10 * GIB, 9 * GIB, GIB // 2)) as cache:
        fill(cache, range(3))
    assert len(kept(place)) == 0
    with SqliteCache(place, disk=lambda _: (10 * GIB, 9 * GIB, GIB - GIB // 3)) as cache:
        fill(cache, range(3))
    assert len(kept(place)) == 3


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let new files be as open as whoever makes them asks for."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


@pytest.mark.usefixtures("open_umask")
def test_nobody_else_may_look_from_the_first_byte_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def watched(path: str, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - whatever it is called with
        seen.append(modes(place))
        return connect(path, **options)

    monkeypatch.setattr("sqlite3.connect", watched)
    with cache_in(place, 1 << 20) as cache:
        for number in range(100):
            fill(cache, range(number, number + 1))
            seen.append(modes(place))
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert all(each == {0o600} for each in seen)


def test_a_file_that_others_may_read_is_replaced(place: Path) -> None:
    place.mkdir(parents=True)
    (place / FILE).touch()
    (place / FILE).chmod(0o644)
    other = (place / FILE).open("rb")
    with other, cache_in(place) as cache:
        fill(cache, range(3))
    assert modes(place) == {0o600}


def test_a_link_is_replaced_and_what_it_names_left_alone(place: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"")
    place.mkdir(parents=True)
    (place / FILE).symlink_to(tmp_path / "precious")
    with cache_in(place) as cache:
        fill(cache, range(3))
    assert (tmp_path / "precious").read_bytes() == b""
    assert len(kept(place)) == 3


FOREIGN = {
    "another table": ("CREATE TABLE others (a)",),
    "a table more": ("CREATE TABLE others (a)", *cachefile._SCHEMA),
    "other columns": ("CREATE TABLE frames (key BLOB PRIMARY KEY, used INTEGER, size INTEGER, frame BLOB)",),
    "a trigger": (*cachefile._SCHEMA, "CREATE TRIGGER t AFTER INSERT ON frames BEGIN DELETE FROM frames; END"),
    "a view of that name": ("CREATE VIEW frames AS SELECT 1 AS key, 2 AS frame",),
    "a newer journal": ("PRAGMA journal_mode = WAL", "CREATE TABLE others (a)"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_database_of_something_else_is_replaced_at_once(place: Path, what: str) -> None:
    place.mkdir(parents=True, mode=0o700)
    (place / FILE).touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(place / FILE)) as database, database:
        for statement in FOREIGN[what]:
            database.execute(statement)

    with cache_in(place) as cache:
        fill(cache, range(3))

    assert cache.problem is None
    assert len(kept(place)) == 3
    assert [file.name for file in place.iterdir()] == [FILE]


@pytest.mark.parametrize("at", [16, 18, 44, 100, 4096, 4096 * 3])
def test_a_file_that_is_damaged_in_some_place_costs_no_more_than_its_contents(place: Path, at: int) -> None:
    with cache_in(place) as cache:
        fill(cache, range(20))
    with (place / FILE).open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 64)

    for _ in range(2):
        with cache_in(place) as cache:
            fill(cache, range(20))
        assert cache.problem is None
    with cache_in(place) as cache:
        for number in range(20):
            cache.frame(key_of(number), text(number, 10_000).__eq__, lambda: pytest.fail("it was kept"))


def test_a_file_that_is_damaged_meanwhile_is_replaced_and_used_on(place: Path) -> None:
    with cache_in(place, 1 << 20) as cache:
        fill(cache, range(40))
        (place / FILE).write_bytes(b"\xff" * (place / FILE).stat().st_size)
        fill(cache, range(100, 140))
    assert cache.problem is None
    assert key_of(139) in kept(place)


def test_several_threads_and_two_packagers_share_it(place: Path) -> None:
    right = {key_of(number): text(number, 5000) for number in range(40)}

    def ask(cache: SqliteCache, key: bytes) -> bytes:
        return cache.frame(key, right[key].__eq__, lambda: right[key])

    with cache_in(place) as one, cache_in(place) as other, ThreadPoolExecutor(8) as pool:
        for cache in (one, other):
            assert list(pool.map(partial(ask, cache), right)) == list(right.values())
    assert (one.problem, other.problem) == (None, None)

    with cache_in(place) as again:
        for key, frame in right.items():
            assert again.frame(key, frame.__eq__, lambda: pytest.fail("it was kept")) == frame


def test_two_packagers_at_once_write_drop_and_replace_and_get_nothing_wrong(place: Path) -> None:
    place.mkdir(parents=True, mode=0o700)
    (place / FILE).write_bytes(b"no database at all" * 100)
    right = {key_of(number): text(number, 5000) for number in range(120)}

    def work(order: list[bytes]) -> str | None:
        with cache_in(place, 200_000) as cache:
            for key in order * 3:
                assert cache.frame(key, lambda _: True, lambda: right[key]) == right[key]  # noqa: B023 - called at once
        return cache.problem

    orders = [list(right), list(reversed(right)), sorted(right)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, orders)) == [None] * 3
    assert modes(place) == {0o600}
    assert 0 < len(kept(place)) < 60


def test_keys_do_not_run_into_each_other() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("ab", b"c", b""), key_of(1, 2), key_of(12)}) == 6


@pytest.mark.parametrize(("frame", "told"), [(b"", False), (b"\x28\xb5\x2f\xfd", False), (zstandard.compress(b"abc"), True)])
def test_a_frame_is_asked_what_it_gives(frame: bytes, told: bool) -> None:
    assert gives(frame, b"abc") is told
