"""The contract of an adapter: what a framework owes unigrad, and what follows from it.

An adapter gives array glue and one derivative primitive, ``vjp`` (or ``jvp``); every other
method here is derived from those and may be overridden where the framework has better.
Adapters see flat lists of their own arrays, never trees: trees end in ``unigrad.operators``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from unigrad.errors import BackendNotAvailableError, HigherOrderError, UnsupportedError

__all__ = [
    "Array",
    "Backend",
    "BackendSpec",
    "Capabilities",
    "FlatFunction",
    "HvpMethod",
    "Pullback",
    "Pushforward",
    "basis",
    "is_complex",
    "is_floating",
    "seed",
    "transpose",
]

Array: TypeAlias = Any
"""An array of the adapter's framework; unigrad's core never looks inside."""

FlatFunction: TypeAlias = "Callable[..., tuple[Array, ...]]"
"""``f(*arrays) -> tuple of arrays``."""

Pullback: TypeAlias = "Callable[[Sequence[Array | None]], tuple[Array | None, ...]]"
"""Cotangents of the outputs (``None``: zero) to those of the primals (``None``: unconnected)."""

Pushforward: TypeAlias = "Callable[[Sequence[Array | None]], tuple[Array | None, ...]]"
"""Tangents of the primals (``None``: zero) to those of the outputs (``None``: zero)."""

HvpMethod: TypeAlias = Literal["forward_over_reverse", "reverse_over_reverse"]


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do: declared data that drives routes, errors, docs and tests.

    Attributes:
        second_order: its ``vjp`` may be nested, so that exact higher orders follow.
        complex: it has complex arrays (S14).
        float32: it has single precision.
        jit: ``ug.jit`` compiles; otherwise it runs the function as it is.
        custom_vjp: it takes user-written derivative rules.
        models: ``ug.functional`` takes this framework's models.
        zero_size: arrays with an axis of length 0 work.
        threads: derivatives may be taken in several threads at once (S7).
        native: the optional methods of `Backend` that it overrides.
        hvp: the composition that ``method="auto"`` takes.
    """

    second_order: bool = True
    complex: bool = True
    float32: bool = True
    jit: bool = False
    custom_vjp: bool = False
    models: bool = False
    zero_size: bool = True
    threads: bool = True
    native: frozenset[str] = frozenset()
    hvp: HvpMethod = "reverse_over_reverse"


@dataclass(frozen=True)
class BackendSpec:
    """An adapter as the registry knows it before its framework is imported.

    Attributes:
        name: what ``ug.use(name)`` and ``backend=name`` say.
        adapter: ``"module:Class"`` of the `Backend`, imported on first use.
        modules: prefixes of ``type(array).__module__`` that may be this framework's.
        framework: the module whose presence means that the framework is installed.
        distribution: the distribution whose version is reported.
        install: what to type to get it.
        capabilities: the adapter's own declaration.
        unavailable: why it cannot be installed here, if that is so.
    """

    name: str
    adapter: str
    modules: tuple[str, ...]
    framework: str
    distribution: str
    install: str
    capabilities: Capabilities = field(default_factory=Capabilities)
    unavailable: str | None = None

    def installed(self) -> bool:
        """Whether the framework can be found; it is not imported."""
        return importlib.util.find_spec(self.framework) is not None

    def version(self) -> str | None:
        """The framework's version, or ``None`` where it is not installed."""
        import importlib.metadata  # costs a third of the import of unigrad

        for distribution in (self.distribution, self.framework):
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None

    def owns(self, array_type: type) -> bool:
        """Whether ``array_type`` may belong to this framework, judged by its module's name."""
        module = array_type.__module__
        return any(module == m or module.startswith(m + ".") for m in self.modules)

    def load(self) -> Backend:
        """Import the adapter and make it.

        Raises:
            BackendNotAvailableError: with the line to type, where the framework is missing.
        """
        module, _, name = self.adapter.partition(":")
        if not self.installed():
            reason = self.unavailable or "it is not installed"
            raise BackendNotAvailableError(
                f"the backend {self.name!r} was asked for, but {reason}; type: {self.install}"
            )
        try:
            backend: Backend = getattr(importlib.import_module(module), name)()
        except ImportError as error:
            raise BackendNotAvailableError(
                f"the backend {self.name!r} is installed, but does not import: {error}; "
                f"type: {self.install}"
            ) from error
        return backend


class Backend(ABC):
    """A framework, as unigrad sees it. Subclass it, and ``ug.register_backend`` an instance.

    Owed: `name`, `array_types`, `xp`, `asarray`, `to_numpy`, `dtype`, `zeros_like`, `inner`,
    `stop_gradient`, and `vjp` (or, where the framework only has forward mode, `jvp`).
    Everything else has a derived default.

    Functions handed to an adapter take and return flat tuples of its arrays. Results must be
    free of the derivative that made them (no tracer of an inner level may escape), and must be
    differentiable by an outer level where `Capabilities.second_order` is declared.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()
    array_types: tuple[type, ...] = ()
    ops: Mapping[str, Callable[..., Array]] = MappingProxyType({})
    """Native kernels for functions of `unigrad.ops`, by name; same value and same derivatives."""

    # ---------------------------------------------------------------- array glue, owed

    @property
    @abstractmethod
    def xp(self) -> Any:
        """The namespace of array functions; follows the array API standard."""

    @abstractmethod
    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        """A new array with the values of ``x``, never sharing memory that the user could write.

        Args:
            x: NumPy array, number, or an array of this framework.
            dtype: its name, as in NumPy; by default that of ``x``.
            like: an array whose device is taken.
        """

    @abstractmethod
    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """A NumPy array of the same values and dtype."""

    @abstractmethod
    def dtype(self, x: Array) -> str:
        """The dtype's name as NumPy spells it: ``"float64"``, ``"int32"``, ``"bool"``."""

    @abstractmethod
    def zeros_like(self, x: Array) -> Array:
        """Zeros of the same shape, dtype and device."""

    @abstractmethod
    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        """Real part of the inner product of two lists of arrays; a differentiable scalar."""

    @abstractmethod
    def stop_gradient(self, x: Array) -> Array:
        """The same values, constant for every derivative at every level."""

    # ---------------------------------------------------------------- array glue, derived

    def ones_like(self, x: Array) -> Array:
        """Ones of the same shape, dtype and device."""
        # Trap: a NumPy float32 scalar plus a Python number is a float64 before NumPy 2.
        return self.zeros_like(x) + self.asarray(1, dtype=self.dtype(x), like=x)

    def shape(self, x: Array) -> tuple[int, ...]:
        """The shape as a tuple of ints."""
        return tuple(x.shape)

    def same_shape(self, x: Array, y: Array) -> bool:
        """Whether two arrays have one shape, as far as it is known before anything runs."""
        return self.shape(x) == self.shape(y)

    def is_scalar(self, x: Array) -> bool:
        """Whether ``x`` counts as the real scalar of S2."""
        return self.shape(x) == ()

    def is_concrete(self, x: Array) -> bool:
        """Whether the values of ``x`` can be looked at now (not so inside a compilation)."""
        return True

    def prepare(self, x: Array) -> Array:
        """The array to differentiate for the leaf ``x``; of a framework's variable, its value."""
        return x

    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        """Results as the user gets them (S1, S5).

        Args:
            results: arrays made by a derivative.
            inputs: the user's leaves, with which no result may share memory.
            like: the user's leaf that each result belongs to, where it belongs to one.
        """
        return list(results)

    def scope(self, leaves: Sequence[Any]) -> contextlib.AbstractContextManager[Any] | None:
        """What must be entered around every call about these leaves; ``None`` for nothing."""
        return None

    # ---------------------------------------------------------------- derivatives

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        """Outputs of ``f`` and its pullback, which may be called any number of times.

        The gradient of a real scalar with respect to a complex primal points to steepest
        ascent (S14). Derived from `jvp` where only that is given: one call of ``f`` for each
        entry of the primals.
        """
        if type(self).jvp is Backend.jvp:
            raise TypeError(f"{type(self).__name__} gives neither vjp nor jvp: one of them is owed")
        return _vjp_from_jvp(self, f, primals)

    def value_and_grad(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        """Outputs of ``f``, and the gradients of the first of them, a scalar."""
        outputs, pullback = self.vjp(f, primals)
        return outputs, pullback(seed(self, outputs))

    def jvp(
        self, f: FlatFunction, primals: Sequence[Array], tangents: Sequence[Array | None]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        """Outputs of ``f`` and their tangents; derived from `linearize`."""
        outputs, pushforward = self.linearize(f, primals)
        return outputs, pushforward(tangents)

    def linearize(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], Pushforward]:
        """Outputs of ``f`` and its pushforward, which may be called any number of times.

        Derived from `vjp`: the pullback is linear in the cotangents, and its own pullback is
        the Jacobian. A backend without second order gets the Jacobian row by row instead. One
        that only has forward mode calls ``f`` again for each product.
        """
        if type(self).vjp is Backend.vjp:
            return _linearize_from_jvp(self, f, primals)
        outputs, pullback = self.vjp(f, primals)
        if self.capabilities.second_order:
            return outputs, transpose(self, pullback, outputs, primals)
        return outputs, _by_rows(self, pullback, outputs)

    def hvp(
        self,
        f: FlatFunction,
        primals: Sequence[Array],
        tangents: Sequence[Array],
        method: HvpMethod,
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...], tuple[Array | None, ...]]:
        """Outputs of ``f``, gradients of the first of them, and Hessian times ``tangents``.

        One call of ``f``. Pearlmutter (1994), doi:10.1162/neco.1994.6.1.147.
        """
        self.require_second_order()
        n = len(primals)

        def gradient(*xs: Array) -> tuple[Array, ...]:
            outputs, grads = self.value_and_grad(f, xs)
            filled = [
                self.zeros_like(x) if g is None else g for g, x in zip(grads, xs, strict=True)
            ]
            return (*filled, *outputs)

        if method == "forward_over_reverse":
            results, moved = self.jvp(gradient, primals, tangents)
            products = tuple(moved[:n])
        else:
            results, pullback = self.vjp(gradient, primals)
            products = pullback((*tangents, *[None] * (len(results) - n)))
        return tuple(results[n:]), tuple(results[:n]), products

    def batched_pullback(
        self, pullback: Pullback, cotangents: Sequence[Array | None], rows: int
    ) -> list[Array | None]:
        """Pull ``rows`` cotangents back at once: for each primal, its cotangents stacked.

        Args:
            cotangents: arrays with the rows along a new first axis (``None``: zero).
        """
        pulled = [pullback([None if c is None else c[i] for c in cotangents]) for i in range(rows)]
        stacked: list[Array | None] = []
        for column in zip(*pulled, strict=True):
            known = next((g for g in column if g is not None), None)
            if known is None:
                stacked.append(None)
                continue
            filled = [self.zeros_like(known) if g is None else g for g in column]
            stacked.append(self.xp.stack(filled, axis=0))
        return stacked

    def connected(self, pullback: Pullback, cotangents: Sequence[Array | None]) -> list[bool]:
        """For each primal, whether the outputs depend on it at all (S3)."""
        return [g is not None for g in pullback(cotangents)]

    def custom_vjp(
        self,
        forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
        backward: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array | None]],
        primals: Sequence[Array],
    ) -> tuple[Array, ...]:
        """Outputs of ``forward(*primals) -> (outputs, residuals)``, with a derivative of one's own.

        ``backward(residuals, cotangents)`` gives the cotangents of the primals; it is made of
        differentiable calls, and must be followed by an outer derivative.
        """
        raise UnsupportedError(f"the backend {self.name!r} does not take custom derivative rules")

    # ---------------------------------------------------------------- more than derivatives

    def jit(
        self, f: FlatFunction, *, reuse_output: bool = False
    ) -> Callable[..., tuple[Array, ...] | None]:
        """``f``, compiled where the framework can.

        Args:
            reuse_output: results may lie in memory that the next call overwrites.

        Returns:
            a function that may give ``None`` at a call, where ``f`` is to be called as it is.
        """
        return f

    def functional(self, model: Any) -> tuple[Callable[..., Any], dict[str, Array]] | None:
        """``(apply, params)`` of a model of this framework, ``None`` if it is not one."""
        return None

    def require_second_order(self) -> None:
        """Refuse a higher-order derivative where it would not be exact (S12)."""
        if not self.capabilities.second_order:
            raise HigherOrderError(
                f"a second-order derivative was asked of the backend {self.name!r}, which has "
                f"exact first-order derivatives only; type: "
                f"ug.asarray(tree, backend='numpy') to compute it on another backend"
            )


def seed(backend: Backend, outputs: Sequence[Array]) -> list[Array | None]:
    """The cotangents whose pullback is the gradient of the first output."""
    return [backend.ones_like(outputs[0]), *[None] * (len(outputs) - 1)]


def basis(backend: Backend, x: Array) -> Array:
    """The unit arrays of the space of ``x`` along a new first axis."""
    shape = backend.shape(x)
    size = int(np.prod(shape, dtype=np.int64))
    eye = np.eye(size, dtype=np.float64).reshape(size, *shape)
    return backend.asarray(eye, dtype=backend.dtype(x), like=x)


def is_floating(dtype: str) -> bool:
    """Whether this is the name of a real floating-point dtype."""
    return "float" in dtype


def is_complex(dtype: str) -> bool:
    """Whether this is the name of a complex dtype."""
    return dtype.startswith("complex")


def transpose(
    backend: Backend, pullback: Pullback, outputs: Sequence[Array], primals: Sequence[Array]
) -> Pushforward:
    """The pushforward, as the pullback's own pullback: ``pullback`` is linear in cotangents."""
    kinds = [backend.dtype(y) for y in outputs]
    smooth = [i for i, k in enumerate(kinds) if is_floating(k) or is_complex(k)]

    def transposed(*cotangents: Array) -> tuple[Array, ...]:
        full: list[Array | None] = [None] * len(outputs)
        for i, c in zip(smooth, cotangents, strict=True):
            full[i] = c
        grads = pullback(full)
        return tuple(
            backend.zeros_like(x) if g is None else g for g, x in zip(grads, primals, strict=True)
        )

    # Trap: at cotangents of zero, the derivative of a rule such as g * x / norm may be 0 / 0.
    _, pull = backend.vjp(transposed, [backend.ones_like(outputs[i]) for i in smooth])

    def pushforward(tangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
        moved: list[Array | None] = [None] * len(outputs)
        for i, t in zip(smooth, pull(tangents), strict=True):
            moved[i] = t
        return tuple(moved)

    return pushforward


def _by_rows(backend: Backend, pullback: Pullback, outputs: Sequence[Array]) -> Pushforward:
    """The pushforward of a backend without second order, one pullback for each output entry."""

    def pushforward(tangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
        moved: list[Array | None] = []
        for k, y in enumerate(outputs):
            if not is_floating(backend.dtype(y)):
                moved.append(None)
                continue
            entries = []
            for unit in basis(backend, y):
                cotangents: list[Array | None] = [None] * len(outputs)
                cotangents[k] = unit
                pairs = [
                    (g, t)
                    for g, t in zip(pullback(cotangents), tangents, strict=True)
                    if g is not None and t is not None
                ]
                total = backend.inner([g for g, _ in pairs], [t for _, t in pairs]) if pairs else 0
                entries.append(backend.to_numpy(total).item() if pairs else 0.0)
            flat = np.asarray(entries, dtype=np.float64).reshape(backend.shape(y))
            moved.append(backend.asarray(flat, dtype=backend.dtype(y), like=y))
        return tuple(moved)

    return pushforward


def _linearize_from_jvp(
    backend: Backend, f: FlatFunction, primals: Sequence[Array]
) -> tuple[tuple[Array, ...], Pushforward]:
    # The pushforward may outlive the call: what it needs must not be the caller's to write.
    kept = [x * backend.ones_like(x) for x in primals]
    outputs, _ = backend.jvp(f, kept, [None] * len(kept))
    return outputs, lambda tangents: backend.jvp(f, kept, tangents)[1]


def _vjp_from_jvp(
    backend: Backend, f: FlatFunction, primals: Sequence[Array]
) -> tuple[tuple[Array, ...], Pullback]:
    outputs, _ = backend.jvp(f, primals, [None] * len(primals))

    def pullback(cotangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
        grads: list[Array | None] = []
        for k, x in enumerate(primals):
            total = None
            for unit in basis(backend, x):
                tangents: list[Array | None] = [None] * len(primals)
                tangents[k] = unit
                _, moved = backend.jvp(f, primals, tangents)
                pairs = [
                    (c, t)
                    for c, t in zip(cotangents, moved, strict=True)
                    if c is not None and t is not None
                ]
                if pairs:
                    slope = backend.inner([c for c, _ in pairs], [t for _, t in pairs])
                    total = slope * unit if total is None else total + slope * unit
            grads.append(total)
        return tuple(grads)

    return outputs, pullback
