"""Rules of functions that choose among values or cut them: ``where``, ``clip``, ``piecewise``, ...

The choice itself has no derivative. Clip passes the cotangent at its bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, primal
from unigrad.engine.table import NO_VALUE, composite, forbid_boxes, refuse
from unigrad.errors import TracingError

__all__: list[str] = []

_WHERE = Rule(
    "where",
    [
        None,
        lambda g, ans, condition, x, y: np.where(condition, g, 0.0),
        lambda g, ans, condition, x, y: np.where(condition, 0.0, g),
    ],
    symmetric=True,
)


@composite("where")
def _where(condition: Any, *branches: Any) -> Any:
    if isinstance(condition, Box):
        condition = np.not_equal(condition, 0)  # type: ignore[call-overload]
    if not branches:
        return np.nonzero(condition)
    return apply(_WHERE, np.where, (condition, *branches))


@composite("select")
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if len(condlist) == 0:
        raise ValueError("select with an empty condition list is not possible")
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result


@composite("piecewise")
def _piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **options: Any) -> Any:
    several = (list, tuple, np.ndarray, Box)
    if np.isscalar(condlist) or (not isinstance(condlist[0], several) and np.ndim(x)):
        condlist = [condlist]
    conditions: list[Any] = [
        c if isinstance(c, Box) else np.asarray(c, dtype=bool) for c in condlist
    ]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(np.stack(conditions), axis=0))
    elif len(funclist) != len(conditions):
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or "
            f"{len(conditions) + 1} functions are expected"
        )
    out = np.zeros_like(x)
    # Each function sees the entries of its own piece only, as in NumPy: by a boolean index.
    for condition, f in zip(conditions, funclist, strict=True):
        if not callable(f):
            out[condition] = f
        elif (piece := x[condition]).size:
            out[condition] = f(piece, *args, **options)
    return out


# ------------------------------------------------------------------------- clip


def _within(x: Any, low: Any, high: Any) -> Any:
    inside = True if low is None else x >= low
    return inside if high is None else inside & (x <= high)


def _below(x: Any, low: Any, high: Any) -> Any:
    return (x < low) if high is None else (x < low) & (low <= high)


def _above(x: Any, low: Any, high: Any) -> Any:
    return (x > high) if low is None else (x > high) | (low > high)


_CLIP = Rule(
    "clip",
    [
        lambda g, ans, x, low, high: np.where(_within(x, low, high), g, 0.0),
        lambda g, ans, x, low, high: np.where(_below(x, low, high), g, 0.0),
        lambda g, ans, x, low, high: np.where(_above(x, low, high), g, 0.0),
    ],
    symmetric=True,
)


@composite("clip")
def _clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
    **options: Any,
) -> Any:
    refuse("clip", {"out": out, **options})
    bounds = []
    for bound, named in ((a_min, min), (a_max, max)):
        given = bound if named is None or named is NO_VALUE else named
        given = None if given is NO_VALUE else given
        bounds.append(np.asarray(given) if isinstance(given, (list, tuple)) else given)
    a = np.asarray(a) if isinstance(a, (list, tuple)) else a
    if bounds[0] is None and bounds[1] is None:
        return np.copy(a)
    return apply(_CLIP, _clipped, (a, *bounds))


def _clipped(x: Any, low: Any, high: Any) -> Any:
    return np.clip(x, low, high)


# ------------------------------------------------------------------------- what is not a number

_NAN_TO_NUM = Rule(
    "nan_to_num", [lambda g, ans, x, **_: np.where(np.isfinite(x), g, 0.0)], symmetric=True
)


@composite("nan_to_num")
def _nan_to_num(x: Any, copy: Any = True, **options: Any) -> Any:
    if not copy:
        raise TracingError(
            "numpy.nan_to_num(..., copy=False) writes into its argument; assign the result "
            "instead: x = numpy.nan_to_num(x)"
        )
    forbid_boxes("nan_to_num", options)
    return apply(_NAN_TO_NUM, np.nan_to_num, (x,), options)


@composite("real_if_close")
def _real_if_close(a: Any, tol: Any = 100) -> Any:
    if not np.iscomplexobj(a):
        return a
    value = primal(a)
    if isinstance(value, Box):
        raise TracingError(
            "numpy.real_if_close of a complex array chooses its dtype by the values, which a "
            "recorded function cannot; type: numpy.real(x)"
        )
    return a if np.iscomplexobj(np.real_if_close(value, tol)) else np.real(a)


@composite("unwrap")
def _unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    axis = axis % np.ndim(p)
    steps = np.diff(primal(p), axis=axis)
    half = period / 2
    short = np.mod(steps + half, period) - half
    short = np.where((short == -half) & (steps > 0), half, short)
    turns = np.where(np.abs(steps) < (half if discont is None else discont), 0.0, short - steps)
    along = (slice(None),) * axis
    first, rest = p[(*along, slice(0, 1))], p[(*along, slice(1, None))]
    return np.concatenate([first, rest + np.cumsum(turns, axis=axis)], axis=axis)
