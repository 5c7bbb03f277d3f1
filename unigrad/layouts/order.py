"""Layers whose order may be the alphabet's: a dict's that went through a tree map, a clone's."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from unigrad.layouts.layer import Layer

__all__ = ["unsorted"]


def unsorted(layers: Iterable[Layer]) -> list[Layer]:
    """The layers, marked where their order may not be that of their definition.

    Siblings in alphabetical order may have been sorted. That says nothing wrong of those that
    only differ in a number (``Dense_0``, ``Dense_1``), and of layers of different kinds.
    """
    found = list(layers)
    siblings: dict[tuple[str, ...], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for i, layer in enumerate(found):
        path = tuple(layer.name.split("/"))
        for k, step in enumerate(path):
            siblings[path[:k]][step].add(i)
    doubtful: set[int] = set()
    for children in siblings.values():
        if list(children) == sorted(children):
            doubtful |= _mixed(children, found)
    return [replace(x, ordered=False) if i in doubtful else x for i, x in enumerate(found)]


def _mixed(children: dict[str, set[int]], layers: list[Layer]) -> set[int]:
    """Those layers whose kind lies below siblings that do not only differ in a number."""
    kinds: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for name, below in children.items():
        stem = re.sub(r"_?\d+$", "", name)
        for i in below:
            kinds[layers[i].kind][stem].add(i)
    return {
        i for stems in kinds.values() if len(stems) > 1 for below in stems.values() for i in below
    }
