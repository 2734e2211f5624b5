from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from usbupdate.device.exposure import Reach, changeable, exposed

if TYPE_CHECKING:
    from pathlib import Path

SOMEBODY = 1234
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "etc" / "inner"
    folder.mkdir(parents=True)
    for each in (folder.parent, folder):
        each.chmod(0o755)
    (folder / "file").touch(0o644)
    return folder / "file"


def test_what_only_its_owner_may_change_is_no_exposure(file: Path) -> None:
    assert changeable(file) is None
    assert changeable(file.parent) is None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write(file: Path, mode: int) -> None:
    file.chmod(mode)
    found = changeable(file)
    assert found is not None
    assert (found.place, found.reach) == (file, Reach.WRITABLE)
    assert f"chmod go-w {file}" in found.advice


@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("above", [1, 2])
def test_a_folder_on_the_way_that_others_may_write(file: Path, mode: int, above: int) -> None:
    folder = file.parents[above - 1]
    folder.chmod(mode)
    found = changeable(file)
    assert found is not None
    assert (found.place, found.reach) == (folder, Reach.WRITABLE)


def test_a_sticky_folder_on_the_way_lets_nobody_replace_what_is_ours(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert changeable(file) is None
    # But anybody may add to it.
    assert changeable(file.parent) is not None


@needs_root
def test_what_stands_in_a_sticky_folder_and_is_somebody_elses(file: Path) -> None:
    file.parent.chmod(0o1777)
    (file.parent / "link").symlink_to(file)
    os.chown(file.parent / "link", SOMEBODY, SOMEBODY, follow_symlinks=False)
    found = changeable(file.parent / "link")
    assert found is not None
    assert found.reach is Reach.OWNED


@needs_root
@pytest.mark.parametrize("above", [0, 1])
def test_what_belongs_to_somebody_else(file: Path, above: int) -> None:
    place = (file, *file.parents)[above]
    os.chown(place, SOMEBODY, SOMEBODY)
    found = changeable(file)
    assert found is not None
    assert (found.place, found.reach) == (place, Reach.OWNED)
    assert "chown root" in found.advice


@pytest.mark.parametrize("target", ["open/file", "../etc/open/../open/file", "{}/open/file"])
def test_a_link_is_as_safe_as_the_way_behind_it(file: Path, target: str) -> None:
    folder = file.parents[1] / "open"
    folder.mkdir()
    (folder / "file").touch(0o644)
    link = file.parents[1] / "link"
    link.symlink_to(target.format(folder.parent))
    folder.chmod(0o755)
    assert changeable(link) is None
    folder.chmod(0o777)
    found = changeable(link)
    assert found is not None
    assert found.place == folder


def test_links_in_a_circle_and_missing_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for name in ("a", "missing"):
        with pytest.raises(OSError, match=name):
            changeable(tmp_path / name)


def test_a_private_folder_is_no_exposure(file: Path) -> None:
    file.parents[1].chmod(0o700)
    assert exposed(file.parents[1]) is None


@pytest.mark.parametrize(("mode", "reach"), [(0o755, Reach.READABLE), (0o701, Reach.READABLE), (0o770, Reach.WRITABLE)])
def test_a_private_folder_that_is_open(file: Path, mode: int, reach: Reach) -> None:
    file.parents[1].chmod(mode)
    found = exposed(file.parents[1])
    assert found is not None
    assert (found.place, found.reach) == (file.parents[1], reach)


def test_a_group_that_was_chosen_may_read(file: Path) -> None:
    file.parents[1].chmod(0o750)
    assert exposed(file.parents[1]) is None


def test_something_deep_inside_that_others_may_write(file: Path) -> None:
    file.parents[1].chmod(0o700)
    file.chmod(0o666)
    found = exposed(file.parents[1])
    assert found is not None
    assert found.place == file


@needs_root
def test_something_deep_inside_that_is_somebody_elses(file: Path) -> None:
    file.parents[1].chmod(0o700)
    os.chown(file, SOMEBODY, SOMEBODY)
    found = exposed(file.parents[1])
    assert found is not None
    assert found.reach is Reach.OWNED
