"""Which single array is which: by shape, and by what its name says where several are alike.

Here an order says little: Flax sorts by name, so that a norm's ``bias`` precedes its ``scale``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from unigrad.models.sides import Item, Side

__all__ = ["pairs"]

_BY_SHAPE = ("dense", "embedding", "batch_norm", "layer_norm", "group_norm", "instance_norm")
"""Kinds whose arrays lie alike wherever their shapes agree, if no two axes are equally long."""

_ROLES = {
    "weight": ("weight", "kernel", "scale", "gamma", "embedding", "embeddings", "w", "g"),
    "bias": ("bias", "beta", "offset", "shift", "b"),
    "mean": ("mean", "running_mean", "moving_mean"),
    "var": ("var", "variance", "running_var", "running_variance", "moving_var", "moving_variance"),
}
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}


def pairs(
    source: Side, target: Side, rest: list[Item], wanted: list[Item]
) -> Iterator[tuple[Item, Item]]:
    """Those of ``rest`` and of ``wanted`` that belong together beyond doubt."""
    ours, theirs = _by_shape(source, rest), _by_shape(target, wanted)
    for shape, items in ours.items():
        goals = theirs.get(shape, [])
        if len(items) == len(goals):
            for item, goal in _told_apart(source, target, items, goals):
                if _is_clear(source, item, target, goal):
                    yield item, goal


def _by_shape(side: Side, items: list[Item]) -> dict[tuple[int, ...], list[Item]]:
    groups: dict[tuple[int, ...], list[Item]] = defaultdict(list)
    for item in items:
        groups[side.shapes[item]].append(item)
    return groups


def _told_apart(
    source: Side, target: Side, items: list[Item], goals: list[Item]
) -> Iterator[tuple[Item, Item]]:
    """Arrays of one shape: by their whole names, else by role, else by their numbers."""
    named, other = _by_name(source, items), _by_name(target, goals)
    if named.keys() == other.keys() and len(named) == len(items):
        yield from ((item, other[name]) for name, item in named.items())
        return
    if len(items) == 1:
        roles = {_role(source, items[0]), _role(target, goals[0])}
        if len(roles & _ROLES.keys()) < 2:
            yield items[0], goals[0]
        return
    ours, theirs = _by_role(source, items), _by_role(target, goals)
    for role, alike in ours.items():
        others = theirs.get(role, [])
        if len(alike) == len(others) and (
            len(alike) == 1 or (_numbered(source, alike) and _numbered(target, others))
        ):
            yield from zip(alike, others, strict=True)


def _path(side: Side, item: Item) -> list[str]:
    return re.split(r"[./]", side.label(item))


def _role(side: Side, item: Item) -> str:
    """What the array is in its layer: the last component of its name, or what it stands for."""
    last = _path(side, item)[-1].lower()
    return _ROLE_OF.get(last, last)


def _by_name(side: Side, items: list[Item]) -> dict[tuple[str, ...], Item]:
    return {(*_path(side, item)[:-1], _role(side, item)): item for item in items}


def _by_role(side: Side, items: list[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[_role(side, item)].append(item)
    return groups


def _numbered(side: Side, items: list[Item]) -> bool:
    """Whether the names only differ in numbers that grow, so that the order is no alphabet's."""
    names = ["/".join(_path(side, item)) for item in items]
    numbers = [[int(n) for n in re.findall(r"\d+", name)] for name in names]
    return len({re.sub(r"\d+", "", name) for name in names}) == 1 and numbers == sorted(numbers)


def _is_clear(source: Side, item: Item, target: Side, goal: Item) -> bool:
    """Whether arrays of one shape lie alike, too: no axes of theirs can have changed places."""
    if item[0] is not None and goal[0] is not None:
        return False  # two layers that do not match as a whole
    if item[0] is None and goal[0] is None:
        if source.framework == target.framework:
            return True
    else:
        layer = source.layers[item[0]] if item[0] is not None else target.layers[str(goal[0])]
        if layer.kind not in _BY_SHAPE:
            return False
    lengths = [n for n in source.shapes[item] if n != 1]
    return len(set(lengths)) == len(lengths)
