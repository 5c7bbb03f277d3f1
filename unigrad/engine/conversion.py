"""What NumPy gets when it converts a traced array: objects, or an error that says what to type.

``numpy.array([x[0], x[1]])`` is no function that could be intercepted. It makes an array of
objects, on which NumPy's arithmetic works; `core.gathered` makes a traced array of it again.
"""

from __future__ import annotations

import dis
from types import FrameType
from typing import Any

import numpy as np

from unigrad.engine.core import Alias, Box
from unigrad.errors import TracingError

__all__ = ["as_objects", "refuse_tensor"]

_CONVERTERS = frozenset({"scipy", "pandas", "sklearn", "matplotlib", "torch", "jax", "tensorflow"})
"""Packages that convert what they get to plain arrays."""


def as_objects(x: Any, asking: FrameType, dtype: Any) -> Any:
    """An object array of traced scalars.

    Args:
        x: a traced array.
        asking: the frame that called NumPy.
        dtype: what it asked for.

    Raises:
        TracingError: if the derivative would be lost.
    """
    assert isinstance(x, Box)
    shape = tuple(x.value.shape)
    _refuse_subscript(asking, shape)
    if asking.f_code.co_name in ("_mean", "_var"):
        raise TracingError(
            "numpy.mean, var and std of a list of traced values, or of the object array that "
            "numpy.array makes of them, are not followed; type numpy.mean(numpy.stack(values))"
        )
    if asking.f_code.co_name == "as_strided":  # Trap: it would read objects as numbers.
        raise TracingError(
            "numpy.lib.stride_tricks.as_strided of a traced array is not followed; "
            "type sliding_window_view, or index it"
        )
    caller = _package(asking)
    if caller in _CONVERTERS or (dtype is not None and np.dtype(dtype) != object):
        raise TracingError(
            f"a traced array of shape {shape} would be converted to a plain array "
            f"{f'by {caller} ' if caller in _CONVERTERS else ''}and its derivative lost: "
            f"numpy.array([...], dtype=float) of traced values is written numpy.stack([...]), "
            f"an array to be written into is made by numpy.zeros_like(x, shape=...) of a "
            f"traced x, functions of SciPy are found in unigrad.scipy, and a constant is "
            f"ug.stop_gradient(x)"
        )
    objects = np.empty(shape, dtype=object)
    if isinstance(x.value, np.generic):
        objects[()] = x
    else:
        for place in np.ndindex(*shape):
            entry = x[place]  # type: ignore[index]
            entry.alias = Alias(x)  # numpy.asarray(y) is y: what is written into y, it must show
            objects[place] = entry
    objects.flags.writeable = False  # numpy.asarray(y)[0] = 0 would not reach y
    return objects


def refuse_tensor(fn: Any, asking: FrameType) -> None:
    """Refuse ``numpy.polynomial`` of coefficients in several columns.

    Trap: it spreads them over ``x`` only if ``isinstance(x, numpy.ndarray)``.
    """
    module = str(asking.f_globals.get("__name__", ""))
    if module.startswith("numpy.polynomial") and asking.f_locals.get("tensor") is True:
        raise TracingError(
            f"numpy.{fn.__name__} inside numpy.polynomial, of a traced x and coefficients of more "
            f"than one dimension, is not followed; type tensor=False and reshape the "
            f"coefficients, or evaluate column by column"
        )


def _package(frame: FrameType | None) -> str:
    """The package that asks NumPy for a conversion."""
    name = "numpy"
    while frame is not None and name == "numpy":
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        frame = frame.f_back
    return name


def _refuse_subscript(frame: FrameType, shape: tuple[int, ...]) -> None:
    """Refuse a traced array as the index of a plain one, or as what is written into it."""
    running = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    if running == "STORE_SUBSCR":
        raise TracingError(
            f"a traced array of shape {shape} was assigned to entries of a plain array, or "
            f"indexes them, where its derivative is lost; make that array by "
            f"numpy.zeros_like(x, shape=...) of a traced x"
        )
    if running == "BINARY_SUBSCR":
        raise TracingError(
            "a traced value was used as the index of a plain array; an index has no "
            "derivative: use int(ug.stop_gradient(i)), or, of integers under ug.jit, "
            "numpy.take(plain, index)"
        )
