"""Scenarios as data: a function written once, a point, and derivatives known from elsewhere.

A scenario knows no framework: `f` gets its namespace as first argument. Whatever is looser than
the default tolerances carries its reason.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from unigrad import trees
from unigrad.errors import ArgumentError

__all__ = ["FLOAT32_TOLERANCE", "TOLERANCE", "Negative", "NumPyArray", "Scenario", "draw"]

NumPyArray: TypeAlias = "np.ndarray[Any, Any]"
Output: TypeAlias = Literal["scalar", "array"]
Oracle: TypeAlias = Literal["closed form", "complex step", "differences"]

TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 1e-5
_PROGRAMS = frozenset({"networks", "sequences", "statistics"})


def draw(seed: int, *shape: int, low: float = -1.0, high: float = 1.0) -> NumPyArray:
    """Uniform float64 numbers between ``low`` and ``high``, the same on every machine.

    >>> print(draw(0, 2).shape)
    (2,)
    """
    return np.asarray(np.random.default_rng(seed).uniform(low, high, shape))


@dataclass(frozen=True, eq=False)
class Scenario:
    """A function, a point, and its derivatives there.

    With ``u`` a cotangent of the output (1 for a scalar) let ``s(x) = Re <u, f(x)>``. Everything
    that an operator returns follows from the gradient of ``s`` and its Hessian times ``v``.

    Attributes:
        name: unique within its family.
        family: the file it lives in, such as ``"linalg"``.
        f: ``f(xp, *args, *data)``, written on the array namespace and `unigrad.ops`.
        args: trees of float64 (or complex128) arrays; each is differentiated.
        data: further arguments, NumPy arrays that are not differentiated.
        output: ``"scalar"`` or ``"array"``.
        value: the value in other words, on NumPy; by default ``f`` on NumPy itself. For the
            oracle ``"complex step"`` it must be analytic near the point.
        gradient: ``gradient(u, *args, *data)``, the gradient of ``s``: an array, or a tuple with
            one for each leaf of ``args``. Without it, ``oracle`` is asked.
        hvp: ``hvp(u, v, *args, *data)``; ``v`` is an array for one leaf, else a tuple. Without it
            the reference is a difference of gradients of order eight.
        oracle: where the gradient comes from if there is no closed form.
        step: of the differences; small enough not to cross a kink, large enough not to round.
        tolerance: largest relative error (to the largest entry) against a closed form.
        agreement: largest relative difference between two backends in float64.
        float32_tolerance: as ``tolerance`` for single precision.
        reason: why a tolerance is looser than the default; required if one is.
        tags: ``kink``, ``complex``, ``float64_only``, ``custom_vjp``, ``core`` (transformers
            apply), ``third`` (third order is checked), ``jit``, ``singular`` (NumPy may warn of
            1 / 0).
        needs: names that the namespace must have, for third parties' partial namespaces.
        depth: how many orders of differentiation ``f`` contains itself.
        operators: the only operators to check; by default all that apply.
        seed: of the directions; by default from the name.
    """

    name: str
    family: str
    f: Callable[..., Any]
    args: tuple[Any, ...]
    data: tuple[Any, ...] = ()
    output: Output = "scalar"
    value: Callable[..., Any] | None = None
    gradient: Callable[..., Any] | None = None
    hvp: Callable[..., Any] | None = None
    oracle: Oracle = "closed form"
    step: float = 5e-3
    tolerance: float = TOLERANCE
    agreement: float = TOLERANCE
    float32_tolerance: float = FLOAT32_TOLERANCE
    reason: str = ""
    tags: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    depth: int = 0
    operators: frozenset[str] | None = None
    seed: int = field(default=-1)

    def __post_init__(self) -> None:
        loose = (
            self.tolerance > TOLERANCE
            or self.agreement > TOLERANCE
            or self.float32_tolerance > FLOAT32_TOLERANCE
        )
        if loose and not self.reason:
            raise ArgumentError(f"the scenario {self.name!r} is looser than usual: give reason=")
        if (self.gradient is None) == (self.oracle == "closed form"):
            raise ArgumentError(
                f"the scenario {self.name!r} needs either gradient= or another oracle="
            )
        if self.seed < 0:
            object.__setattr__(self, "seed", zlib.crc32(self.name.encode()))

    @property
    def id(self) -> str:
        """``family/name``, which is unique."""
        return f"{self.family}/{self.name}"

    @property
    def thorough(self) -> bool:
        """Whether whole Hessians and single precision are checked too.

        Not so for programs made of operations that are scenarios themselves, other than the
        ``core`` ones: each new shape costs a compilation on JAX.
        """
        return "core" in self.tags or self.family not in _PROGRAMS

    @property
    def leaves(self) -> list[NumPyArray]:
        """The differentiated arrays."""
        return trees.flatten(self.args)[0]

    @property
    def size(self) -> int:
        """How many numbers are differentiated."""
        return sum(x.size for x in self.leaves)

    @property
    def argnums(self) -> int | tuple[int, ...]:
        """What the operators are told: an int for one argument, so that nothing is wrapped."""
        return 0 if len(self.args) == 1 else tuple(range(len(self.args)))

    @property
    def complex(self) -> bool:
        """Whether complex numbers occur."""
        return "complex" in self.tags

    def direction(self, index: int = 0) -> list[NumPyArray]:
        """A tangent for each leaf, of its dtype; different ones for different ``index``."""
        generator = np.random.default_rng([self.seed, index])
        return [_direction(generator, x) for x in self.leaves]

    def cotangent(self, like: NumPyArray) -> NumPyArray:
        """A cotangent of the output: neither 1 nor constant; of a scalar output 1."""
        if self.output == "scalar":
            return np.ones_like(like)
        generator = np.random.default_rng([self.seed, 1000])
        return _direction(generator, like)


def _direction(generator: np.random.Generator, x: NumPyArray) -> NumPyArray:
    v = np.asarray(generator.uniform(0.5, 1.5, x.shape) * generator.choice([-1.0, 1.0], x.shape))
    if np.iscomplexobj(x):
        v = v + 1j * generator.uniform(-1.0, 1.0, x.shape)
    return np.asarray(v, dtype=x.dtype)


@dataclass(frozen=True, eq=False)
class Negative:
    """A wrong use, and the error that it must raise.

    Attributes:
        name: unique.
        clause: of the semantics contract.
        act: ``act(backend)`` does the wrong thing.
        error: what it raises, exactly this class or a subclass.
        says: what the message must contain.
        order: of the derivative that is asked.
        unless: the declared capability that makes this use a right one.
        requires: the declared capability without which the use cannot be tried.
    """

    name: str
    clause: str
    act: Callable[[Any], Any]
    error: type[BaseException]
    says: tuple[str, ...]
    order: int = 1
    unless: str | None = None
    requires: str | None = None

    family = "negative"

    @property
    def id(self) -> str:
        """``negative/name``."""
        return f"negative/{self.name}"
