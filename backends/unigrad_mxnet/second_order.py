"""Derivatives of any order: the engine's, of what a function did on MXNet arrays.

What a derivative inside another one gives is noted by the recording around it as a call of its
own, whose value in NumPy is the engine's derivative: that is how any order follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad import engine
from unigrad.errors import HigherOrderError, UnsupportedError
from unigrad_mxnet.arrays import as_class, constant, numpy_semantics
from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Graph, Token, plain
from unigrad_mxnet.hooks import original
from unigrad_mxnet.memory import before_reading
from unigrad_mxnet.recording import (
    Recording,
    active,
    current,
    moves_anywhere,
    noted_by,
    recording,
)

__all__ = ["Exact", "agree", "call_function", "noted_rule"]

_TOLERANCE = {"float64": 1e-5, "float32": 1e-2, "float16": 0.2}
_ROUNDINGS = 64

Arrays = Sequence[Any]


class Exact:
    """A function at a point, as a graph: the derivatives that the engine gives of it.

    Args:
        record: the recording of the function.
        leaves: the arrays that it was called with.
        recorded: its outputs.
        outputs: copies of them, free of MXNet's own graph.
    """

    def __init__(
        self, record: Recording, leaves: Arrays, recorded: Arrays, outputs: Arrays
    ) -> None:
        self.graph: Graph = record.notes.graph(recorded)
        _refuse_unseen(record, self.graph)
        self.values = [plain(x) for x in leaves]
        self.constants = self.graph.constants()
        self.expected = [plain(y) for y in recorded]
        self.like = list(leaves)
        self.outputs_like = list(outputs)

    def function(self, constants: Arrays) -> Callable[..., tuple[Any, ...]]:
        return lambda *xs: tuple(self.graph(xs, constants))

    # ---------------------------------------------------------------- derivatives

    def vjp(
        self, primals: Arrays, outputs: Arrays, outer: Recording | None
    ) -> Callable[[Arrays], tuple[Any, ...]]:
        """The pullback; ``outputs`` are those that the caller gives, ``primals`` what it got."""
        found, pull = engine.vjp(self.function(self.constants), self.values)
        self._check(found)
        token = Token(pull)
        n = len(self.values)

        def run(xs: list[Any]) -> list[Any]:
            found, pull = engine.vjp(self.function(xs[n:]), xs[:n])
            return [*found, pull]

        noted_by(outer, "vjp", run, [*primals, *self.graph.arrays], [*outputs, token])

        def pullback(cotangents: Arrays) -> tuple[Any, ...]:
            return _applied(token, cotangents, self.like, self.outputs_like)

        return pullback

    def jvp(
        self, primals: Arrays, tangents: Arrays, outputs: Arrays, outer: Recording | None
    ) -> tuple[Any, ...]:
        """Tangents of the outputs."""

        def along(constants: Arrays, xs: Arrays, ts: Arrays) -> tuple[Arrays, Arrays]:
            return engine.jvp(self.function(constants), xs, ts)

        found, moved = along(self.constants, self.values, _plain(tangents))
        self._check(found)
        results = _arrays(moved, self.outputs_like)
        n, given = len(self.values), [t for t in tangents if t is not None]
        kept = [k for k, y in enumerate(results) if y is not None]

        def run(xs: list[Any]) -> list[Any]:
            ts = _spread(xs[n : n + len(given)], tangents)
            found, moved = along(xs[n + len(given) :], xs[:n], ts)
            return [*found, *[_filled(moved[k], found[k]) for k in kept]]

        inputs = [*primals, *given, *self.graph.arrays]
        noted_by(outer, "jvp", run, inputs, [*outputs, *[results[k] for k in kept]])
        return tuple(results)

    def linearize(
        self, primals: Arrays, outputs: Arrays, outer: Recording | None
    ) -> Callable[[Arrays], tuple[Any, ...]]:
        """The pushforward."""
        found, push = engine.linearize(self.function(self.constants), self.values)
        self._check(found)
        n = len(self.values)

        def filled(tangents: Arrays) -> Arrays:
            pairs = zip(tangents, self.values, strict=True)
            return push([np.zeros_like(x) if t is None else t for t, x in pairs])

        token = Token(filled)

        def run(xs: list[Any]) -> list[Any]:
            f = self.function(xs[n:])
            return [*f(*xs[:n]), lambda tangents: engine.jvp(f, xs[:n], tangents)[1]]

        noted_by(outer, "linearize", run, [*primals, *self.graph.arrays], [*outputs, token])

        def pushforward(tangents: Arrays) -> tuple[Any, ...]:
            return _applied(token, tangents, self.outputs_like, self.like)

        return pushforward

    def hvp(
        self,
        primals: Arrays,
        tangents: Arrays,
        outputs: Arrays,
        outer: Recording | None,
        forward: bool,
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Gradients of the first output, and the Hessian times ``tangents``."""
        n = len(self.values)

        def both(constants: Arrays, xs: Arrays, ts: Arrays) -> tuple[Arrays, Arrays]:
            f = self.function(constants)

            def gradient(*xs: Any) -> tuple[Any, ...]:
                found, grads = engine.value_and_grad(f, xs)
                return (*[_filled(g, x) for g, x in zip(grads, xs, strict=True)], *found)

            if forward:
                return engine.jvp(gradient, xs, ts)
            results, pull = engine.vjp(gradient, xs)
            return results, pull([*ts, *[None] * (len(results) - n)])

        results, products = both(self.constants, self.values, _plain(tangents))
        self._check(results[n:])
        grads = _arrays(results[:n], self.like)
        moved = _arrays(products[:n], self.like)
        kept = [k for k, y in enumerate(moved) if y is not None]

        def run(xs: list[Any]) -> list[Any]:
            results, products = both(xs[2 * n :], xs[:n], xs[n : 2 * n])
            moved = [_filled(products[k], xs[k]) for k in kept]
            return [*results[n:], *results[:n], *moved]

        noted_by(
            outer,
            "hvp",
            run,
            [*primals, *tangents, *self.graph.arrays],
            [*outputs, *grads, *[moved[k] for k in kept]],
        )
        return tuple(grads), tuple(moved)

    def _check(self, found: Arrays) -> None:
        """The graph must give what MXNet gave, or its derivatives are worth nothing."""
        if not agree(self.graph, self.values, self.constants, found, self.expected):
            raise HigherOrderError(
                "a derivative was asked for that needs the function in plain NumPy, and "
                "its value there is not the one that MXNet gave: an array may have been "
                "written in place, or the translation of an operator is wrong; compute on "
                "another backend: ug.asarray(tree, backend='numpy')"
            )


def agree(graph: Graph, leaves: Arrays, constants: Arrays, found: Arrays, expected: Arrays) -> bool:
    """Whether ``found``, of the graph, is what MXNet gave, up to rounding and what cancels."""
    for k, (y, wanted) in enumerate(zip(found, expected, strict=True)):
        if wanted.dtype.kind != "f" or not wanted.size:
            continue
        tolerance = _TOLERANCE[wanted.dtype.name]
        scale = np.max(np.abs(wanted), where=np.isfinite(wanted), initial=0.0)
        if np.allclose(y, wanted, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            continue
        largest = graph.scales(leaves, constants)[k]
        rounding = _ROUNDINGS * float(np.finfo(wanted.dtype).eps) * largest
        if not np.allclose(y, wanted, rtol=0.0, atol=rounding, equal_nan=True):
            return False
    return True


def _refuse_unseen(record: Recording, graph: Graph) -> None:
    """A constant that MXNet recorded as a result was made in a way that was not noted."""
    for x in graph.arrays:
        if not isinstance(x, Token) and record.unseen(x) and not moves_anywhere(x):
            raise HigherOrderError(
                "a derivative was asked for that goes through an array which comes from another "
                "derivative, or was written piece by piece, and would be lost; return it from "
                "the function, or use ug.stop_gradient(array) if a constant is meant"
            )


def _applied(token: Token, given: Arrays, like: Arrays, given_like: Arrays) -> tuple[Any, ...]:
    """The linear map of ``token``, in NumPy, noted by the recording around it."""

    def fitted(x: Any, model: Any) -> Any:  # 0-d here and (1,) there, where mx.nd meets xp
        return x if x is None or x.shape == model.shape else np.reshape(x, model.shape)

    def mapped(apply: Callable[[Arrays], Arrays], xs: Arrays) -> Arrays:
        return apply([fitted(x, y) for x, y in zip(xs, given_like, strict=True)])

    results = _arrays(mapped(token.apply, _plain(given)), like)
    present = [x for x in given if x is not None]
    kept = [k for k, y in enumerate(results) if y is not None]
    shapes = [(tuple(like[k].shape), np.dtype(like[k].dtype)) for k in kept]

    def run(xs: list[Any]) -> list[Any]:
        found = mapped(xs[0], _spread(xs[1:], given))
        return [
            np.zeros(*shape) if found[k] is None else found[k]
            for k, shape in zip(kept, shapes, strict=True)
        ]

    noted_by(current(), "linear map", run, [token, *present], [results[k] for k in kept])
    return tuple(results)


def _plain(xs: Arrays) -> list[Any]:
    return [None if x is None else plain(x) for x in xs]


def _spread(xs: Arrays, pattern: Arrays) -> list[Any]:
    """``xs`` at the places where ``pattern`` is not ``None``."""
    values = iter(xs)
    return [None if p is None else next(values) for p in pattern]


def _filled(y: Any, like: Any) -> Any:
    return np.zeros_like(like) if y is None else y


def _arrays(values: Arrays, like: Arrays) -> list[Any]:
    """NumPy arrays as MXNet arrays of these classes, shapes and dtypes; constants to MXNet."""
    return [None if y is None else _array(y, model) for y, model in zip(values, like, strict=True)]


def _array(y: Any, like: Any) -> Any:
    with mx.autograd.pause(train_mode=mx.autograd.is_training()), numpy_semantics():
        values = np.broadcast_to(np.asarray(y), tuple(like.shape))
        return as_class(constant(values, like.ctx, np.dtype(like.dtype).name), like)


# -------------------------------------------------------------------- rules of the user's own


def noted_rule(
    apply: Callable[..., Arrays],
    forward: Callable[..., tuple[Arrays, Arrays]],
    backward: Callable[[Arrays, Arrays], Arrays],
    primals: Arrays,
) -> tuple[Any, ...]:
    """``apply(forward)``, noted with ``backward`` as its derivative.

    Args:
        apply: calls the forward function it is given, once, and records the rule in MXNet.
        forward: ``forward(*primals) -> (outputs, residuals)``.
    """
    outer = current()
    if active.capture is not None:
        active.capture.fail("it has a derivative rule of its own")
    seen: list[Any] = []

    def watched(*xs: Any) -> tuple[Arrays, Arrays]:
        with recording(xs, rule=True) as record:
            outputs, residuals = forward(*xs)
            before_reading(
                [x.handle.value for x in (*outputs, *residuals) if isinstance(x, mx.nd.NDArray)]
            )
        seen.extend((record, tuple(xs), tuple(outputs), tuple(residuals)))
        return outputs, residuals

    results = tuple(apply(watched))
    if outer is None:
        return results
    record, leaves, made, residuals = seen
    kept = _distinct([*residuals, *made, *record.notes.moving()])
    rule = _Rule(record, leaves, made, kept, lambda cotangents: backward(residuals, cotangents))
    outer.note("custom derivative", rule.prepared, primals, results)
    return results


def _distinct(arrays: Arrays) -> list[Any]:
    known: dict[int, Any] = {}
    for x in arrays:
        if isinstance(x, mx.nd.NDArray):
            known.setdefault(x.handle.value, x)
    return list(known.values())


class _Rule:
    """A user's rule in plain NumPy: its parts are graphs, that of ``backward`` made when needed."""

    def __init__(
        self,
        record: Recording,
        leaves: Arrays,
        made: Arrays,
        kept: Arrays,
        backward: Callable[[Arrays], Arrays],
    ) -> None:
        self.record, self.leaves, self.made, self.kept = record, leaves, made, kept
        self.backward = backward
        self.training = mx.autograd.is_training()

    def prepared(self) -> Callable[[list[Any]], Arrays]:
        self._refuse_lost([x for x in self.kept if not self.record.notes.moves(x)])
        graph = self.record.notes.graph([*self.made, *self.kept])
        if any(moves_anywhere(x) for x in graph.arrays):
            raise UnsupportedError(
                "a function with a custom derivative uses a differentiated array that is not "
                "among its arguments, and would lose its derivative; pass it as an argument"
            )
        constants = graph.constants()
        count = len(self.made)

        def forward(*xs: Any) -> tuple[Arrays, Arrays]:
            found = graph(xs, constants)
            same = {y.handle.value: v for y, v in zip(self.made, found, strict=False)}
            kept = [
                same.get(x.handle.value, v) for x, v in zip(self.kept, found[count:], strict=True)
            ]
            return found[:count], kept

        return lambda xs: engine.custom_vjp(forward, self._pull, xs)

    def _refuse_lost(self, constants: Arrays) -> None:
        """What ``forward`` made in NumPy is no constant; of its outputs alone the rule is known."""
        outputs = {y.handle.value for y in self.made}
        if self.record.left and any(
            np.dtype(x.dtype).kind == "f" and x.handle.value not in outputs for x in constants
        ):
            raise HigherOrderError(
                "a derivative was asked for that differentiates a custom rule, which keeps "
                "values that it has computed in NumPy, where their derivative is lost; compute "
                "them with MXNet's operators"
            )

    def _pull(self, residuals: Arrays, cotangents: Arrays) -> Arrays:
        plain_ones = [np.asarray(engine.stop_gradient(c)) for c in cotangents]
        given = _arrays(plain_ones, self.made)
        leaves = [*self.kept, *given]
        with mx.autograd.pause(train_mode=self.training), recording(leaves, rule=True) as record:
            results = self.backward(given)
        if record.left:
            raise HigherOrderError(
                "a second derivative was asked for through a custom rule that looks at values, "
                "or computes in NumPy, where their derivative is lost; write the rule with "
                "MXNet's operators"
            )
        places = [k for k, y in enumerate(results) if y is not None]
        graph = record.notes.graph([results[k] for k in places])
        self._refuse_lost(graph.arrays)
        found = iter(graph([*residuals, *cotangents], graph.constants()))
        return [None if y is None else next(found) for y in results]


def call_function(self: Any, *inputs: Any) -> Any:
    """An ``mx.autograd.Function``: noted with its own backward, whatever MXNet makes of it."""
    if current() is None:
        return original("call")(self, *inputs)
    given: list[Any] = []

    def apply(forward: Callable[..., tuple[Arrays, Arrays]]) -> Arrays:
        def run(*xs: Any) -> Any:
            forward(*[x.detach() for x in xs])
            return given[0]

        self.forward = run
        try:
            return _listed(original("call")(self, *inputs))
        finally:
            del self.forward

    def forward(*xs: Any) -> tuple[Arrays, Arrays]:
        given.append(type(self).forward(self, *xs))
        return _listed(given[0]), ()

    def backward(_: Arrays, cotangents: Arrays) -> Arrays:
        return _listed(self.backward(*cotangents))

    noted_rule(apply, forward, backward, inputs)
    return given[0]


def _listed(x: Any) -> Arrays:
    return (x,) if isinstance(x, mx.nd.NDArray) else tuple(x)
