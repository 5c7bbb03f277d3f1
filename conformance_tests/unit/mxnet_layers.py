"""Cases of MXNet's neural-network operators, and the checks of their translations.

Values, shapes and dtypes must be MXNet's; the gradient, with a head that is not constant, too,
where MXNet's own is right; the second order is checked against differences, and its replay at
other values against itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unigrad.engine import jvp, replayed, vjp
from unigrad_mxnet.arrays import constant
from unigrad_mxnet.framework import mx
from unigrad_mxnet.operators import OPERATORS, Attributes

__all__ = ["Layer", "check_first", "check_second", "layer", "native"]

Array = Any


@dataclass(frozen=True)
class Layer:
    """One operator called in one way.

    Attributes:
        inputs: shapes, of normal numbers, or arrays.
        argnums: which inputs are differentiated.
        training: the mode in which MXNet runs it.
        double: whether MXNet has it in float64; ``single``: in float32.
        tolerance: of values and gradients in float64.
        native: whether MXNet's own gradient is right.
        second: whether the gradient may be differenced.
    """

    op: str
    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any]
    argnums: tuple[int, ...]
    training: bool = True
    double: bool = True
    single: bool = True
    tolerance: float = 1e-11
    native: bool = True
    second: bool = True

    def __str__(self) -> str:
        words = [f"{k}={v}" for k, v in self.attrs.items()]
        mode = [] if self.training else ["predict"]
        return "-".join([self.op, *words, *mode]).replace(" ", "")

    def arrays(self, dtype: str) -> list[Array]:
        rng = np.random.default_rng(5)
        made = [rng.normal(size=s) if isinstance(s, tuple) else np.asarray(s) for s in self.inputs]
        return [x.astype(dtype) for x in made]

    def translated(self, arrays: Sequence[Array]) -> list[Array]:
        attributes = Attributes({k: str(v) for k, v in self.attrs.items()})
        return OPERATORS[self.op](list(arrays), attributes, self.training)

    def function(self, arrays: Sequence[Array]) -> Callable[..., list[Array]]:
        """The outputs as a function of the differentiated inputs."""

        def f(*leaves: Array) -> list[Array]:
            xs = list(arrays)
            for i, x in zip(self.argnums, leaves, strict=True):
                xs[i] = x
            return self.translated(xs)

        return f


def layer(op: str, *inputs: Any, argnums: Any = None, attrs: Any = None, **options: Any) -> Layer:
    """A case, by default differentiated in every input given by its shape."""
    if argnums is None:
        argnums = tuple(i for i, x in enumerate(inputs) if isinstance(x, tuple))
    return Layer(op, inputs, attrs or {}, argnums, **options)


def _to_mxnet(x: Array) -> Any:
    return constant(x).as_nd_ndarray()


def native(case: Layer, arrays: Sequence[Array], heads: Any = None) -> Any:
    """MXNet's own outputs, or its gradients for these heads."""
    space, name = mx.nd, case.op
    if name.startswith("_contrib_"):
        space, name = mx.nd.contrib, name.removeprefix("_contrib_")
    xs = [_to_mxnet(x) for x in arrays]
    for i in case.argnums:
        xs[i].attach_grad()
    with mx.autograd.record(train_mode=case.training):
        found = vars(space)[name](*xs, **case.attrs)
        ys = list(found) if isinstance(found, list | tuple) else [found]
    outputs = [y.asnumpy() for y in ys]
    if heads is None:
        return outputs
    used = [_to_mxnet(h) for h in heads]
    mx.autograd.backward(ys[: len(used)], used, train_mode=case.training)
    return [xs[i].grad.asnumpy() for i in case.argnums]


def _heads(ys: Sequence[Array]) -> list[Array]:
    return [np.cos(1 + np.arange(y.size)).reshape(y.shape).astype(y.dtype) for y in ys]


def _pulled(f: Callable[..., Any], leaves: Sequence[Array], heads: Sequence[Array]) -> list[Array]:
    _, pullback = vjp(f, leaves)
    return [
        np.zeros_like(x) if c is None else c for c, x in zip(pullback(heads), leaves, strict=True)
    ]


def check_first(case: Layer, dtype: str) -> None:
    """The value and the gradient are MXNet's."""
    if not (case.double if dtype == "float64" else case.single):
        return
    arrays = case.arrays(dtype)
    got = case.translated(arrays)
    wanted = native(case, arrays)
    tolerance = case.tolerance if dtype == "float64" else 1e-4
    for y, w in zip(got, wanted, strict=False):
        assert (y.shape, y.dtype) == (w.shape, w.dtype)
        np.testing.assert_allclose(y, w, rtol=tolerance, atol=tolerance)
    if case.native:
        heads = _heads(got)
        gradients = native(case, arrays, heads)
        pulled = _pulled(case.function(arrays), [arrays[i] for i in case.argnums], heads)
        for g, w in zip(pulled, gradients, strict=True):
            assert (g.shape, g.dtype) == (w.shape, w.dtype)
            np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)


def check_second(case: Layer) -> None:
    """The Hessian-vector product, by forward over reverse, recorded and not."""
    arrays = case.arrays("float64")
    f = case.function(arrays)
    leaves = [arrays[i] for i in case.argnums]
    heads = _heads(f(*leaves))
    rng = np.random.default_rng(6)
    along = [rng.normal(size=x.shape) for x in leaves]

    def loss(*xs: Array) -> list[Array]:
        return [sum(np.sum(h * np.sin(y)) for h, y in zip(heads, f(*xs), strict=True))]

    def gradient(*xs: Array) -> list[Array]:
        return _pulled(loss, xs, [np.float64(1.0)])

    def product(*both: Array) -> list[Array]:
        xs, vs = both[: len(leaves)], both[len(leaves) :]
        _, moved = jvp(gradient, xs, vs)
        return [np.zeros_like(x) if t is None else t for t, x in zip(moved, xs, strict=True)]

    if case.second:
        h = 1e-5
        up = gradient(*[x + h * v for x, v in zip(leaves, along, strict=True)])
        down = gradient(*[x - h * v for x, v in zip(leaves, along, strict=True)])
        for g, a, b in zip(product(*leaves, *along), up, down, strict=True):
            w = (a - b) / (2 * h)
            np.testing.assert_allclose(g, w, rtol=2e-6, atol=2e-6 * max(1.0, np.abs(w).max()))
    again = replayed(product)
    again(*leaves, *along)
    others = [x * 0.9 for x in leaves]
    for g, w in zip(again(*others, *along), product(*others, *along), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-10)
