"""``reduce`` and ``accumulate`` of ufuncs: ``UFUNC_METHODS[name, method](x, **options)``.

A reduction is ``y[k+1] = f(y[k], x[k+1])``: the partial derivatives of ``f`` give those of all its
partial results, for every ufunc of two arguments that has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, primal
from unigrad.engine.rules.elementwise import quotient
from unigrad.engine.rules.reductions import filling, given, kept_dims, masked, number
from unigrad.engine.rules.scans import normal_axis, part, recurrence, reversed_along
from unigrad.engine.table import NO_VALUE, UFUNC_METHODS, UFUNCS, refuse

__all__ = ["UFUNC_METHODS"]


def _renamed(fn: Any) -> Callable[..., Any]:
    def method(x: Any, axis: Any = 0, *args: Any, **options: Any) -> Any:
        return fn(x, axis, *args, **options)

    return method


UFUNC_METHODS["add", "reduce"] = _renamed(np.sum)
UFUNC_METHODS["multiply", "reduce"] = _renamed(np.prod)
UFUNC_METHODS["add", "accumulate"] = _renamed(np.cumsum)
UFUNC_METHODS["multiply", "accumulate"] = _renamed(np.cumprod)


def _extremum(fn: Any) -> Callable[..., Any]:
    def method(
        x: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = NO_VALUE,
        where: Any = NO_VALUE,
    ) -> Any:
        x = x if dtype is None else x.astype(dtype)
        return fn(x, axis=axis, out=out, keepdims=keepdims, initial=initial, where=where)

    return method


for _name, _fn in (
    ("maximum", np.max),
    ("minimum", np.min),
    ("fmax", np.nanmax),
    ("fmin", np.nanmin),
):
    UFUNC_METHODS[_name, "reduce"] = _extremum(_fn)


# ------------------------------------------------------------------------- by recurrence


def _scanned(x: Any, ufunc: Any, axis: int) -> Any:
    """``ufunc.accumulate(x, axis)``, at every level."""
    if isinstance(x, Box):
        return apply(_RULES[ufunc.__name__][0], _scanned, (x, ufunc, axis))
    return ufunc.accumulate(x, axis=axis)


def _reduced(x: Any, ufunc: Any, axis: int) -> Any:
    """``ufunc.reduce(x, axis, keepdims=True)``, at every level."""
    if isinstance(x, Box):
        return apply(_RULES[ufunc.__name__][1], _reduced, (x, ufunc, axis))
    return ufunc.reduce(x, axis=axis, keepdims=True)


def _slopes(y: Any, x: Any, ufunc: Any, axis: int) -> tuple[Any, Any]:
    """The derivatives of each result in the one before it, and in its own entry, the first 1.

    As cotangents, that is, conjugated.
    """
    rule = UFUNCS[ufunc]
    args = part(y, axis, None, -1), part(x, axis, 1, None)
    after = part(y, axis, 1, None)
    ones = np.ones_like(after)
    p, q = (rule.pull(i, ones, after, args, {}) for i in (0, 1))
    return p, np.concatenate([np.ones_like(part(y, axis, None, 1)), q], axis)


def _pull_scanned(g: Any, ans: Any, x: Any, ufunc: Any, axis: int) -> Any:
    p, q = _slopes(ans, x, ufunc, axis)
    return q * recurrence(g, p, axis)


def _pull_reduced(g: Any, ans: Any, x: Any, ufunc: Any, axis: int) -> Any:
    p, q = _slopes(_scanned(x, ufunc, axis), x, ufunc, axis)
    later = reversed_along(np.concatenate([p, np.ones_like(part(q, axis, None, 1))], axis), axis)
    return g * q * reversed_along(np.cumprod(later, axis=axis), axis)


def _pull_logsumexp(exp: Any) -> Callable[..., Any]:
    def pull(g: Any, ans: Any, x: Any, ufunc: Any, axis: int) -> Any:
        top = np.max(primal(x), axis=axis, keepdims=True)
        weights = exp(x - np.where(np.isinf(top), 0.0, top))
        return g * quotient(weights, np.sum(weights, axis=axis, keepdims=True))

    return pull


def _pull_length(g: Any, ans: Any, x: Any, ufunc: Any, axis: int) -> Any:
    # Trap: numpy.hypot.reduce([-3.0]) is 3: it begins with hypot(0, -3).
    return g * quotient(x, ans)


_PULLS = {
    "hypot": _pull_length,
    "logaddexp": _pull_logsumexp(np.exp),
    "logaddexp2": _pull_logsumexp(np.exp2),
}
_RULES: dict[str, tuple[Rule, Rule]] = {}
_NEUTRAL = {"logaddexp": -np.inf, "logaddexp2": -np.inf, "hypot": 0.0}


def _register(name: str) -> None:
    ufunc = getattr(np, name)
    _RULES[name] = (
        Rule(f"{name}.accumulate", [_pull_scanned, None, None]),
        Rule(f"{name}.reduce", [_PULLS.get(name, _pull_reduced), None, None]),
    )

    def accumulate(x: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        refuse(f"{name}.accumulate", {"out": out})
        x = x if dtype is None else x.astype(dtype)
        axis = normal_axis(axis, len(x.shape))
        return x.copy() if x.size == 0 else _scanned(x, ufunc, axis)

    def reduce(
        x: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = NO_VALUE,
        where: Any = NO_VALUE,
    ) -> Any:
        refuse(f"{name}.reduce", {"out": out})
        if name not in _NEUTRAL:
            refuse(f"{name}.reduce", {"where": where, "initial": initial})
        x = x if dtype is None else x.astype(dtype)
        x = masked(x, where, _NEUTRAL.get(name))
        shape, ndim = x.shape, len(x.shape)
        axes = [normal_axis(a, ndim) for a in np.atleast_1d(range(ndim) if axis is None else axis)]
        if len(axes) != 1:
            if name not in _NEUTRAL:
                raise ValueError(f"reduction operation {name} is not reorderable")
            others = [i for i in range(ndim) if i not in axes]
            x = np.transpose(x, others + axes).reshape((*[shape[i] for i in others], -1))
        at = axes[0] if len(axes) == 1 else len(x.shape) - 1
        if x.shape[at] == 0:
            x = np.full_like(x, _NEUTRAL[name], shape=kept_dims(x.shape, at))
        result = _reduced(x, ufunc, at)
        kept = kept_dims(shape, tuple(axes))
        result = number(
            result.reshape(
                kept if keepdims else tuple(n for i, n in enumerate(kept) if i not in axes)
            )
        )
        return ufunc(result, filling(x, initial)) if given(initial) else result

    UFUNC_METHODS.setdefault((name, "accumulate"), accumulate)
    UFUNC_METHODS.setdefault((name, "reduce"), reduce)


# Trap: numpy.power.reduce([0.8, 0.7, 1.15]) is 0.8**1.15 in NumPy 1.26, so it is not followed.
_FOLDED = "maximum minimum fmax fmin logaddexp logaddexp2 hypot subtract divide"
for _name in _FOLDED.split():
    _register(_name)
