"""Independent derivatives of the fuzzer's programs: differences, PyTorch and JAX.

Differences are central, of eighth order, at two widths; where the two disagree there is a kink
nearby, or the point is ill-conditioned, and the program is rejected. PyTorch and JAX run the
same source under NumPy's names, and count only where they give the same value.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conformance_tests.fuzz.programs import FAILURES, Program

__all__ = ["Differences", "Framework", "differences", "installed", "loss"]

FIRST = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
SECOND = np.array([8 / 5, -1 / 5, 8 / 315, -1 / 560])
MIDDLE = -205 / 72
WIDTHS = (2.0**-7, 2.0**-9, 2.0**-11)
SETTLED = 1e-6
"""How far the estimates at two widths may be apart, relative to their size."""


def loss(f: Callable[..., Sequence[Any]], numpy: Any = np, convert: Any = None) -> Any:
    """A real scalar of a program: a weighted sum of its outputs, and of their squares."""

    def scalar(*xs: Any) -> Any:
        total: Any = 0.0
        for y in f(*xs):
            shape = tuple(y.shape)
            n = int(np.prod(shape, dtype=int))
            w = np.cos(1.0 + np.arange(n)).reshape(shape)
            if numpy.iscomplexobj(y):
                w = w + 1j * np.sin(2.0 + np.arange(n)).reshape(shape)
                w = w if convert is None else convert(w)
                total = total + numpy.sum(numpy.real(numpy.conj(y) * (w + 0.25 * y)))
            else:
                w = w.astype("float32") if "float32" in str(y.dtype) else w
                w = w if convert is None else convert(w)
                total = total + numpy.sum(y * (w + 0.25 * y))
        return total

    return scalar


# ------------------------------------------------------------------------- differences


@dataclass(frozen=True)
class Differences:
    """The slope and the curvature of a function of one number at 0, and their uncertainty."""

    first: float
    second: float
    first_error: float
    second_error: float


def _stencil(along: Callable[[float], float], at_zero: float, width: float) -> tuple[float, float]:
    pairs = [(along(k * width), along(-k * width)) for k in (1, 2, 3, 4)]
    odd = np.array([a - b for a, b in pairs])
    even = np.array([a + b for a, b in pairs])
    return float(FIRST @ odd) / width, (MIDDLE * at_zero + float(SECOND @ even)) / width**2


def differences(along: Callable[[float], float], at_zero: float) -> Differences | None:
    """Both derivatives of ``along`` at 0; ``None`` where differences do not settle."""
    found = [_stencil(along, at_zero, WIDTHS[0])]
    for width in WIDTHS[1:]:
        found.append(_stencil(along, at_zero, width))
        (a1, a2), (b1, b2) = found[-2:]
        # The narrower estimate of the curvature loses digits; it only confirms the wider one.
        first, second = abs(a1 - b1), abs(a2 - b2)
        noise = 4e-15 * abs(at_zero) / width**2
        if first <= SETTLED * max(1.0, abs(a1)) and second <= SETTLED * max(1.0, abs(a2)) + noise:
            return Differences(a1, a2, first, second + noise)
    return None


# ------------------------------------------------------------------------- frameworks


class Framework:
    """A framework that differentiates the same source."""

    name: str

    def derivatives(
        self, program: Program, xs: Sequence[Any], vs: Sequence[Any]
    ) -> tuple[float, list[Any], list[Any]] | None:
        """Loss, gradient and Hessian times ``vs``; ``None`` if it cannot run the program."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._derivatives(program, xs, vs)
        except (*FAILURES, RuntimeError, NotImplementedError, LookupError):
            return None  # a function, an option or a layout that the framework does not have

    def _derivatives(
        self, program: Program, xs: Sequence[Any], vs: Sequence[Any]
    ) -> tuple[float, list[Any], list[Any]]:
        raise NotImplementedError


class Torch(Framework):
    """PyTorch, twice backwards."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        from conformance_tests.fuzz.torch_names import numpy_names, special_names

        self.torch = torch
        self.numpy, self.special = numpy_names(), special_names()

    def _derivatives(
        self, program: Program, xs: Sequence[Any], vs: Sequence[Any]
    ) -> tuple[float, list[Any], list[Any]]:
        torch = self.torch
        if any("[{fancy}] =" in str(operation) for operation in program.operations()):
            # Trap: where one entry is written twice, torch gives both writes the gradient.
            raise NotImplementedError
        f = program.function(self.numpy, self.special)
        leaves = [torch.tensor(np.ascontiguousarray(x)).reshape(x.shape) for x in xs]
        for leaf in leaves:
            leaf.requires_grad_()
        value = loss(f, self.numpy, torch.tensor)(*leaves)
        grads = torch.autograd.grad(
            value, leaves, create_graph=True, allow_unused=True, materialize_grads=True
        )
        along = sum(
            torch.sum(torch.real(torch.conj(torch.tensor(np.asarray(v))) * g))
            for v, g in zip(vs, grads, strict=True)
        )
        hv = torch.autograd.grad(along, leaves, allow_unused=True, materialize_grads=True)
        return (
            float(value.detach()),
            [g.detach().resolve_conj().resolve_neg().numpy() for g in grads],
            [h.detach().resolve_conj().resolve_neg().numpy() for h in hv],
        )


class Jax(Framework):
    """JAX, forward over reverse, operation by operation."""

    name = "jax"

    def __init__(self) -> None:
        import jax

        self.jax = jax
        try:
            from jax import enable_x64
        except ImportError:  # jax < 0.8
            from jax.experimental import enable_x64
        self.double: Any = enable_x64

    def _derivatives(
        self, program: Program, xs: Sequence[Any], vs: Sequence[Any]
    ) -> tuple[float, list[Any], list[Any]]:
        jax = self.jax
        with self.double(True):
            f = program.function(jax.numpy, jax.scipy.special)
            scalar = loss(f, jax.numpy)
            primals = [jax.numpy.asarray(x) for x in xs]
            tangents = [jax.numpy.asarray(v) for v in vs]

            def gradient(*ys: Any) -> Any:
                value, back = jax.vjp(scalar, *ys)
                # JAX gives the conjugate of the direction of steepest ascent (S14).
                return value, [jax.numpy.conj(g) for g in back(jax.numpy.ones_like(value))]

            # One compilation of the whole is several times faster than one for each operation.
            both = jax.jit(lambda ys, dys: jax.jvp(gradient, ys, dys))
            (value, grads), (_, hv) = both(primals, tangents)
            return float(value), [np.asarray(g) for g in grads], [np.asarray(h) for h in hv]


def installed() -> dict[str, Framework]:
    """The frameworks that are there; one that is installed but broken counts as missing."""
    found: dict[str, Framework] = {}
    for kind in (Torch, Jax):
        if importlib.util.find_spec(kind.name) is not None:
            with contextlib.suppress(ImportError):
                found[kind.name] = kind()
    return found
