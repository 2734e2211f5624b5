"""A small office and its sticks, for tests of every side: real keys, real metadata, images of a few chunks."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from usbupdate.packager import bundle, keys, office, stick
from usbupdate.packager.bundle import Offer, Order
from usbupdate.packager.pack import Packing

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.packager.office import Office
    from usbupdate.packager.verification import CheckedStick

NOW: Final = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
CHUNK: Final = 256 << 10
FAST: Final = Packing(level=1, threads=1)


@dataclass(slots=True)
class Bench:
    """An office in a folder, and what a test does with it; `now` moves when a test says so."""

    folder: Path
    office: Office
    now: datetime = NOW

    def image(self, seed: int, chunks: int = 3) -> Path:
        """Return an image of some chunks, its middle one of zeros."""
        path = self.folder / f"image-{seed}.img"
        noise = random.Random(seed)  # noqa: S311 - bytes that look like an image, not a secret
        parts = [noise.randbytes(CHUNK) for _ in range(chunks)]
        parts[chunks // 2] = bytes(CHUNK)
        path.write_bytes(b"".join(parts) + b"the end")
        return path

    def release(self, sequence: int, name: str = "gw", **changes: object) -> Offer:
        """Make a bundle of that sequence; `changes` are fields of the order."""
        order = Order(name, f"1.{sequence}", sequence, ("acme,gw-100",), {"rootfs": self.image(sequence)})
        return bundle.create(self.office, replace(order, **changes), self.now, how=FAST)  # type: ignore[arg-type] # fields by name

    def stick(self, name: str = "stick", *wanted: str) -> Path:
        """Write a stick in a folder and return that."""
        mount = self.folder / name
        mount.mkdir(exist_ok=True)
        self.write(mount, *wanted)
        return mount

    def write(self, mount: Path, *wanted: str) -> CheckedStick:
        """Write a stick that is there."""
        return stick.write(stick.plan(self.office, self.now, stick.Wishes(wanted)), mount)

    def key(self, name: str) -> str:
        """Make a key and return its path."""
        path = self.folder / f"{name}.pem"
        if not path.exists():
            keys.create(path)
        return str(path)

    @property
    def root(self) -> bytes:
        """The root with which devices are provisioned."""
        return (self.office.path / "metadata" / "1.root.json").read_bytes()


def open_bench(folder: Path) -> Bench:
    """Return an office for one person in a folder."""
    made, missing = office.create(folder / "repo", NOW)
    assert missing == ()
    return Bench(folder, made)
