"""``mx.np`` arrays as guests of the engine: plain NumPy code, differentiated and run in MXNet.

MXNet's arrays name a dtype by its type and lack some attributes, on which the rules of the
engine rely. A `Guest` holds such an array, speaks NumPy's protocols, and computes everything by
the function of the same name in ``mx.np``; where MXNet has none, it is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine import TracedArray
from unigrad.errors import TracingError
from unigrad_mxnet.framework import mx

__all__ = ["Guest", "guests"]

_RENAMED = {"amax": "max", "amin": "min", "conjugate": "copy", "round_": "round"}


def _filled(make: str) -> Callable[..., Guest]:
    def like(x: Guest, dtype: Any = None, shape: Any = None, **_: Any) -> Guest:
        kind = x.dtype if dtype is None else np.dtype(dtype)
        size = x.shape if shape is None else shape
        return Guest(getattr(mx.np, make)(size, dtype=kind.name, ctx=x.array.ctx))

    return like


_LIKE = {"zeros_like": "zeros", "ones_like": "ones", "empty_like": "zeros"}


class Guest(np.lib.mixins.NDArrayOperatorsMixin):
    """An ``mx.np`` array in the house of NumPy.

    >>> from unigrad import engine
    >>> from unigrad_mxnet.guest import guests
    >>> (x,) = guests([mx.np.array([1.0, 2.0])])
    >>> value, (gradient,) = engine.value_and_grad(lambda x: (np.sum(np.exp(x) * x),), [x])
    >>> gradient.array
    array([ 5.4365635, 22.167168 ])
    """

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    # ---------------------------------------------------------------- what it looks like

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.dtype(self.array.dtype)
        return kind

    @property
    def ndim(self) -> int:
        return len(self.array.shape)

    @property
    def size(self) -> int:
        return int(self.array.size)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> Guest:
        return Guest(self.array.T)

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return f"Guest({self.array!r})"

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        return float(self.array)

    # ---------------------------------------------------------------- NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, TracedArray) for x in inputs):
            return NotImplemented
        if method == "reduce" and ufunc is np.add:
            return self.sum(kwargs.get("axis", 0), keepdims=kwargs.get("keepdims", False))
        if method != "__call__":
            raise _missing(f"{ufunc.__name__}.{method}")
        return _called(ufunc.__name__, inputs, kwargs)

    def __array_function__(
        self, fn: Any, types: Any, args: Sequence[Any], options: dict[str, Any]
    ) -> Any:
        if any(issubclass(t, TracedArray) for t in types):
            return NotImplemented
        if fn in (np.shape, np.ndim, np.size):
            return getattr(args[0], fn.__name__)
        if fn in (np.iscomplexobj, np.isrealobj):
            return fn is np.isrealobj
        if fn is np.result_type:
            return np.result_type(*[a.dtype if isinstance(a, Guest) else a for a in args])
        name = fn.__name__
        if fn.__module__ == "numpy.linalg":
            name = f"linalg.{name}"
        return _called(name, args, options)

    # ---------------------------------------------------------------- methods that rules use

    def __getitem__(self, index: Any) -> Guest:
        return Guest(self.array[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[_index(index)] = _bare(value)

    def copy(self) -> Guest:
        return Guest(self.array.copy())

    def astype(self, dtype: Any, casting: str = "unsafe", copy: bool = True) -> Guest:
        return Guest(self.array.astype(np.dtype(dtype).name))

    def sum(self, axis: Any = None, keepdims: bool = False, dtype: Any = None, **_: Any) -> Guest:
        if dtype is None and self.dtype.kind == "b":
            dtype = np.int64
        array = self.array if dtype is None else self.array.astype(np.dtype(dtype).name)
        return Guest(array.sum(axis=axis, keepdims=keepdims))

    def mean(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Guest:
        return Guest(self.array.mean(axis=axis, keepdims=keepdims))

    def max(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Guest:
        return Guest(self.array.max(axis=axis, keepdims=keepdims))

    def min(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Guest:
        return Guest(self.array.min(axis=axis, keepdims=keepdims))

    def reshape(self, *shape: Any, order: str = "C") -> Guest:
        if order != "C":
            raise _missing(f"reshape(..., order={order!r})")
        return Guest(self.array.reshape(*shape))

    def transpose(self, *axes: Any) -> Guest:
        return Guest(self.array.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> Guest:
        return Guest(self.array.swapaxes(axis1, axis2))

    def dot(self, other: Any) -> Any:
        return _called("dot", (self, other), {})


def _bare(x: Any) -> Any:
    """Guests replaced by their arrays, NumPy's numbers by Python's."""
    if isinstance(x, Guest):
        return x.array
    if type(x) in (tuple, list):
        return type(x)(_bare(y) for y in x)
    if isinstance(x, np.generic):
        return x.item()
    return x


def _index(index: Any) -> Any:
    """An index as MXNet takes it. Trap: it reads a mask of NumPy's as integers 0 and 1."""
    found: list[Any] = []
    for i in index if type(index) is tuple else (index,):
        i = i.array.asnumpy() if isinstance(i, Guest) else i
        if isinstance(i, np.ndarray) and i.dtype.kind == "b":
            found += np.nonzero(i)
        else:
            found.append(_bare(i))
    return tuple(found) if type(index) is tuple or len(found) > 1 else found[0]


def _given(x: Any, like: str | None) -> Any:
    """An operand as MXNet takes it, in the dtype of its neighbour."""
    x = _bare(x)
    if isinstance(x, complex) or (isinstance(x, np.ndarray) and x.dtype.kind not in "fbiu"):
        raise TracingError(
            f"MXNet has no arrays of {'complex numbers' if isinstance(x, complex) else x.dtype}; "
            f"compute with NumPy arrays instead: ug.to_numpy(tree)"
        )
    if isinstance(x, np.ndarray):
        return mx.np.array(x, dtype=x.dtype.name if x.dtype.kind != "f" or not like else like)
    if isinstance(x, list):
        return [_given(y, like) for y in x]
    if isinstance(x, tuple) and any(isinstance(y, (np.ndarray, mx.np.ndarray)) for y in x):
        return tuple(_given(y, like) for y in x)
    return x


_ARITHMETIC = frozenset(
    {"add", "subtract", "multiply", "divide", "true_divide", "power", "maximum", "minimum"}
)


def _called(name: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """``mx.np.<name>`` of guests."""
    if name in _LIKE:
        return _filled(_LIKE[name])(*args, **options)
    if name == "sum":
        return args[0].sum(*args[1:], **options)
    found: Any = mx.np
    for part in _RENAMED.get(name, name).split("."):
        found = getattr(found, part, None)
    if found is None:
        raise _missing(name)
    every = _every(args)
    kinds = [a.dtype for a in every if isinstance(a, Guest)]
    like = next((k.name for k in kinds if k.kind == "f"), None)
    if name in _ARITHMETIC:  # Trap: MXNet computes a boolean times 0.5 in booleans.
        real = like or ("float64" if any(isinstance(a, float) for a in every) else None)
        if real is not None:
            args = [
                a.astype(real) if isinstance(a, Guest) and a.dtype.kind in "biu" else a
                for a in args
            ]
    options = {k: _given(v, like) for k, v in options.items() if v is not None or k == "axis"}
    dtype = options.get("dtype")
    if dtype is not None:
        options["dtype"] = np.dtype(dtype).name
    return _wrapped(found(*[_given(a, like) for a in args], **options))


def _every(args: Sequence[Any]) -> list[Any]:
    return [y for a in args for y in (_every(a) if isinstance(a, (tuple, list)) else [a])]


def _wrapped(y: Any) -> Any:
    if isinstance(y, mx.np.ndarray):
        return Guest(y)
    if isinstance(y, (tuple, list)):
        return tuple(_wrapped(z) for z in y)
    return y


def _missing(name: str) -> TracingError:
    error: TracingError = TracingError(
        f"MXNet has no function mx.np.{name}, and this function of plain NumPy code needs it; "
        f"compute with NumPy arrays instead: ug.to_numpy(tree)"
    )
    return error


def guests(arrays: Sequence[Any]) -> list[Guest]:
    """``mx.np`` arrays as the engine takes them."""
    return [Guest(x) for x in arrays]
