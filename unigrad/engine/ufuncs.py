"""Calls of ufuncs that need a second look: options, ``out=``, in-place operators, late rules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from unigrad.engine.core import Box
from unigrad.engine.table import UFUNCS, forbid_boxes, refuse
from unigrad.errors import TracingError

__all__ = ["HELD_ONCE", "late_rule", "refuse_options", "refuse_shared", "written_out"]


def late_rule(fn: Any) -> Any:
    """The rule of a ufunc that is not NumPy's own, registered when it is first met."""
    from unigrad.engine.rules import special

    special.register()
    rule = UFUNCS.get(fn)
    if rule is None:
        raise TracingError(
            f"the ufunc {fn.__name__} has no derivative rule in unigrad's engine; write it with "
            f"other NumPy functions, give a rule with ug.custom_vjp, or cut it out of the "
            f"derivative with ug.stop_gradient"
        )
    return rule


class _Probe:
    """Counts how often an array is referred to while ``s += probe`` runs."""

    seen = 0

    def __array_ufunc__(self, fn: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        self.seen = sys.getrefcount(kwargs["out"][0])
        return inputs[0]


def _held_once() -> int:
    s: Any = np.zeros(1)
    probe = _Probe()
    s += probe
    return probe.seen


HELD_ONCE = _held_once()
"""The references to ``s`` while ``s += x`` runs and nobody else holds ``s``."""


def refuse_shared(fn: Any) -> NoReturn:
    raise TracingError(
        f"in-place numpy.{fn.__name__} of a traced value into a plain array that has a second "
        f"name, through which the old values would be read; type x = x + v for x += v, or make "
        f"the array by numpy.zeros_like(v) of a traced v"
    )


def written_out(fn: Any, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """``fn(*inputs, out=target)``: into a traced array, or as ``plain += traced``."""
    targets = kwargs.pop("out")
    target: Any = targets[0]
    if len(targets) == 1 and isinstance(targets[0], Box):
        result = fn(*inputs, **kwargs)
        return target.written(result, f"numpy.{fn.__name__}(..., out=)")
    if len(targets) != 1 or target is not inputs[0] or type(target) is not np.ndarray:
        raise TracingError(
            f"numpy.{fn.__name__} would write a traced value into {type(target).__name__} by "
            f"out=, which cannot be differentiated; assign the result instead: y = ..., or make "
            f"the array by numpy.zeros_like(v) of a traced v"
        )
    result = fn(*inputs, **kwargs)
    if result.shape != target.shape:
        raise ValueError(
            f"in-place {fn.__name__}: shape {target.shape} cannot hold the result of shape "
            f"{result.shape}"
        )
    if target.dtype.kind not in "fc" or not np.can_cast(result.dtype, target.dtype, "same_kind"):
        raise TypeError(f"in-place {fn.__name__}: {target.dtype} cannot hold {result.dtype}")
    # `s += v` binds s to the traced result; who still holds the old array must not read from it.
    target[...] = np.nan
    return result if result.dtype == target.dtype else result.astype(target.dtype)


def refuse_options(fn: Any, kwargs: dict[str, Any]) -> None:
    unknown = set(kwargs) - {"dtype", "casting", "order", "subok", "where"}
    if fn.__name__ == "vecdot":
        unknown -= {"axis", "keepdims"}
    if unknown:
        raise TracingError(
            f"numpy.{fn.__name__}(..., {', '.join(sorted(unknown))}=...) is not followed; move "
            f"the axes of its arguments with numpy.moveaxis instead"
        )
    refuse(fn.__name__, kwargs)
    forbid_boxes(fn.__name__, kwargs)
