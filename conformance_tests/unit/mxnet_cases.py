"""Cases of MXNet's operators: what is called, on what; and the checks of their translations.

The call is watched while MXNet runs it. The same operators are then run by their translations in
NumPy: values, shapes and dtypes must be MXNet's; the gradient, with a head that is not constant,
MXNet's own or differences; the second order, differences of the gradient.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.engine import jvp, linearize, vjp
from unigrad.errors import BackendNotAvailableError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

from unigrad_mxnet.arrays import numpy_semantics
from unigrad_mxnet.framework import mx
from unigrad_mxnet.operators import OPERATORS, Attributes
from unigrad_mxnet.recording import operator_name

Array = Any
Spec = Callable[[np.random.Generator], Array]


def _spec(make: Callable[[np.random.Generator], Array]) -> Spec:
    return make


def R(*shape: int) -> Spec:
    """Normal numbers."""
    return _spec(lambda rng: rng.standard_normal(shape))


def P(*shape: int) -> Spec:
    """Numbers between 0.5 and 2."""
    return _spec(lambda rng: rng.uniform(0.5, 2.0, shape))


def U(*shape: int) -> Spec:
    """Numbers between -0.9 and 0.9."""
    return _spec(lambda rng: rng.uniform(-0.9, 0.9, shape))


def SPD(*shape: int) -> Spec:
    """Symmetric positive definite matrices."""

    def make(rng: np.random.Generator) -> Array:
        a = rng.standard_normal(shape)
        return a @ np.swapaxes(a, -1, -2) + shape[-1] * np.eye(shape[-1])

    return make


def V(values: Any) -> Spec:
    """These numbers, differentiated."""
    return _spec(lambda rng: np.array(values, dtype=float))


@dataclass(frozen=True)
class C:
    """A constant array; without a dtype, of the floats that the others are of."""

    values: Any
    dtype: str | None = None


@dataclass(frozen=True)
class Case:
    """One operator called in one way.

    Attributes:
        native: whether MXNet's own first order exists and is right; differences are the oracle
            elsewhere, and MXNet does not record.
        single: whether the case is run in float32 too.
        double: whether MXNet has the operator in float64; if not, so have the translations only.
        modes: whether the derivative forwards is that backwards, which is not so of a declared one.
        exact: whether MXNet computes in the precision of its arrays, or in float32 always.
        second: whether the gradient may be differenced, which it may not at a kink.
        np: whether the arrays are `mx.np`'s.
    """

    name: str
    call: Callable[..., Any]
    inputs: tuple[Any, ...] = field(repr=False)
    native: bool = True
    single: bool = True
    double: bool = True
    exact: bool = True
    second: bool = True
    modes: bool = True
    np: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def anywhere(self) -> bool:
        """Whether it can be run at any numbers: one or two arrays, in float64."""
        constant = any(isinstance(item, C) for item in self.inputs)
        return self.double and not constant and len(self.inputs) <= 2 and self.name != "gammaln"


def build(case: Case, dtype: str) -> tuple[list[Array], list[bool]]:
    rng = np.random.default_rng(7)
    arrays, active = [], []
    for item in case.inputs:
        if isinstance(item, C):
            arrays.append(np.array(item.values, dtype=item.dtype or dtype))
            active.append(False)
        else:
            arrays.append(item(rng).astype(dtype))
            active.append(True)
    return arrays, active


def to_mxnet(case: Case, x: Array) -> Any:
    made = ug.get_backend("mxnet").asarray(x)
    return made if case.np else made.as_nd_ndarray()


@dataclass
class Call:
    op: str
    attrs: Attributes
    inputs: list[Any]
    outputs: list[Any]
    values: list[Array] | None = None


@contextlib.contextmanager
def watched() -> Iterator[list[Call]]:
    """The operator calls that MXNet runs meanwhile."""
    module, calls = sys.modules["mxnet.ndarray.register"], list[Call]()
    api = sys.modules["mxnet.ndarray.numpy._api_internal"]
    run = vars(module)["_imperative_invoke"]

    def invoke(
        handle: int, arrays: Any, keys: Any, values: Any, out: Any, is_np: Any, listed: Any
    ) -> Any:
        found = run(handle, arrays, keys, values, out, is_np, listed)
        outputs = list(found) if isinstance(found, list | tuple) else [found]
        attrs = Attributes(dict(zip(keys, map(str, values), strict=True)))
        note(Call(operator_name(handle), attrs, list(arrays), outputs))
        return found

    def contract(x: Any, y: Any, axes: Any) -> Any:
        """`tensordot` goes another way into MXNet than all others do."""
        found = tensordot(x, y, axes)
        if isinstance(axes, int):
            note(Call("_npi_tensordot_int_axes", Attributes({"axes": str(axes)}), [x, y], [found]))
        else:
            given = dict(zip(("a_axes_summed", "b_axes_summed"), map(str, axes), strict=True))
            note(Call("_npi_tensordot", Attributes(given), [x, y], [found]))
        return found

    def note(call: Call) -> None:
        if not call.inputs:
            call.values = [y.asnumpy() for y in call.outputs]
        calls.append(call)

    tensordot = vars(api)["tensordot"]
    module._imperative_invoke = invoke
    api.tensordot = contract
    try:
        yield calls
    finally:
        module._imperative_invoke = run
        api.tensordot = tensordot


@dataclass
class Run:
    """What MXNet did: its calls, inputs and outputs."""

    calls: list[Call]
    xs: list[Any]
    ys: list[Any]

    def translated(self, values: Sequence[Any]) -> list[Any]:
        """The outputs by the translations, of other values of the inputs."""
        known = {id(x): v for x, v in zip(self.xs, values, strict=True)}
        for call in self.calls:
            given = [known[id(x)] if id(x) in known else x.asnumpy() for x in call.inputs]
            made: Any = call.values
            if call.op in OPERATORS:
                made = OPERATORS[call.op](given, call.attrs, False)
            for y, v in zip(call.outputs, made, strict=False):
                known[id(y)] = v.reshape(y.shape) if y.size == 1 else v
        return [known[id(y)] for y in self.ys]


def run(case: Case, arrays: Sequence[Array], active: Sequence[bool]) -> Run:
    xs = [to_mxnet(case, x) for x in arrays]
    for x, is_active in zip(xs, active, strict=True):
        if is_active:
            x.attach_grad()
    recorded = mx.autograd.record(train_mode=False) if case.native else contextlib.nullcontext()
    with recorded, watched() as calls:
        found = case.call(*xs)
    ys = list(found) if isinstance(found, list | tuple) else [found]
    return Run(calls, xs, ys)


def scope(case: Case) -> contextlib.AbstractContextManager[Any]:
    return numpy_semantics() if case.np else contextlib.nullcontext()


def head(y: Array) -> Array:
    """Numbers that are not constant, to multiply an output by."""
    y = np.asarray(y)
    n = np.arange(1, y.size + 1).reshape(y.shape)
    return (np.cos(n) + 0.1 * n).astype(y.dtype)


def loss(found: Run, arrays: Sequence[Array], active: Sequence[bool]) -> Callable[..., Any]:
    """A function of the active inputs that is not linear in the outputs."""

    def f(*leaves: Any) -> Any:
        given = iter(leaves)
        values = [next(given) if a else x for x, a in zip(arrays, active, strict=True)]
        total = 0.0
        for y in found.translated(values):
            if y.dtype.kind == "f":
                total = total + np.sum(y * head(y) + 0.3 * y * y)
        return (total,)

    return f


def gradient(f: Callable[..., Any], leaves: Sequence[Array]) -> list[Array]:
    _, pullback = vjp(f, list(leaves))
    return [
        np.zeros_like(x) if g is None else g
        for g, x in zip(pullback([np.float64(1.0)]), leaves, strict=True)
    ]


def check_values(case: Case, dtype: str) -> None:
    arrays, active = build(case, dtype)
    with scope(case):
        found = run(case, arrays, active)
        wanted = [y.asnumpy() for y in found.ys]
        got = found.translated(arrays)
    tolerance = 1e-12 if dtype == "float64" and case.exact else 1e-5
    for y, w in zip(got, wanted, strict=True):
        y = np.asarray(y)
        assert y.shape == w.shape, (y.shape, w.shape)
        assert y.dtype == w.dtype or not case.exact, (y.dtype, w.dtype)
        np.testing.assert_allclose(y, w, rtol=tolerance, atol=tolerance)


def check_gradient(case: Case) -> None:
    arrays, active = build(case, "float64")
    leaves = [x for x, a in zip(arrays, active, strict=True) if a]
    tolerance = 1e-6
    with scope(case):
        found = run(case, *build(case, "float64" if case.double else "float32"))
        f = loss(found, arrays, active)
        got = gradient(f, leaves)
        if case.native and case.double:
            wanted = native_gradient(case, found, active)
            tolerance = 1e-10 if case.exact else 1e-5
        elif case.exact and case.double:
            wanted = differences(lambda *v: native_loss(case, arrays, active, v), leaves)
        else:
            wanted = differences(lambda *v: np.array(f(*v)[0]), leaves)
    for g, w in zip(got, wanted, strict=True):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)


def native_loss(
    case: Case, arrays: Sequence[Array], active: Sequence[bool], leaves: Sequence[Array]
) -> Array:
    """What `loss` gives, of MXNet's own values."""
    given = iter(leaves)
    values = [next(given) if a else x for x, a in zip(arrays, active, strict=True)]
    ys = [y.asnumpy() for y in run(case, values, active).ys]
    return np.sum([np.sum(y * head(y) + 0.3 * y * y) for y in ys if y.dtype.kind == "f"])


def native_gradient(case: Case, found: Run, active: Sequence[bool]) -> list[Array]:
    ys = [y for y in found.ys if np.dtype(y.dtype).kind == "f"]
    values = [y.asnumpy() for y in ys]
    heads = [to_mxnet(case, head(v) + 0.6 * v) for v in values]
    mx.autograd.backward(ys, heads)
    return [x.grad.asnumpy() for x, a in zip(found.xs, active, strict=True) if a]


def differences(f: Callable[..., Array], leaves: Sequence[Array]) -> list[Array]:
    """Central differences of a number."""
    made = []
    for i, x in enumerate(leaves):
        g = np.zeros_like(x)
        for k in np.ndindex(*x.shape):
            ends = []
            for h in (1e-5, -1e-5):
                moved = [y.copy() for y in leaves]
                moved[i][k] += h
                ends.append(f(*moved))
            g[k] = (ends[0] - ends[1]) / 2e-5
        made.append(g)
    return made


def check_second(case: Case) -> None:
    """A Hessian-vector product, reverse over reverse, against differences of the gradient."""
    arrays, active = build(case, "float64")
    leaves = [x for x, a in zip(arrays, active, strict=True) if a]
    rng = np.random.default_rng(3)
    along = [rng.standard_normal(x.shape) for x in leaves]
    with scope(case):
        found = run(case, *build(case, "float64" if case.double else "float32"))
        f = loss(found, arrays, active)

        def directional(*v: Any) -> Any:
            return (sum(np.sum(g * d) for g, d in zip(gradient(f, v), along, strict=True)),)

        got = gradient(directional, leaves)
        h = 1e-5
        up = gradient(f, [x + h * d for x, d in zip(leaves, along, strict=True)])
        down = gradient(f, [x - h * d for x, d in zip(leaves, along, strict=True)])
    for g, a, b in zip(got, up, down, strict=True):
        np.testing.assert_allclose(g, (a - b) / (2 * h), rtol=1e-5, atol=1e-5)


def check_modes(case: Case) -> None:
    """Forwards as backwards: the tangent, and the same linear map at any tangent, replayed."""
    arrays, active = build(case, "float64")
    leaves = [x for x, a in zip(arrays, active, strict=True) if a]
    rng = np.random.default_rng(5)
    along = [rng.standard_normal(x.shape) for x in leaves]
    with scope(case):
        found = run(case, *build(case, "float64" if case.double else "float32"))
        f = loss(found, arrays, active)
        _, (moved,) = jvp(f, leaves, along)
        slope = sum(np.sum(g * d) for g, d in zip(gradient(f, leaves), along, strict=True))

        def directional(*v: Any) -> Any:
            return (sum(np.sum(g * d) for g, d in zip(gradient(f, v), along, strict=True)),)

        second = gradient(directional, leaves)
        _, pushed = linearize(lambda *v: gradient(f, v), leaves)
        forwards = pushed(along)
    np.testing.assert_allclose(0.0 if moved is None else moved, slope, rtol=1e-7, atol=1e-9)
    for a, b in zip(forwards, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


SPECIAL = [np.nan, np.inf, 0.0, -0.0, 1e300, 1.0, 0.5, 1.5, 2.5, 30.0, 800.0]


def check_special(case: Case) -> None:
    """Values at infinity, nan, the two zeros, and where numbers overflow."""
    one = np.array([*SPECIAL, *(-x for x in SPECIAL)])
    both = np.meshgrid(one, one) if len(case.inputs) == 2 else [one]
    arrays = [x.reshape(-1) for x in both]
    with scope(case), np.errstate(all="ignore"):
        found = run(case, arrays, [True] * len(arrays))
        wanted = [y.asnumpy() for y in found.ys]
        got = found.translated(arrays)
    for y, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(y, w, rtol=1e-11 if case.exact else 1e-5)
