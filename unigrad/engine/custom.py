"""Derivative rules of the user's own, at every level of nesting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, Trace, innermost, snapshot
from unigrad.errors import TracingError

__all__ = ["custom_vjp"]


def custom_vjp(
    forward: Callable[..., tuple[Sequence[Any], Sequence[Any]]],
    backward: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]],
    primals: Sequence[Any],
) -> tuple[Any, ...]:
    """Outputs of ``forward(*primals) -> (outputs, residuals)``, with a rule of one's own.

    ``backward(residuals, cotangents)`` gives the cotangents of the primals. It is followed by
    outer derivatives; there, too, the outputs (also where they are kept as residuals) have
    this rule.
    """
    top = innermost(primals)
    if top is None or not top.home.derives:  # nothing to differentiate, or only recorded
        return tuple(_apart(y, primals) for y in forward(*primals)[0])
    values = _inside(primals, top.home)
    outputs, residuals = forward(*values)
    return _linked(backward, tuple(outputs), tuple(residuals), values, primals, top)


def _apart(y: Any, primals: Sequence[Any]) -> Any:
    """An output that shares no memory with the arguments, as under a derivative."""
    if isinstance(y, Box):
        return snapshot(y)
    shared = isinstance(y, np.ndarray) and any(
        isinstance(x, np.ndarray) and np.may_share_memory(x, y) for x in primals
    )
    return y.copy() if shared else y


def _inside(xs: Sequence[Any], trace: Trace) -> tuple[Any, ...]:
    return tuple(x.value if isinstance(x, Box) and x.home is trace else x for x in xs)


def _linked(
    backward: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]],
    outputs: tuple[Any, ...],
    residuals: tuple[Any, ...],
    values: tuple[Any, ...],
    primals: Sequence[Any],
    top: Box,
) -> tuple[Any, ...]:
    """The outputs, computed on ``values``, as the custom rule's outputs of ``primals``."""
    for x in (*outputs, *residuals):
        if isinstance(x, Box) and x.home.level >= top.home.level:
            raise TracingError(
                "a function with a custom derivative uses a differentiated value that is not "
                "among its arguments; pass it as an argument"
            )
    below = innermost(values)
    if below is not None and below.home.derives:
        level = below.home
        lower = _inside(outputs, level), _inside(residuals, level), _inside(values, level)
        linked = _linked(backward, *lower, values, below)
        same = {id(old): new for old, new in zip(outputs, linked, strict=True)}
        residuals = tuple(same.get(id(r), r) for r in residuals)
        outputs = linked

    def joint(cotangents: Sequence[Any], answers: Sequence[Any], *_: Any) -> Sequence[Any]:
        # Copies: a rule such as `u *= 2` would write into the cotangents of others.
        filled = [
            np.zeros_like(y) if c is None else c.copy()
            for c, y in zip(cotangents, answers, strict=True)
        ]
        return backward(residuals, filled)

    links = [x.node if isinstance(x, Box) and x.home is top.home else None for x in primals]
    rule = Rule("custom_vjp", joint=joint)
    return tuple(top.home.record(rule, custom_vjp, list(values), {}, outputs, links))
