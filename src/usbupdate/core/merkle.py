"""The Merkle tree over a device's receipts, as RFC 6962 defines it, so that standard tools check it.

Leaves are given as leaf hashes, because those are kept when the receipts themselves are long gone.

Source: RFC 6962, section 2.1; the verification steps are those of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one leaf; its prefix keeps a leaf from being taken for a node."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def leaf_hashes(lines: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the leaf hashes of many lines; the same as `leaf_hash` of each, at half the cost."""
    sha256 = hashlib.sha256
    return tuple([sha256(b"\x00" + line).digest() for line in lines])


def leaf_hashes_in(text: bytes, limit: int) -> tuple[tuple[bytes, ...], int]:
    """Return the leaf hashes of the first `limit` lines of a text that have an end, and where the last of them ends.

    No line is copied, which would take a third of the time of an auditor's quickest look at a log.
    """
    whole = memoryview(text)
    find, fresh = text.find, hashlib.sha256(b"\x00").copy
    leaves: list[bytes] = []
    begin = 0
    for _ in range(limit):
        end = find(b"\n", begin)
        if end < 0:
            break
        leaf = fresh()
        leaf.update(whole[begin:end])
        leaves.append(leaf.digest())
        begin = end + 1
    return tuple(leaves), begin


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class GrowingTree:
    """A tree that only grows and remembers no more than one hash for each bit of its size."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        # The roots of the complete subtrees from left to right: one for each bit that is set in `size`.
        self._complete: list[bytes] = []
        for leaf in leaves:
            self.add(leaf)

    def add(self, leaf: bytes) -> None:
        """Append one leaf hash."""
        node = leaf
        size = self.size
        while size & 1:
            node = node_hash(self._complete.pop(), node)
            size >>= 1
        self._complete.append(node)
        self.size += 1

    @classmethod
    def grown(cls, size: int, subtrees: Sequence[bytes]) -> GrowingTree:
        """Return the tree of `size` leaves whose complete subtrees are these; see `subtrees`.

        Args:
            size: how many leaves it has.
            subtrees: as many as `size` has bits that are set.
        """
        tree = cls()
        tree.size, tree._complete = size, list(subtrees)
        return tree

    @property
    def subtrees(self) -> tuple[bytes, ...]:
        """The roots of the complete subtrees, from left to right: all that it takes to go on without the leaves."""
        return tuple(self._complete)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._complete:
            return EMPTY_ROOT
        node = self._complete[-1]
        for left in reversed(self._complete[:-1]):
            node = node_hash(left, node)
        return node


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    return _root(tuple(leaves))


@lru_cache(maxsize=2)
def _root(leaves: tuple[bytes, ...]) -> bytes:
    # Remembered, because an auditor asks twice: for the lines that came, and for those that were seen, mostly the same.
    fresh = hashlib.sha256(b"\x01").copy
    nodes: Sequence[bytes] = leaves
    while len(nodes) > 1:
        above: list[bytes] = []
        for left, right in zip(nodes[::2], nodes[1::2], strict=False):
            node = fresh()
            node.update(left + right)
            above.append(node.digest())
        # An odd node at the end moves up as it is, which is what splitting at the largest power of two comes to.
        nodes = [*above, nodes[-1]] if len(nodes) % 2 else above
    return nodes[0] if nodes else EMPTY_ROOT


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the audit path of the leaf at `index`, lowest node first; `0 <= index < len(leaves)`."""
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*inclusion_proof(leaves[:split], index), root(leaves[split:]))
    return (*inclusion_proof(leaves[split:], index - split), root(leaves[:split]))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Return the proof that the first `old_size` leaves are still the first ones; `0 < old_size <= len(leaves)`."""
    return _subproof(leaves, old_size, known=True)


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], tree_root: bytes) -> bool:
    """Tell whether an audit path proves that `leaf` is the leaf hash at `index` of the tree of `size` leaves."""
    if not 0 <= index < size:
        return False
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and result == tree_root


def is_consistent(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether a proof shows that the tree of `new_size` leaves begins with the tree of `old_size` leaves."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    # A complete old tree is a node of the new one, so its root is not repeated in the proof.
    path = (old_root, *proof) if old_size & (old_size - 1) == 0 else tuple(proof)
    if not path:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_result = new_result = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_result = node_hash(sibling, old_result)
            new_result = node_hash(sibling, new_result)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            new_result = node_hash(new_result, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and old_result == old_root and new_result == new_root


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _subproof(leaves: Sequence[bytes], old_size: int, *, known: bool) -> tuple[bytes, ...]:
    if old_size == len(leaves):
        return () if known else (root(leaves),)
    split = _split(len(leaves))
    if old_size <= split:
        return (*_subproof(leaves[:split], old_size, known=known), root(leaves[split:]))
    return (*_subproof(leaves[split:], old_size - split, known=False), root(leaves[:split]))
