"""Names of a model's arrays: their paths in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

__all__ = ["joined"]


def joined(path: Sequence[Any]) -> str:
    """``layers/0/weight``: a path of JAX's keys, or of plain ones, as a name."""
    return "/".join(_plain(key) for key in path)


def _plain(key: Any) -> str:
    match key:
        case jax.tree_util.GetAttrKey():
            return str(key.name)
        case jax.tree_util.SequenceKey():
            return str(key.idx)
        case jax.tree_util.DictKey() | jax.tree_util.FlattenedIndexKey():
            return str(key.key)
    return str(key)
