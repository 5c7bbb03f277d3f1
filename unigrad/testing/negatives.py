"""Wrong uses, and the error that each must raise: its class, and what its message must say."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import unigrad as ug
from unigrad.backend import Array, Backend, BackendSpec
from unigrad.errors import (
    ArgumentError,
    BackendNotAvailableError,
    HigherOrderError,
    MixedBackendError,
    NotDifferentiableError,
    ScalarOutputError,
    ShapeError,
    StructureError,
    UnconnectedError,
    UnknownBackendError,
)
from unigrad.testing.scenario import Negative
from unigrad.testing.trial import native

__all__ = ["NEGATIVES", "OneFrameworkOnly"]


class OneFrameworkOnly(Exception):
    """The wrong use needs a second framework, and no other one is loaded."""


def _x(backend: Backend, *shape: int) -> Array:
    """1, 2, 3 ... in this shape."""
    size = int(np.prod(shape, dtype=np.int64))
    return native(backend, np.arange(1.0, size + 1.0).reshape(shape))


def _other(backend: Backend) -> Array:
    """An array of another framework than this one, of those that are loaded."""
    for name, info in ug.backends().items():
        framework = {"numpy": ""}.get(name, name)
        if framework in sys.modules and info.installed:
            other = ug.get_backend(name)
            if not set(other.array_types) & set(backend.array_types):
                return _x(other, 2)
    raise OneFrameworkOnly("no second framework is loaded")


def _sum_of_squares(backend: Backend) -> Any:
    return lambda x: backend.xp.sum(x**2)


def _grad(backend: Backend, f: Any, x: Any, argnums: Any = 0, **options: Any) -> Any:
    return ug.grad(f, argnums, backend=backend, **options)(x)


def _hvp(backend: Backend, f: Any, x: Any, v: Any, **options: Any) -> Any:
    return ug.hvp(f, x, v, backend=backend, **options)


def _mixed(backend: Backend) -> Any:
    other = _other(backend)
    own = _x(backend, 2)
    return ug.grad(lambda x, y: backend.xp.sum(x), backend=backend)(own, other)


def _mixed_output(backend: Backend) -> Any:
    other = _other(backend)
    return _grad(backend, lambda x: other, _x(backend, 2))


def _missing(backend: Backend) -> Any:
    return BackendSpec(
        name="absent",
        adapter="unigrad_absent.adapter:AbsentBackend",
        modules=("unigrad_absent_framework",),
        framework="unigrad_absent_framework",
        distribution="unigrad-absent-framework",
        install="pip install unigrad-absent-framework",
    ).load()


class _Own(Exception):
    """A user's exception."""


def _raising(x: Any) -> Any:
    raise _Own("my own message")


NEGATIVES: tuple[Negative, ...] = (
    Negative(
        "vector output of grad",
        "S2",
        lambda b: _grad(b, lambda x: x * 2, _x(b, 3)),
        ScalarOutputError,
        ("(3,)", "reduce=", "per_example", "jacobian", "vjp"),
    ),
    Negative(
        "output of shape (1,)",
        "S2",
        lambda b: _grad(b, lambda x: x * 2, _x(b, 1)),
        ScalarOutputError,
        ("(1,)",),
    ),
    Negative(
        "vector output of hvp",
        "S2",
        lambda b: _hvp(b, lambda x: x * 2, _x(b, 3), _x(b, 3)),
        ScalarOutputError,
        ("(3,)", "reduce="),
        order=2,
    ),
    Negative(
        "vector output of hessian",
        "S2",
        lambda b: ug.hessian(lambda x: x * 2, backend=b)(_x(b, 3)),
        ScalarOutputError,
        ("(3,)",),
        order=2,
    ),
    Negative(
        "complex output",
        "S2",
        lambda b: _grad(b, lambda z: z[0], native(b, np.array([1j, 2.0]))),
        ScalarOutputError,
        ("complex128", "real part"),
        requires="complex",
    ),
    Negative(
        "tuple output of grad",
        "S2",
        lambda b: _grad(b, lambda x: (x[0], x[1]), _x(b, 2)),
        ScalarOutputError,
        ("tuple of 2", "has_aux"),
    ),
    Negative(
        "None output",
        "S2",
        lambda b: _grad(b, lambda x: None, _x(b, 2)),
        ScalarOutputError,
        ("None",),
    ),
    Negative(
        "unconnected argument, refused",
        "S3",
        lambda b: ug.grad(lambda x, y: b.xp.sum(x), (0, 1), unconnected="error", backend=b)(
            _x(b, 2), _x(b, 3)
        ),
        UnconnectedError,
        ("does not depend on y", "unconnected"),
    ),
    Negative(
        "integer input",
        "S4",
        lambda b: _grad(b, lambda x: b.xp.sum(x), native(b, np.array([1, 2], np.int32))),
        NotDifferentiableError,
        ("x is to be differentiated", "int32", "1.0 instead of 1"),
    ),
    Negative(
        "Python int input",
        "S4",
        lambda b: _grad(b, lambda x: x * 2.0, 3),
        NotDifferentiableError,
        ("int", "1.0 instead of 1"),
    ),
    Negative(
        "bool input",
        "S4",
        lambda b: _grad(b, lambda x: b.xp.sum(x * 1.0), native(b, np.array([True, False]))),
        NotDifferentiableError,
        ("bool",),
    ),
    Negative(
        "integer leaf in a tree",
        "S4",
        lambda b: _grad(
            b,
            lambda params: b.xp.sum(params["layer1"][1]),
            {"layer1": [native(b, np.array([1, 2])), _x(b, 2)]},
        ),
        NotDifferentiableError,
        ("params['layer1'][0]",),
    ),
    Negative(
        "text in a tree",
        "S4",
        lambda b: _grad(b, lambda p: b.xp.sum(p["w"]), {"w": _x(b, 2), "name": "text"}),
        NotDifferentiableError,
        ("p['name']", "str"),
    ),
    Negative(
        "integer output",
        "S4",
        lambda b: _grad(b, lambda x: b.xp.argmax(x), _x(b, 3)),
        NotDifferentiableError,
        ("int", "return a float"),
    ),
    Negative(
        "bool output of vjp",
        "S4",
        lambda b: ug.vjp(lambda x: x > 1, _x(b, 3), backend=b),
        NotDifferentiableError,
        ("bool",),
    ),
    Negative(
        "f raises",
        "S6",
        lambda b: _grad(b, _raising, _x(b, 2)),
        _Own,
        ("my own message",),
    ),
    Negative(
        "f raises in hvp",
        "S6",
        lambda b: _hvp(b, _raising, _x(b, 2), _x(b, 2)),
        _Own,
        ("my own message",),
        order=2,
    ),
    Negative(
        "two frameworks",
        "S10",
        _mixed,
        MixedBackendError,
        ("y", "ug.asarray"),
    ),
    Negative(
        "output of another framework",
        "S10",
        _mixed_output,
        MixedBackendError,
        ("the function returned", "array_namespace"),
    ),
    Negative(
        "missing framework",
        "S11",
        _missing,
        BackendNotAvailableError,
        ("absent", "not installed", "pip install unigrad-absent-framework"),
    ),
    Negative(
        "unknown backend",
        "S11",
        lambda b: ug.grad(lambda x: x, backend="no such backend")(1.0),
        UnknownBackendError,
        ("no such backend", "'numpy'"),
    ),
    Negative(
        "unknown backend of use()",
        "S11",
        lambda b: ug.use("no such backend"),
        UnknownBackendError,
        ("no such backend",),
    ),
    Negative(
        "second order on a backend of first order",
        "S12",
        lambda b: _hvp(b, _sum_of_squares(b), _x(b, 2), _x(b, 2)),
        HigherOrderError,
        ("second-order",),
        order=2,
        unless="second_order",
    ),
    Negative(
        "tangent of another shape",
        "S15",
        lambda b: _hvp(b, _sum_of_squares(b), _x(b, 2), _x(b, 3)),
        ShapeError,
        ("x", "(2,)", "(3,)"),
        order=2,
    ),
    Negative(
        "tangent of another dtype",
        "S15",
        lambda b: ug.jvp(
            _sum_of_squares(b), _x(b, 2), native(b, np.ones(2, np.float32)), backend=b
        ),
        ShapeError,
        ("float64", "float32"),
        requires="float32",
    ),
    Negative(
        "tangent of another structure",
        "S15",
        lambda b: ug.jvp(lambda p: b.xp.sum(p["w"]), {"w": _x(b, 2)}, {"v": _x(b, 2)}, backend=b),
        StructureError,
        ("structure", "'w'", "'v'"),
    ),
    Negative(
        "cotangent of another shape",
        "S15",
        lambda b: ug.vjp(lambda x: x * 2, _x(b, 2), backend=b)[1](_x(b, 3)),
        ShapeError,
        ("output", "(2,)", "(3,)"),
    ),
    Negative(
        "unknown argument name",
        "argnums",
        lambda b: _grad(b, lambda x: x, _x(b, 2), "weights"),
        ArgumentError,
        ("'weights'", "'x'"),
    ),
    Negative(
        "argnums out of range",
        "argnums",
        lambda b: _grad(b, lambda x: x, _x(b, 2), 3),
        ArgumentError,
        ("argnums=3", "1 positional argument"),
    ),
    Negative(
        "argnums of no meaning",
        "argnums",
        lambda b: _grad(b, lambda x: x, _x(b, 2), 1.5),
        ArgumentError,
        ("argnums",),
    ),
    Negative(
        "empty argnums",
        "argnums",
        lambda b: _grad(b, lambda x: x, _x(b, 2), ()),
        ArgumentError,
        ("argnums",),
    ),
    Negative(
        "no function",
        "argnums",
        lambda b: ug.grad(_x(b, 2), backend=b),
        ArgumentError,
        ("function", "ug.grad(f)(x)"),
    ),
    Negative(
        "has_aux without a pair",
        "has_aux",
        lambda b: _grad(b, _sum_of_squares(b), _x(b, 2), has_aux=True),
        ArgumentError,
        ("has_aux", "pair"),
    ),
    Negative(
        "unknown option of reduce=",
        "options",
        lambda b: _grad(b, _sum_of_squares(b), _x(b, 2), reduce="max"),
        ArgumentError,
        ("'sum'", "'mean'", "'max'"),
    ),
    Negative(
        "unknown method of hvp",
        "options",
        lambda b: _hvp(b, _sum_of_squares(b), _x(b, 2), _x(b, 2), method="magic"),
        ArgumentError,
        ("'magic'", "reverse_over_reverse"),
        order=2,
    ),
    Negative(
        "reduce= with per_example=",
        "options",
        lambda b: _grad(b, _sum_of_squares(b), _x(b, 2), reduce="sum", per_example=True),
        ArgumentError,
        ("per_example", "reduce"),
    ),
    Negative(
        "nothing to differentiate",
        "argnums",
        lambda b: ug.vjp(lambda: 1.0, backend=b),
        ArgumentError,
        ("nothing to differentiate",),
    ),
)
