"""Functions of NumPy's that MXNet lacks, called on ``mx.np`` arrays.

MXNet itself computes them in NumPy, and fails if it records. While it records for unigrad, they
are computed in NumPy too, and noted: the engine differentiates them. MXNet's own are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from unigrad.errors import UnsupportedError
from unigrad_mxnet.arrays import constant, numpy_semantics, peek
from unigrad_mxnet.framework import mx
from unigrad_mxnet.hooks import original, replaced
from unigrad_mxnet.memory import before_reading
from unigrad_mxnet.recording import Recording, active, current, moves_anywhere

__all__ = ["install"]

_OWN: Any = mx.numpy.multiarray
_HELD = ("float16", "float32", "float64", "uint8", "int8", "int32", "int64", "bool")
"""The dtypes that MXNet has."""


def _array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    found = current()
    known = ufunc.__name__ in _OWN._NUMPY_ARRAY_UFUNC_DICT
    if found is None or known or method != "__call__":
        return original("array_ufunc")(self, ufunc, method, *inputs, **options)
    return _computed(found, ufunc, inputs, options)


def _array_function(
    self: Any, fn: Any, types: Any, args: Sequence[Any], options: dict[str, Any]
) -> Any:
    found = current()
    if found is None or fn in _OWN._NUMPY_ARRAY_FUNCTION_DICT:
        return original("array_function")(self, fn, types, args, options)
    return _computed(found, fn, args, options)


def _computed(
    found: Recording, fn: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
) -> Any:
    """``fn`` of these arguments in NumPy; the results are MXNet's arrays, and noted."""
    name = fn.__name__ if isinstance(fn, np.ufunc) else f"{fn.__module__}.{fn.__name__}"
    given = [*args, *options.values()]
    if any(callable(x) and not isinstance(x, type) for x in _flat(given)):
        raise _refused(name, "it is given a function, which may depend on other arrays")
    if options.get("out") is not None:
        raise _refused(name, "it is given out=, and the array would be written in place")
    arrays = [x for x in _flat(given) if isinstance(x, mx.nd.NDArray)]
    before_reading([x.handle.value for x in arrays])

    def call(xs: Sequence[Any]) -> Any:
        values = iter(xs)
        placed = [_placed(x, values) for x in given]
        return fn(*placed[: len(args)], **dict(zip(options, placed[len(args) :], strict=True)))

    results = call([peek(x) for x in arrays])
    if results is None:
        raise _refused(name, "it writes into its argument")
    made = [_made(y, name, arrays) for y in _flat([results])]
    places = [k for k, y in enumerate(made) if _is_float(y)]
    if places and any(moves_anywhere(x) for x in arrays):
        found.exact = True

        def run(xs: list[Any]) -> list[Any]:
            ys = _flat([call(xs)])
            return [y for k, y in enumerate(ys) if k in places]

        found.note(name, lambda: run, arrays, [made[k] for k in places])
    return _rebuilt(results, iter(made))


def _is_float(y: Any) -> bool:
    return isinstance(y, mx.nd.NDArray) and np.dtype(y.dtype).kind == "f"


def _flat(xs: Any) -> Iterator[Any]:
    for x in xs:
        if isinstance(x, list | tuple):
            yield from _flat(x)
        else:
            yield x


def _placed(x: Any, values: Iterator[Any]) -> Any:
    """An argument with the next of these values in place of each array of MXNet's."""
    if isinstance(x, list | tuple):
        return type(x)([_placed(y, values) for y in x])
    return next(values) if isinstance(x, mx.nd.NDArray) else x


def _made(y: Any, name: str, arrays: Sequence[Any]) -> Any:
    """A result as MXNet has it; what is no array stays."""
    if not isinstance(y, np.ndarray | np.generic | float):
        return y
    y = np.asarray(y)
    if y.dtype.name not in _HELD:
        raise _refused(name, f"its result is of {y.dtype}, which MXNet does not have")
    training = mx.autograd.is_training()
    with mx.autograd.pause(train_mode=training), numpy_semantics():
        return constant(y, arrays[0].ctx if arrays else None)


def _rebuilt(results: Any, made: Iterator[Any]) -> Any:
    if isinstance(results, list | tuple):
        parts = [_rebuilt(y, made) for y in results]
        return parts if isinstance(results, list) else tuple(parts)
    return next(made)


def _refused(name: str, why: str) -> UnsupportedError:
    if active.capture is not None:
        active.capture.seen = True
    error: UnsupportedError = UnsupportedError(
        f"{name} was called on an mx.np array in a function that is being differentiated; MXNet "
        f"has no such function, unigrad computes it in NumPy, and {why}; type: a function that "
        f"MXNet has, or compute all in NumPy: ug.to_numpy(tree)"
    )
    return error


def install() -> None:
    """Say what is replaced while something is recorded."""
    cls = mx.np.ndarray
    replaced("array_ufunc", cls, "__array_ufunc__", staticmethod(_array_ufunc))
    replaced("array_function", cls, "__array_function__", staticmethod(_array_function))
