"""Trees of arrays: optree under a namespace of our own, and the names of leaves in messages.

``None`` is a node without leaves. Register further classes with ``optree.register_pytree_node(
cls, flatten, unflatten, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import optree

__all__ = ["NAMESPACE", "Flattener", "TreeDef", "flatten", "map_leaves", "paths", "unflatten"]

NAMESPACE = "unigrad"

TreeDef: TypeAlias = "optree.PyTreeSpec"


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """Leaves in order, and the structure that they came from."""
    return optree.tree_flatten(tree, namespace=NAMESPACE)


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves."""
    return optree.tree_unflatten(treedef, leaves)


class Flattener:
    """`flatten`, several times as fast where lists, tuples and dicts hold leaves of known types.

    Args:
        leaf_types: types that are no nodes.
        is_array: whether a further type is that of an array, which is no node either.
    """

    def __init__(self, leaf_types: Iterable[type], is_array: Callable[[type], bool]) -> None:
        self._leaf_types = set(leaf_types)
        self._is_array = is_array
        self._treedefs: dict[Hashable, TreeDef] = {}
        self._numbers: dict[TreeDef, int] = {}
        self._counter = itertools.count()

    def __call__(self, tree: Any) -> tuple[list[Any], TreeDef | None, Hashable]:
        """Leaves, structure (``None`` for a lone leaf of a known type), and signature.

        Trees of one signature have the same structure and the same types of leaves.
        """
        kind: Any = type(tree)
        if kind in self._leaf_types or self._is_leaf(kind):
            return [tree], None, kind
        leaves: list[Any] = []
        signature: Any = self._take(tree, leaves)
        if signature is None:
            leaves, treedef = flatten(tree)
            return leaves, treedef, (self._number(treedef), tuple(map(type, leaves)))
        known = self._treedefs.get(signature)
        if known is None:
            known = flatten(tree)[1]
            if type(known) is optree.PyTreeSpec:  # torch.compile has its own, for its graphs alone
                if len(self._treedefs) >= LIMIT:
                    self._treedefs = {}
                self._treedefs[signature] = known
        return leaves, known, signature

    def _number(self, treedef: TreeDef) -> Hashable:
        # Trap: torch.compile follows the code that looks a signature up, but no hash of optree's.
        try:
            number = self._numbers.get(treedef)
        except TypeError:  # a registered class whose structure cannot be hashed
            return treedef
        if number is None:
            if len(self._numbers) >= LIMIT:
                self._numbers = {}
            number = self._numbers[treedef] = next(self._counter)
        return number

    def _is_leaf(self, kind: type) -> bool:
        if kind in _CONTAINERS or not self._is_array(kind):
            return False
        self._leaf_types.add(kind)
        return True

    def _take(self, tree: Any, leaves: list[Any]) -> Hashable | None:
        """Append the leaves in optree's order; ``None`` where only optree knows it."""
        kind = type(tree)
        # Trap: optree takes dicts of another insertion order as equal, but a function that goes
        # through its dict may not: the keys are in the signature as they were inserted.
        if kind is dict:
            keys = tuple(tree)
            if not _NAMES.issuperset(map(type, keys)):
                return None  # 1, 1.0 and True are one key to a dict
            entries: Sequence[Any] = [tree[key] for key in sorted(keys)]
        elif kind is list or kind is tuple:
            keys, entries = (), tree
        else:
            return None
        kinds = tuple(map(type, entries))
        if self._leaf_types.issuperset(kinds):
            leaves.extend(entries)
            return kind, keys, kinds
        inside: list[Hashable] = []
        for entry, entry_kind in zip(entries, kinds, strict=True):
            if entry_kind in self._leaf_types or self._is_leaf(entry_kind):
                leaves.append(entry)
                inside.append(entry_kind)
                continue
            below = self._take(entry, leaves)
            if below is None:
                return None
            inside.append(below)
        return kind, keys, tuple(inside)


_CONTAINERS = {list, tuple, dict}
_NAMES = {str}
LIMIT = 1000
"""Signatures that are kept; a program that makes ever new ones starts again here."""


def map_leaves(f: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with ``f`` applied to every leaf."""
    leaves, treedef = flatten(tree)
    return unflatten(treedef, [f(leaf) for leaf in leaves])


def paths(tree: Any, root: str = "") -> list[str]:
    """How a user would write each leaf, given the name of the whole.

    >>> paths({"layer1": [1.0, 2.0]}, "params")
    ["params['layer1'][0]", "params['layer1'][1]"]
    """
    found, _, _ = optree.tree_flatten_with_accessor(tree, namespace=NAMESPACE)
    return [accessor.codify(root) for accessor in found]


def names(roots: Sequence[str], trees: Sequence[Any]) -> list[str]:
    """`paths` of several named trees, one after another."""
    return [path for root, tree in zip(roots, trees, strict=True) for path in paths(tree, root)]
