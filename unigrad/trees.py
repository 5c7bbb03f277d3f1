"""Trees of arrays: optree under a namespace of our own, and the names of leaves in messages.

``None`` is a node without leaves. Register further classes with ``optree.register_pytree_node(
cls, flatten, unflatten, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import optree

__all__ = ["NAMESPACE", "TreeDef", "flatten", "map_leaves", "paths", "unflatten"]

NAMESPACE = "unigrad"

TreeDef: TypeAlias = "optree.PyTreeSpec"


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """Leaves in order, and the structure that they came from."""
    return optree.tree_flatten(tree, namespace=NAMESPACE)


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves."""
    return optree.tree_unflatten(treedef, leaves)


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
