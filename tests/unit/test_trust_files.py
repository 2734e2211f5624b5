from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate import durable
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "1.root.json").write_bytes(b"one")
    (folder / "floor.json").write_bytes(b"floor")
    (folder / "root.json").symlink_to("inner/1.root.json")
    return folder


def test_clone_has_the_same_files_and_keeps_links(tree: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    durable.clone_tree(tree, clone)
    assert (clone / "inner" / "1.root.json").read_bytes() == b"one"
    assert str((clone / "root.json").readlink()) == "inner/1.root.json"
    assert (clone / "floor.json").stat().st_ino == (tree / "floor.json").stat().st_ino


def test_saving_into_a_clone_leaves_what_it_was_cloned_from(tree: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    durable.clone_tree(tree, clone)
    TrustFiles(clone).save_floor(b"higher")
    TrustFiles(clone).drop("floor")
    assert (tree / "floor.json").read_bytes() == b"floor"


def test_nothing_is_cloned_over_what_is_there(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        durable.clone_tree(tree, tree)


def test_removing_a_tree_removes_no_link_target_and_may_be_repeated(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tree / "link").symlink_to(outside)
    durable.remove_tree(tree)
    durable.remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_a_link_is_no_tree(tree: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tree)
    durable.remove_tree(link)
    assert (tree / "floor.json").exists()


def test_only_names_of_roots_are_versions(tmp_path: Path) -> None:
    history = tmp_path / "root_history"
    history.mkdir()
    for name in ("10.root.json", "9.root.json", "01.root.json", "0.root.json", "1.root.json.part", "x.root.json", "tmpabc"):
        (history / name).touch()
    assert TrustFiles(tmp_path).root_versions() == (9, 10)
    assert TrustFiles(history).root_versions() == ()


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    files = TrustFiles(tmp_path)
    assert (files.read("timestamp"), files.read("floor"), files.read_root(1), files.read_origin()) == (None, None, None, "")
    files.drop("timestamp")
