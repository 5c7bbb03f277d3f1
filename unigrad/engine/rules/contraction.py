"""The rule of `numpy.einsum`, in every form that it is written in.

A cotangent is another einsum: the result's labels, and those of the other operands, to its own.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, unbroadcast
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.shaping import arrayed, shape_of
from unigrad.engine.table import composite, constant, refuse, sequence_rule

__all__: list[str] = []

_WORTH_A_PLAN = 1 << 17
"""So many multiplications take longer than finding a good order of contraction."""

constant("einsum_path")


def _spelled(labels: Any) -> str:
    names = string.ascii_uppercase + string.ascii_lowercase  # in the order that einsum sorts by
    return "".join("..." if i is Ellipsis else names[i] for i in labels)


def _letters(args: Any) -> tuple[str, list[Any]]:
    """The subscripts as one string, whichever way they were given, and the operands."""
    if isinstance(args[0], str):
        return args[0].replace(" ", ""), list(args[1:])
    pairs, rest = args[: len(args) // 2 * 2], args[len(args) // 2 * 2 :]
    subscripts = ",".join(_spelled(labels) for labels in pairs[1::2])
    return subscripts + ("->" + _spelled(rest[0]) if rest else ""), list(pairs[::2])


def _expanded(subscripts: str, operands: list[Any]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, without dots and with the result spelled out."""
    left, arrow, result = subscripts.partition("->")
    labels = left.split(",")
    if len(labels) != len(operands):
        raise ValueError(f"einsum got {len(operands)} operands for the subscripts {subscripts!r}")
    if not arrow:
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        result = "..." + "".join(once)
    free = [c for c in string.ascii_letters if c not in subscripts]
    ranks = [
        len(shape_of(x)) - len(own) + 3 if "..." in own else 0
        for x, own in zip(operands, labels, strict=True)
    ]
    dots = "".join(free[: max(ranks, default=0)])
    labels = [
        own.replace("...", dots[len(dots) - rank :])
        for own, rank in zip(labels, ranks, strict=True)
    ]
    return labels, result.replace("...", dots)


def _contracted(*operands: Any, subscripts: str, labels: Any, result: str, **options: Any) -> Any:
    return np.einsum(subscripts, *operands, **options)


def _einsum_of(spelled: str, sizes: dict[str, int], operands: list[Any]) -> Any:
    work = 1
    for label in set(spelled) - set(",->"):
        work *= sizes[label]
    return np.einsum(spelled, *operands, optimize=work > _WORTH_A_PLAN)


def _pull_einsum(
    i: int, g: Any, ans: Any, *operands: Any, labels: Any, result: str, **_: Any
) -> Any:
    own, shape = labels[i], operands[i].shape
    others = [j for j in range(len(operands)) if j != i]
    unique = "".join(dict.fromkeys(own))
    met = set(result).union(*[labels[j] for j in others])
    target = "".join(c for c in unique if c in met)
    sizes: dict[str, int] = {}
    for label, n in zip("".join(labels), [n for x in operands for n in shape_of(x)], strict=True):
        sizes[label] = max(sizes.get(label, 1), n)
    spelled = ",".join([result, *[labels[j] for j in others]]) + "->" + target
    c = _einsum_of(spelled, sizes, [g, *[conjugate(operands[j]) for j in others]])
    lengths = dict(zip(own, shape, strict=True))
    found = dict(zip(target, c.shape, strict=True))
    if target != unique:
        c = np.reshape(c, tuple(found.get(label, 1) for label in unique))
    inner = tuple(lengths[label] for label in unique)
    if c.shape != inner:
        c = unbroadcast(c, inner)
    if len(unique) == len(own):
        return c
    return _replicated(c, unique, own, shape)


def _replicated(c: Any, unique: str, own: str, shape: tuple[int, ...]) -> Any:
    """Zeros of this shape with ``c`` where equal labels have equal indices."""
    if isinstance(c, Box):
        options = {"unique": unique, "own": own, "shape": shape}
        return apply(_REPLICATED, _replicated, (c,), options)
    places = {
        label: np.reshape(np.arange(n), [-1 if m == label else 1 for m in unique])
        for label, n in zip(own, shape, strict=True)
    }
    out = np.zeros_like(c, shape=shape)
    out[tuple(places[label] for label in own)] = c
    return out


_REPLICATED = Rule(
    "a diagonal of einsum",
    [lambda g, ans, c, unique, own, **_: np.einsum(f"{own}->{unique}", g)],
    linear=True,
)
_EINSUM = sequence_rule("einsum", _pull_einsum, multilinear=True)
_EINSUM_VIEW = Rule("einsum", _EINSUM.pulls, multilinear=True, view=True)


@composite("einsum")
def _einsum(*args: Any, out: Any = None, **options: Any) -> Any:
    refuse("einsum", {"out": out})
    subscripts, operands = _letters(args)
    operands = [arrayed(x) for x in operands]
    labels, result = _expanded(subscripts, operands)
    # Without a sum over its only operand, einsum gives a view of it.
    view = len(operands) == 1 and set(result) == set(labels[0])
    spelled = {"subscripts": subscripts, "labels": tuple(labels), "result": result}
    return apply(_EINSUM_VIEW if view else _EINSUM, _contracted, operands, {**spelled, **options})
