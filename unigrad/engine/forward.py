"""Forward mode: a box carries its tangent, and operations move both at once.

A rule gives its tangent by what it declares: partial derivatives, linearity, or, for everything
else, the transpose of its pulls, which are linear in the cotangent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unigrad.engine.core import (
    FROZEN,
    Box,
    Rule,
    Trace,
    fitted,
    gathered,
    plain_constant,
    snapshot,
    used_too_late,
)
from unigrad.engine.reverse import called, owned_by, vjp

__all__ = ["Dual", "jvp"]


class Dual(Trace):
    """One forward derivative: the ``node`` of its boxes is their tangent."""

    __slots__ = ()

    derives = True

    def record(
        self,
        rule: Rule,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ans: Any,
        links: Sequence[Any],
    ) -> Any:
        if self.over:
            raise used_too_late()
        several = isinstance(ans, (tuple, list))
        if type(ans) is complex:  # Trap: 1j * numpy.float64(2.0) is a Python number.
            ans = np.complex128(ans)
        if not several and ans.dtype.kind not in "fc":
            return plain_constant(ans)
        if all(link is None for link in links):
            tangents = [None] * (len(ans) if several else 1)
        elif several:
            tangents = _transposed(rule, args, kwargs, list(ans), links, self.box)
        else:
            tangents = [_moved(rule, fn, args, kwargs, ans, links, self.box)]
        if not several:
            return self.box(ans, self, tangents[0])
        boxes = [
            self.box(y, self, t) if y.dtype.kind in "fc" else plain_constant(y)
            for y, t in zip(ans, tangents, strict=True)
        ]
        return type(ans)(*boxes) if type(ans) not in (tuple, list) else tuple(boxes)


def _moved(
    rule: Rule,
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ans: Any,
    tangents: Sequence[Any],
    box: type[Box],
) -> Any:
    """The tangent of an answer."""
    if rule.linear:
        moved = fn(*_directions(rule, args, tangents), **kwargs)
        return _shaped(moved, ans)
    if rule.multilinear:
        parts = [
            fn(*args[:i], t, *args[i + 1 :], **kwargs)
            for i, t in enumerate(tangents)
            if t is not None
        ]
        return _shaped(_total(parts), ans)
    if rule.derivatives is not None:
        parts = []
        for i, t in enumerate(tangents):
            if t is not None:
                derivative = rule.derivatives[i]
                if derivative is None:
                    raise rule.missing(i)
                parts.append(t * derivative(ans, *args))
        return _shaped(_total(parts), ans)
    real = all(getattr(a, "dtype", _REAL).kind != "c" for a in (ans, *args))
    if rule.symmetric and real:
        parts = [
            rule.pull(
                i, t if t.shape == ans.shape else np.broadcast_to(t, ans.shape), ans, args, kwargs
            )
            for i, t in enumerate(tangents)
            if t is not None
        ]
        return _shaped(_total(parts), ans)
    return _transposed(rule, args, kwargs, ans, tangents, box)[0]


_REAL = np.dtype(np.float64)


def _total(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _shaped(tangent: Any, ans: Any) -> Any:
    """A tangent with the shape and dtype of its answer."""
    if type(tangent) is complex:
        tangent = np.complex128(tangent)
    if tangent.dtype != ans.dtype:
        if tangent.dtype.kind == "c" and ans.dtype.kind != "c":
            tangent = np.real(tangent)
        tangent = tangent.astype(ans.dtype)
    return tangent if tangent.shape == ans.shape else np.broadcast_to(tangent, ans.shape)


def _directions(rule: Rule, args: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """The arguments of a linear function, moved: tangents, and zeros for what stays."""
    moved = []
    for i, (a, t) in enumerate(zip(args, tangents, strict=True)):
        if t is not None:
            moved.append(t)
        elif rule.pulls is not None and not rule.takes(i):
            moved.append(a)
        else:
            number = isinstance(a, (int, float, complex, np.generic))
            moved.append(type(a)(0) if number else np.zeros_like(a))
    return moved


def _transposed(
    rule: Rule,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ans: Any,
    tangents: Sequence[Any],
    box: type[Box],
) -> list[Any]:
    """The tangents of the answers, by transposing the pulls."""
    several = isinstance(ans, list)
    answers = ans if several else [ans]
    smooth = [k for k, y in enumerate(answers) if y.dtype.kind in "fc"]
    moved = [i for i, t in enumerate(tangents) if t is not None]

    def pull(*cotangents: Any) -> list[Any]:
        every: list[Any] = [None] * len(answers)
        for k, g in zip(smooth, cotangents, strict=True):
            every[k] = g
        given = every if several else every[0]
        if rule.joint is not None:
            joint = rule.joint(given, ans, *args, **kwargs)
            pulled = [joint[i] for i in moved]
        else:
            pulled = [rule.pull(i, given, ans, args, kwargs) for i in moved]
        return [
            np.zeros_like(args[i]) if c is None else fitted(c, args[i])
            for i, c in zip(moved, pulled, strict=True)
        ]

    _, back = vjp(pull, [np.zeros_like(answers[k]) for k in smooth], box)
    found = back([tangents[i] for i in moved])
    result: list[Any] = [None] * len(answers)
    for k, t in zip(smooth, found, strict=True):
        result[k] = t
    return result


def jvp(
    f: Callable[..., Sequence[Any]],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    box: type[Box],
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Outputs of ``f`` and their tangents (``None``: an output does not move)."""
    trace = Dual(box)
    outputs = called(
        f,
        [
            box(snapshot(x), trace, snapshot(t), FROZEN)
            for x, t in zip(primals, tangents, strict=True)
        ],
    )
    values, moved = [], []
    for y in outputs:
        y = gathered(y)
        own = owned_by(trace, y)
        values.append(y if own is None else own.value)
        moved.append(None if own is None else own.node)
    trace.close()
    return tuple(values), tuple(moved)
