"""`TracedArray`: what a function receives for its arguments, speaking NumPy's own protocols.

Operators look one rule up and record; NumPy's functions and ufuncs arrive through
``__array_function__`` and ``__array_ufunc__``. What NumPy cannot show us is a `TracingError`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy import ndarray

from unigrad.engine.conversion import as_objects, refuse_tensor
from unigrad.engine.core import NOTHING, Alias, Box, apply, gathered, primal
from unigrad.engine.indexing import INDEX, add_at, is_basic, kept_index, taken, update
from unigrad.engine.reverse import KEPT_WHOLE, Tape, apply_one, apply_two
from unigrad.engine.table import (
    CONSTANT_UFUNCS,
    FUNCTIONS,
    UFUNC_METHODS,
    UFUNCS,
    refuse,
)
from unigrad.engine.ufuncs import (
    HELD_ONCE,
    late_rule,
    refuse_options,
    refuse_shared,
    written_out,
)
from unigrad.errors import TracingError

__all__ = ["TracedArray", "astype"]


def _values(x: Any, y: Any) -> tuple[Any, Any]:
    return primal(x), primal(y)


def _infix(name: str, op: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """The operator's method, its reflection, and its in-place form."""
    target = getattr(np, name)

    def forward(self: Any, other: Any) -> Any:
        # The common case of `apply`, without its loops; both give the same.
        home, alias, kind = self.home, self.alias, type(other)
        if type(home) is Tape and (alias is None or alias.root is None):
            if kind is TracedArray:
                alias = other.alias
                if other.home is home and (alias is None or alias.root is None):
                    x, y = self.value, other.value
                    ans = op(x, y)
                    links = (self.node, other.node)
                    if type(ans) is ndarray and ans.nbytes <= KEPT_WHOLE:
                        nodes = home.nodes
                        nodes.append((UFUNCS[target], (x, y), NOTHING, ans, links))
                        return TracedArray(ans, home, len(nodes) - 1)
                    return home.noted(UFUNCS[target], (x, y), NOTHING, ans, links)
            elif kind is float or kind is int:
                x = self.value
                links = (self.node, None)
                return home.noted(UFUNCS[target], (x, other), NOTHING, op(x, other), links)
        if kind is list or kind is tuple:
            other = gathered(np.array(other))
        return apply_two(UFUNCS[target], op, self, other)

    def reflected(self: Any, other: Any) -> Any:
        if type(other) in (list, tuple):
            other = gathered(np.array(other))
        return apply_two(UFUNCS[target], op, other, self)

    def in_place(self: Any, other: Any) -> Any:
        return self.written(apply_two(UFUNCS[target], op, self, other), op.__name__)

    return forward, reflected, in_place


def _compared(op: Callable[..., Any]) -> Any:
    def compare(self: Any, other: Any) -> Any:
        x, y = _values(self, other)
        for z in (x, y):
            if isinstance(z, Box):  # what is left is a recorded value
                recorder: Any = z.home
                return recorder.call(op, (x, y))
        return op(x, y)

    return compare


def _refused(what: str, advice: str) -> Any:
    def refusal(self: Any, *_: Any, **__: Any) -> NoReturn:
        raise TracingError(
            f"{what} needs a plain number, got a traced array of shape {self.shape}; {advice}"
        )

    return refusal


def _method(name: str) -> Any:
    """The method that is NumPy's function of this name."""
    fn = getattr(np, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.home.derives:
            return fn(self, *args, **kwargs)
        return FUNCTIONS[fn](self, *args, **kwargs)

    return method


_CLENSHAW = frozenset({np.add, np.subtract, np.multiply})
"""What ``numpy.polynomial`` computes first of its coefficients and a traced ``x``."""


class TracedArray(Box):
    """An array that is being differentiated; it looks like a NumPy array to a function."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    # ---------------------------------------------------------------- what it looks like

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def size(self) -> int:
        return int(self.value.size)

    @property
    def itemsize(self) -> int:
        return int(self.value.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def device(self) -> Any:
        return "cpu"

    @property
    def T(self) -> Any:
        return np.transpose(self)

    @property
    def mT(self) -> Any:
        return np.swapaxes(self, -1, -2)

    @property
    def real(self) -> Any:
        return np.real(self)

    @property
    def imag(self) -> Any:
        return np.imag(self)

    @property
    def flat(self) -> Any:
        raise TracingError("x.flat of a traced array is not followed; type: x.ravel()")

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"TracedArray({primal(self)!r})"

    def __str__(self) -> str:
        return str(primal(self))

    def __format__(self, spec: str) -> str:
        return format(primal(self), spec)

    def __bool__(self) -> bool:
        return bool(primal(self))

    def __contains__(self, item: Any) -> bool:
        return primal(item) in primal(self)

    def __getattr__(self, name: str) -> Any:
        """The method by which a ufunc reaches an entry of an object array: ``x.tanh()``."""
        fn = None if name.startswith("_") else getattr(np, name, None)
        if isinstance(fn, np.ufunc) and fn.nin == 1:
            return lambda: fn(self)
        raise AttributeError(
            f"a traced array has no attribute {name!r}; it has those of a NumPy array that can "
            f"be differentiated"
        )

    # ---------------------------------------------------------------- NumPy's protocols

    def __array_ufunc__(self, fn: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(type(x) in (list, tuple, range) for x in inputs):
            inputs = tuple(
                gathered(np.array(x)) if type(x) in (list, tuple, range) else x for x in inputs
            )
            return getattr(fn, method)(*inputs, **kwargs)
        if method == "__call__" and not kwargs:
            rule = UFUNCS.get(fn)
            if rule is not None:
                if len(inputs) == 1:
                    return apply_one(rule, fn, self)
                if len(inputs) == 2:
                    if fn in _CLENSHAW and type(inputs[0]) is ndarray:
                        refuse_tensor(fn, sys._getframe(1))
                    return apply_two(rule, fn, *inputs)
                return apply(rule, fn, inputs)
        if fn in CONSTANT_UFUNCS:
            refuse(fn.__name__, kwargs)
            return getattr(fn, method)(*[primal(x) for x in inputs], **kwargs)
        if method == "at":
            return self._at(fn, *inputs)
        if kwargs.get("out") is not None and method == "__call__":
            if type(inputs[0]) is ndarray and sys.getrefcount(kwargs["out"][0]) > HELD_ONCE:
                refuse_shared(fn)
            return written_out(fn, inputs, kwargs)
        if kwargs and method in ("__call__", "outer"):
            refuse_options(fn, kwargs)
        if method == "__call__":
            rule = UFUNCS.get(fn) or late_rule(fn)
            return apply(rule, fn, inputs, kwargs)
        if method == "outer":
            x, y = inputs
            ndim = len(np.shape(y))
            return fn(np.reshape(x, (*np.shape(x), *[1] * ndim)), y, **kwargs)
        found = UFUNC_METHODS.get((fn.__name__, method))
        if found is None:
            raise TracingError(
                f"numpy.{fn.__name__}.{method} has no derivative rule; write it with "
                f"numpy.sum, prod, max, min, cumsum or cumprod, or as a loop"
            )
        return found(*inputs, **kwargs)

    def _at(self, fn: Any, target: Any, index: Any, values: Any = None) -> None:
        if fn is not np.add or not isinstance(target, Box):
            raise TracingError(
                f"numpy.{fn.__name__}.at writes into {type(target).__name__}, which is not "
                f"followed; only numpy.add.at into an array made by numpy.zeros_like(x), "
                f"x.copy(), ... of a traced x is"
            )
        target.overwrite(add_at(target, values, index))

    def __array_function__(
        self, fn: Any, types: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        handler = FUNCTIONS.get(fn)
        if handler is None:
            name = f"{fn.__module__}.{fn.__name__}"
            raise TracingError(
                f"{name} has no derivative rule in unigrad's engine; write it with other NumPy "
                f"functions, give a rule with ug.custom_vjp, or cut it out of the derivative "
                f"with ug.stop_gradient"
            )
        return handler(*args, **kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return as_objects(self, sys._getframe(1), dtype)

    # ---------------------------------------------------------------- indexing and writing

    def __getitem__(self, index: Any) -> Any:
        kind = type(index)
        if (kind is int or kind is slice) and type(self.home) is Tape:
            out = apply_one(INDEX, taken, self, {"index": index})
            if out.value.shape != ():
                out.alias = Alias(self, index)
            return out
        index = kept_index(index)
        out = apply(INDEX, taken, (self,), {"index": index})
        if isinstance(out, Box) and is_basic(index) and (out.value.shape != () or _dotted(index)):
            out.alias = Alias(self, index)
        return out

    def __setitem__(self, index: Any, values: Any) -> None:
        index = kept_index(index)
        if isinstance(values, Box) and values.alias is not None and is_basic(index):
            alias = values.alias
            # `x[i] += v` writes through the view x[i], then stores it again where it is already.
            if alias.root is self and alias.index == index and alias.fresh():
                return
        self.overwrite(update(self, values, index))

    def written(self, new: Any, name: str) -> Any:
        if isinstance(bottom(self), np.generic):
            return new  # numbers are immutable: `s += x` binds s anew
        if new.shape != self.shape:
            raise ValueError(
                f"in-place {name}: shape {self.shape} cannot hold the result of shape {new.shape}"
            )
        if not np.can_cast(new.dtype, self.dtype, casting="same_kind"):
            raise TypeError(f"in-place {name}: {self.dtype} cannot hold {new.dtype}")
        self.overwrite(new if new.dtype == self.dtype else new.astype(self.dtype))
        return self

    # ---------------------------------------------------------------- operators

    __add__, __radd__, __iadd__ = _infix("add", operator.add)
    __sub__, __rsub__, __isub__ = _infix("subtract", operator.sub)
    __mul__, __rmul__, __imul__ = _infix("multiply", operator.mul)
    __truediv__, __rtruediv__, __itruediv__ = _infix("divide", operator.truediv)
    __floordiv__, __rfloordiv__, __ifloordiv__ = _infix("floor_divide", operator.floordiv)
    __mod__, __rmod__, __imod__ = _infix("remainder", operator.mod)
    __pow__, __rpow__, __ipow__ = _infix("power", operator.pow)
    __matmul__, __rmatmul__, __imatmul__ = _infix("matmul", operator.matmul)

    def __neg__(self) -> Any:
        return apply_one(UFUNCS[np.negative], operator.neg, self)

    def __pos__(self) -> Any:
        return apply_one(UFUNCS[np.positive], operator.pos, self)

    def __abs__(self) -> Any:
        return apply_one(UFUNCS[np.absolute], operator.abs, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __round__(self, ndigits: int = 0) -> Any:
        return self.round(ndigits)

    __lt__, __le__ = _compared(operator.lt), _compared(operator.le)
    __gt__, __ge__ = _compared(operator.gt), _compared(operator.ge)
    __eq__, __ne__ = _compared(operator.eq), _compared(operator.ne)

    # ---------------------------------------------------------------- what cannot be followed

    __float__ = _refused(
        "float(x), a function of the module math, or an entry of a plain array",
        "use numpy.sin(x) for math.sin(x), and numpy.zeros_like(x, shape=...) of a traced x "
        "for the array to be written into",
    )
    __complex__ = _refused("complex(x)", "use numpy functions on x itself")
    __int__ = _refused("int(x)", "use numpy.floor(x), or int(ug.stop_gradient(x))")
    __index__ = _refused("an index or a count", "use ug.stop_gradient(x) as a plain number")
    item = _refused("x.item()", "use x itself, or ug.stop_gradient(x).item()")
    tolist = _refused("x.tolist()", "use x itself, or ug.stop_gradient(x).tolist()")
    tobytes = _refused("x.tobytes()", "use ug.stop_gradient(x).tobytes()")
    fill = _refused("x.fill(value)", "write x[...] = value")
    view = _refused("x.view(...)", "use x itself, or x.astype(dtype)")
    partition = _refused("x.partition(...)", "use x = numpy.sort(x)")

    def __dask_tokenize__(self) -> NoReturn:
        """What Dask asks of everything that enters a graph, where its derivative would be lost."""
        raise TracingError(
            "a function or method of Dask's own got a traced array, whose derivative would be "
            "lost; use NumPy's functions and operators: numpy.sum(x) for da.sum(x), and X @ w for "
            "X.dot(w) of a Dask array X"
        )

    # ---------------------------------------------------------------- methods

    sum, prod, mean = _method("sum"), _method("prod"), _method("mean")
    max, min = _method("amax"), _method("amin")
    var, std, ptp = _method("var"), _method("std"), _method("ptp")
    cumsum, cumprod = _method("cumsum"), _method("cumprod")
    argmax, argmin, argsort = _method("argmax"), _method("argmin"), _method("argsort")
    any, all, nonzero = _method("any"), _method("all"), _method("nonzero")
    searchsorted = _method("searchsorted")
    ravel, squeeze = _method("ravel"), _method("squeeze")
    swapaxes, diagonal, trace = _method("swapaxes"), _method("diagonal"), _method("trace")
    compress = _method("compress")
    repeat, take, dot = _method("repeat"), _method("take"), _method("dot")
    round, clip = _method("around"), _method("clip")

    def reshape(self, *shape: Any, order: Any = "C", copy: Any = None) -> Any:
        new = shape[0] if len(shape) == 1 else shape
        out = FUNCTIONS[np.reshape](self, new, order=order)
        return out.copy() if copy else out

    def transpose(self, *axes: Any) -> Any:
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return np.transpose(self, order)

    def astype(
        self, dtype: Any, order: Any = "K", casting: Any = "unsafe", copy: Any = True, **_: Any
    ) -> Any:
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        return FUNCTIONS[astype](self, dtype, casting)

    def flatten(self, order: Any = "C") -> Any:
        return self.ravel(order).copy()

    def copy(self, order: Any = "C") -> Any:
        return FUNCTIONS[np.copy](self)

    __copy__ = copy

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TracingError(
            "a traced array was pickled, for a file, a cache or another process, where its "
            "derivative is lost; pickle ug.stop_gradient(x)"
        )

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def conj(self) -> Any:
        return np.conj(self) if self.dtype.kind == "c" else self

    conjugate = conj

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        ordered: Any = np.sort(self, axis=axis, kind=kind)
        self.overwrite(ordered)


def bottom(x: Any) -> Any:
    """The plain value under all boxes, recorded ones too."""
    while isinstance(x, Box):
        x = x.value
    return x


def astype(x: Any, dtype: Any, casting: Any = "unsafe") -> Any:
    """``x.astype(dtype)`` as a function, which the tables know."""
    return x.astype(dtype, casting=casting)


def _dotted(index: Any) -> bool:
    return index is Ellipsis or (type(index) is tuple and any(i is Ellipsis for i in index))
