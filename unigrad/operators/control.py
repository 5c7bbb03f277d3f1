"""What changes a derivative from inside the function: stop_gradient, custom_vjp; and jit."""

from __future__ import annotations

import contextlib
import functools
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad import trees
from unigrad.backend import Array, Backend, is_complex, is_floating
from unigrad.errors import ArgumentError, ShapeError, StructureError, TracingError
from unigrad.operators.plan import Plan
from unigrad.registry import NEUTRAL_TYPES, backend_of, memory, owner

__all__ = ["custom_vjp", "is_smooth", "jit", "stop_gradient"]


def stop_gradient(tree: Any) -> Any:
    """The same values, constant for every derivative at every level, in memory of their own.

    >>> import unigrad as ug
    >>> print(ug.grad(lambda x: x * ug.stop_gradient(x))(3.0))
    3.0
    """

    def stopped(leaf: Any) -> Any:
        backend = owner(type(leaf))
        if backend is not None:
            return backend.stop_gradient(leaf)
        return leaf.copy() if isinstance(leaf, np.ndarray) else leaf

    return trees.map_leaves(stopped, tree)


class custom_vjp:
    """A function with a derivative of one's own, differentiable to any order.

    ``forward(*args)`` returns (output, residuals); ``backward(residuals, cotangent)`` returns a
    tuple with one cotangent for each argument, ``None`` for one that has none. The backward
    rule is itself differentiated for higher orders, residuals included.

    Raises:
        ArgumentError: if it is called before `defvjp`.
        StructureError, ShapeError: if ``backward`` returns what does not match the arguments.
        UnsupportedError: on a backend that takes no custom rules.

    >>> import unigrad as ug
    >>> @ug.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, u: (u * 3 * x**2,))
    >>> print(ug.grad(cube)(2.0), ug.grad(ug.grad(cube))(2.0))
    12.0 12.0
    """

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        self._forward: Callable[..., tuple[Any, Any]] | None = None
        self._backward: Callable[[Any, Any], tuple[Any, ...]] | None = None
        functools.update_wrapper(self, f, updated=())

    def defvjp(
        self,
        forward: Callable[..., tuple[Any, Any]],
        backward: Callable[[Any, Any], tuple[Any, ...]],
    ) -> None:
        """Set the rule."""
        self._forward, self._backward = forward, backward

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return _bound(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = getattr(self.f, "__name__", "f")
        if kwargs:
            raise ArgumentError(
                f"{name} was called with {next(iter(kwargs))}=..., but a function with a rule of "
                f"its own takes its arguments by position, as forward and backward do; type: "
                f"{name}(x, y), or let it close over what is no argument"
            )
        if self._forward is None or self._backward is None:
            raise ArgumentError(f"{name} has no rule yet; type: {name}.defvjp(forward, backward)")
        leaves, _ = trees.flatten(args)
        backend = backend_of(leaves)
        places = [i for i, x in enumerate(leaves) if is_smooth(backend, x)]
        primals = [_native(backend, leaves[i]) for i in places]
        rule = _Rule(self._forward, self._backward, backend, args, places)
        with backend.scope(leaves) or contextlib.nullcontext():
            outputs = backend.custom_vjp(rule.forward, rule.backward, primals)
        return trees.unflatten(rule.output, outputs)


class _Rule:
    """A user's rule on trees, as the adapter sees it: on flat arrays."""

    def __init__(
        self,
        forward: Callable[..., tuple[Any, Any]],
        backward: Callable[[Any, Any], tuple[Any, ...]],
        backend: Backend,
        args: tuple[Any, ...],
        places: Sequence[int],
    ) -> None:
        self._user_forward, self._user_backward = forward, backward
        self._backend = backend
        self._args = args
        self._leaves, self._treedef = trees.flatten(args)
        self._places = list(places)
        self._residual_leaves: list[Any] = []
        self._residual_places: list[int] = []
        self._residuals: trees.TreeDef
        self.output: trees.TreeDef

    def forward(self, *primals: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        leaves = list(self._leaves)
        for i, x in zip(self._places, primals, strict=True):
            leaves[i] = x
        result = self._user_forward(*trees.unflatten(self._treedef, leaves))
        if not (isinstance(result, tuple) and len(result) == 2):
            raise StructureError(
                f"forward must return a pair (output, residuals), got {type(result).__name__}"
            )
        outputs, self.output = trees.flatten(result[0])
        kept, self._residuals = trees.flatten(result[1])
        own = self._backend.array_types
        self._residual_places = [i for i, x in enumerate(kept) if isinstance(x, own)]
        self._residual_leaves = [None if isinstance(x, own) else x for x in kept]
        arrays = tuple(kept[i] for i in self._residual_places)
        return tuple(_native(self._backend, y) for y in outputs), arrays

    def backward(
        self, residuals: Sequence[Array], cotangents: Sequence[Array]
    ) -> list[Array | None]:
        kept = list(self._residual_leaves)
        for i, r in zip(self._residual_places, residuals, strict=True):
            kept[i] = r
        grads = self._user_backward(
            trees.unflatten(self._residuals, kept), trees.unflatten(self.output, cotangents)
        )
        if not isinstance(grads, tuple) or len(grads) != len(self._args):
            raise StructureError(
                f"backward must return a tuple of {len(self._args)} cotangents, one for each "
                f"argument, got {grads!r:.80}"
            )
        found: list[Array | None] = []
        for k, (grad, arg) in enumerate(zip(grads, self._args, strict=True)):
            leaves, treedef = trees.flatten(arg)
            if grad is None:
                found += [None] * len(leaves)
                continue
            given, structure = trees.flatten(grad)
            if structure != treedef:
                raise StructureError(
                    f"backward returned {structure} for argument {k}, which is {treedef}"
                )
            found += [self._checked(g, x, k) for g, x in zip(given, leaves, strict=True)]
        return [found[i] for i in self._places]

    def _checked(self, grad: Any, leaf: Any, argument: int) -> Any:
        if not is_smooth(self._backend, leaf):
            return None
        array = _native(self._backend, grad)
        shape = tuple(np.shape(leaf)) if isinstance(leaf, NEUTRAL_TYPES) else None
        wanted = self._backend.shape(leaf) if shape is None else shape
        if self._backend.shape(array) != wanted:
            raise ShapeError(
                f"backward returned shape {self._backend.shape(array)} for argument {argument}, "
                f"which has shape {wanted}"
            )
        return array


def is_smooth(backend: Backend, leaf: Any) -> bool:
    """Whether a leaf is a floating or complex array or number."""
    if isinstance(leaf, backend.array_types):
        kind = backend.dtype(leaf)
    elif isinstance(leaf, NEUTRAL_TYPES):
        kind = np.asarray(leaf).dtype.name
    else:
        return False
    return is_floating(kind) or is_complex(kind)


def _native(backend: Backend, leaf: Any) -> Array:
    own = isinstance(leaf, backend.array_types)
    return backend.prepare(leaf) if own else backend.asarray(leaf)


class jit:
    """The function, compiled where its backend can: jax.jit, tf.function, torch.compile, a replay.

    On a backend without a compiler (its ``capabilities.jit`` is false) it runs as it is.
    Arrays are traced; every other leaf, numbers included, is part of the signature, so that a
    number that changes from call to call compiles again: pass it as an array.

    Args:
        f: a function of trees of arrays; it must be free of side effects.
        backend: the backend to use; by default that of the arrays (S11).
        reuse_output: on NumPy, give results in buffers that the next call overwrites; elsewhere
            it changes nothing.

    Raises:
        TracingError: on NumPy, where the calls of ``f`` are recorded once and replayed, if ``f``
            asks for a value (a branch, a boolean mask, ``float(x)``); the line is named.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.jit(ug.grad(lambda x: np.sum(x**2)))(np.array([1.0, 2.0])))
    [2. 4.]
    """

    def __init__(
        self,
        f: Callable[..., Any],
        *,
        backend: str | Backend | None = None,
        reuse_output: bool = False,
    ) -> None:
        if not callable(f):
            raise ArgumentError(f"ug.jit needs a function, got {type(f).__name__}")
        self.f = f
        self._explicit = backend
        self._reuse_output = reuse_output
        self._lock = threading.Lock()
        self._traced: dict[Any, tuple[bool, ...]] = {}
        self._compiled: dict[Any, _Compiled] = {}
        functools.update_wrapper(self, f, updated=())

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return _bound(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        known = memory()
        part = known.flatten((args, kwargs) if kwargs else args)
        leaves, treedef, signature = part
        assert treedef is not None  # a tuple is a node
        backend = Plan.of(
            known, (0,), (), (part,), self._explicit, lambda: _numbered(len(leaves))
        ).backend
        if not backend.capabilities.jit:
            return self.f(*args, **kwargs)
        try:
            traced = self._traced.get((backend.name, signature))
            if traced is None:  # the signature knows the types of the leaves
                kinds = (*backend.array_types, np.ndarray)
                traced = tuple([isinstance(x, kinds) for x in leaves])
                self._traced[backend.name, signature] = traced
            arrays, static = leaves, None
            if not all(traced):
                pairs = list(zip(traced, leaves, strict=True))
                arrays = [x for t, x in pairs if t]
                static = tuple([None if t else _constant(x) for t, x in pairs])
            arrays = [_native(backend, x) for x in arrays]
            shapes = [(backend.shape(x), backend.dtype(x)) for x in arrays]
            key = (backend.name, signature, static, bool(kwargs), *shapes)
            compiled = self._compiled.get(key)
        except TypeError as error:
            raise ArgumentError(
                f"ug.jit makes every leaf that is no array part of the signature, and one of "
                f"them cannot be hashed: {error}"
            ) from None
        if compiled is None:
            with self._lock:
                if len(self._compiled) >= trees.LIMIT:
                    self._compiled = {}
                compiled = self._compiled.setdefault(
                    key,
                    _Compiled(
                        self.f, bool(kwargs), backend, leaves, treedef, traced, self._reuse_output
                    ),
                )
        scope = backend.scope(leaves)
        with scope or contextlib.nullcontext():
            results = compiled.run(arrays)
        if results is None:
            return self.f(*args, **kwargs)
        return compiled.tree(results)


def _bound(function: Any, owner: Any) -> Any:
    """What ``owner.function`` is, for a function that is an object of ours."""
    return function if owner is None else types.MethodType(function, owner)


def _numbered(count: int) -> list[str]:
    return [f"argument {i}" for i in range(count)]


def _constant(leaf: Any) -> tuple[type, Any]:
    """A leaf as part of a signature: 0.0 is not -0.0, and nan is itself."""
    number = isinstance(leaf, float | complex | np.inexact)
    return type(leaf), repr(leaf) if number else leaf


def _refuse_frozen(y: Any, backend: Backend) -> None:
    """Refuse a result that would stay as it was at the first call, and is no constant."""
    if isinstance(y, _STEPS) or (
        isinstance(y, types.FunctionType | types.MethodType | functools.partial)
        and getattr(y, "__closure__", True)
    ):
        what = f"a {type(y).__name__}"
    elif _holds_arrays(y, backend):
        what = f"a {type(y).__name__} with arrays in it"
    else:
        return
    raise TracingError(
        f"a function under ug.jit returned {what}, which would stay that of the first call; type: "
        f"ug.jit of the whole computation, or ug.jit inside what is returned"
    )


_STEPS = (types.GeneratorType, map, filter, zip)


def _holds_arrays(y: Any, backend: Backend) -> bool:
    """Whether an object that is no node of a tree has arrays among its attributes."""
    content = getattr(y, "__dict__", None)
    if isinstance(y, type) or not isinstance(content, dict) or isinstance(y, types.ModuleType):
        return False
    return any(isinstance(x, backend.array_types) for x in trees.flatten(list(content.values()))[0])


class _Compiled:
    """One signature of a jitted function: flat arrays in, flat arrays out."""

    def __init__(
        self,
        f: Callable[..., Any],
        keywords: bool,
        backend: Backend,
        leaves: Sequence[Any],
        treedef: trees.TreeDef,
        traced: Sequence[bool],
        reuse_output: bool,
    ) -> None:
        self._output: trees.TreeDef
        self._constants: list[Any] = []
        self._places: list[int] = []
        static = [None if t else x for t, x in zip(traced, leaves, strict=True)]

        def flat(*arrays: Array) -> tuple[Array, ...]:
            rest = iter(arrays)
            full = [next(rest) if t else x for t, x in zip(traced, static, strict=True)]
            given = trees.unflatten(treedef, full)
            args, kwargs = given if keywords else (given, {})
            outputs, self._output = trees.flatten(f(*args, **kwargs))
            own = [isinstance(y, backend.array_types) for y in outputs]
            for y, o in zip(outputs, own, strict=True):
                if not (o or any(y is x for x in static)):
                    _refuse_frozen(y, backend)
            self._places = [i for i, o in enumerate(own) if o]
            self._constants = [None if o else y for o, y in zip(own, outputs, strict=True)]
            return tuple(outputs[i] for i in self._places)

        # What `unigrad.surroundings` is to watch: a function, or the object of a method.
        flat.__dict__["arguments"] = tuple([x for x in static if x is not None])

        self._run = backend.jit(flat, reuse_output=reuse_output)

    def run(self, arrays: Sequence[Array]) -> Sequence[Array] | None:
        """The arrays among the results; ``None`` if the function is to be called as it is."""
        return self._run(*arrays)

    def tree(self, results: Sequence[Array]) -> Any:
        """The function's output with these arrays in it."""
        outputs: Any = results
        if len(self._constants) != len(results):
            outputs = [y.copy() if type(y) is np.ndarray else y for y in self._constants]
            for i, y in zip(self._places, results, strict=True):
                outputs[i] = y
        return trees.unflatten(self._output, outputs)
