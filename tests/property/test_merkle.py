from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, strategies as st

from usbupdate.core import merkle

if TYPE_CHECKING:
    from collections.abc import Sequence

# The reference tree of the RFC 6962 implementations: eight leaves and the root after each.
LEAVES = [
    merkle.leaf_hash(bytes.fromhex(leaf))
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

sizes = st.integers(1, 70)


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(str(number).encode()) for number in range(size)]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """Return the definition of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_tree(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_many_leaves_are_hashed_as_each_by_itself() -> None:
    lines = [bytes([number]) * number for number in range(40)]
    assert merkle.leaf_hashes(lines) == tuple(map(merkle.leaf_hash, lines))
    assert merkle.leaf_hashes([]) == ()


def test_a_tree_goes_on_from_its_complete_subtrees() -> None:
    leaves = merkle.leaf_hashes(bytes([number]) for number in range(40))
    for size in range(len(leaves) + 1):
        tree = merkle.GrowingTree.grown(size, merkle.GrowingTree(leaves[:size]).subtrees)
        for leaf in leaves[size:]:
            tree.add(leaf)
        assert (tree.size, tree.root()) == (len(leaves), merkle.root(leaves))


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b""))), st.binary(max_size=9), st.integers(0, 9))
@example([], b"no line has an end", 3)
@example([b"", b"the first one is empty"], b"", 3)
@example([b"x", b"y", b"z"], b"rest", 2)
def test_lines_of_a_text_are_hashed_as_each_by_itself(lines: list[bytes], rest: bytes, limit: int) -> None:
    text = b"".join(line + b"\n" for line in lines) + rest.replace(b"\n", b"")
    leaves, end = merkle.leaf_hashes_in(text, limit)
    assert leaves == merkle.leaf_hashes(lines[:limit])
    assert end == sum(len(line) + 1 for line in lines[:limit])


def test_a_tree_that_grows_has_the_root_of_the_whole() -> None:
    leaves = merkle.leaf_hashes(bytes([number]) for number in range(130))
    for size in range(len(leaves) + 1):
        assert merkle.GrowingTree(leaves[:size]).root() == merkle.root(leaves[:size])


def test_a_leaf_is_never_taken_for_a_node() -> None:
    assert merkle.leaf_hash(b"").hex() == ROOTS[0]
    assert merkle.node_hash(LEAVES[0], LEAVES[1]).hex() == ROOTS[1]
    assert merkle.leaf_hash(LEAVES[0] + LEAVES[1]) != merkle.node_hash(LEAVES[0], LEAVES[1])


def test_every_leaf_of_every_small_tree_is_proven() -> None:
    for size in range(1, 34):
        leaves = leaves_of(size)
        root = naive_root(leaves)
        for index, leaf in enumerate(leaves):
            proof = merkle.inclusion_proof(leaves, index)
            assert merkle.is_included(leaf, index, size, proof, root)
            assert not merkle.is_included(leaf, index, size, (*proof, root), root)


def test_every_small_tree_is_proven_to_begin_with_each_smaller_one() -> None:
    leaves = leaves_of(33)
    roots = [naive_root(leaves[:size]) for size in range(34)]
    for new in range(1, 34):
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(leaves[:new], old)
            assert merkle.is_consistent(old, new, roots[old], roots[new], proof)
            assert not merkle.is_consistent(old, new, roots[old], roots[new], (*proof, roots[new]))
            assert not merkle.is_consistent(old, new, roots[old], roots[new - 1], proof)
            assert not merkle.is_consistent(old, new, roots[old - 1], roots[new], proof)
            if old < new:
                assert not merkle.is_consistent(old, new, roots[old], roots[new], ())


def test_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle.root([]) == naive_root([]) == merkle.EMPTY_ROOT


def test_proofs_are_those_of_the_reference_tree() -> None:
    # The audit path of leaf 1 of 1..5 and the consistency of 6 with 8, as other implementations publish them.
    assert [node.hex() for node in merkle.consistency_proof(LEAVES, 6)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in merkle.inclusion_proof(LEAVES[:5], 1)] == [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]


@given(st.integers(0, 200))
def test_root_is_the_one_of_the_definition(size: int) -> None:
    leaves = leaves_of(size)
    assert merkle.root(leaves) == naive_root(leaves)


@given(sizes, st.data())
def test_every_leaf_is_proven_and_at_its_own_place_only(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(-1, size + 1))
    proof = merkle.inclusion_proof(leaves, index)
    root = naive_root(leaves)
    assert merkle.is_included(leaves[index], index, size, proof, root)
    assert merkle.is_included(leaves[index], other, size, proof, root) == (other == index)
    assert not merkle.is_included(merkle.leaf_hash(b"another"), index, size, proof, root)


@given(sizes, st.data())
def test_a_changed_audit_path_proves_nothing(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(leaves, index)
    changed = (*proof, bytes(32)) if data.draw(st.booleans()) or not proof else proof[:-1]
    assert not merkle.is_included(leaves[index], index, size, changed, naive_root(leaves))


@given(sizes, st.data())
def test_a_grown_tree_is_proven_to_begin_with_the_old_one(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency_proof(leaves, old)
    assert merkle.is_consistent(old, size, naive_root(leaves[:old]), naive_root(leaves), proof)


@given(sizes, st.data())
def test_a_rewritten_tree_is_never_proven_to_begin_with_the_old_one(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    old = data.draw(st.integers(1, size))
    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, old - 1))] = merkle.leaf_hash(b"rewritten")
    proof = merkle.consistency_proof(rewritten, old)
    assert not merkle.is_consistent(old, size, naive_root(leaves[:old]), naive_root(rewritten), proof)


@given(sizes, st.data())
def test_a_changed_consistency_proof_proves_nothing(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency_proof(leaves, old)
    changed = (*proof, bytes(32)) if data.draw(st.booleans()) or not proof else proof[:-1]
    assert not merkle.is_consistent(old, size, naive_root(leaves[:old]), naive_root(leaves), changed)


@given(st.integers(-2, 9), st.integers(-2, 9), st.lists(st.just(bytes(32)), max_size=4))
def test_sizes_out_of_order_prove_nothing_and_end(old: int, new: int, proof: list[bytes]) -> None:
    roots = (merkle.root(leaves_of(max(old, 0))), merkle.root(leaves_of(max(new, 0))))
    if merkle.is_consistent(old, new, *roots, proof):
        assert 0 < old <= new


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_tree_that_grows_has_the_roots_of_trees_made_at_once(first: int, more: int) -> None:
    leaves = leaves_of(first + more)
    tree = merkle.GrowingTree(leaves[:first])
    assert tree.root() == naive_root(leaves[:first])
    for leaf in leaves[first:]:
        tree.add(leaf)
    assert (tree.size, tree.root()) == (first + more, naive_root(leaves))
