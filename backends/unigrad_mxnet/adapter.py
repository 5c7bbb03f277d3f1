"""MXNet 1.9.1: its own autograd on fresh arrays at first order, the engine beyond that.

What MXNet records is watched by `watching`; where its own derivative would be wrong or missing,
the engine differentiates what was noted (`second_order`).

Both array classes are served, ``mx.np.ndarray`` and ``mx.nd.NDArray``; a result has the class of
its leaf. ``mx.nd`` has no 0-d arrays, so its shape (1,) counts as the scalar. NumPy shape
semantics are entered locally for ``mx.np`` leaves and never switched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.backend import (
    Array,
    Backend,
    FlatFunction,
    HvpMethod,
    Pullback,
    Pushforward,
    seed,
)
from unigrad.stateless import ModelOptions, StatelessModel
from unigrad_mxnet import models, namespace, spec, watching
from unigrad_mxnet.arrays import (
    as_class,
    constant,
    is_np,
    new_arrays_like,
    numpy_semantics,
    semantics,
)
from unigrad_mxnet.compiled import Compiled
from unigrad_mxnet.creation import supported
from unigrad_mxnet.framework import mx
from unigrad_mxnet.kernels import conv2d
from unigrad_mxnet.memory import Kept, before_reading, copied
from unigrad_mxnet.recording import (
    Recording,
    active,
    current,
    names_in,
    recording,
    refuse_if_recording,
)
from unigrad_mxnet.rules import apply_rule
from unigrad_mxnet.second_order import Exact

__all__ = ["MxnetBackend"]

watching.install()


class MxnetBackend(Backend):
    """unigrad's view of MXNet."""

    name = spec.name
    capabilities = spec.capabilities
    array_types = (mx.nd.NDArray,)
    ops = {"conv2d": conv2d}  # noqa: RUF012

    # ---------------------------------------------------------------- array glue

    @property
    def xp(self) -> Any:
        return namespace

    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        context = None if like is None else like.ctx
        if isinstance(x, mx.nd.NDArray):
            with semantics(x):
                x = _dense(x)
                moved = x if context in (None, x.ctx) else x.copyto(context)
                kind = self.dtype(x) if dtype is None else supported(dtype).name
                return moved.astype(kind, copy=True)
        values = np.asarray(x)
        if dtype is None:
            dtype = values.dtype.name
        kind = supported(dtype).name
        with numpy_semantics():
            made = constant(values, context, kind)
            return made if like is None else as_class(made, like)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        with semantics(x):
            values: np.ndarray[Any, Any] = x.asnumpy()
            return values

    def dtype(self, x: Array) -> str:
        return str(np.dtype(x.dtype).name)

    def shape(self, x: Array) -> tuple[int, ...]:
        with semantics(x):
            return tuple(x.shape)

    def is_scalar(self, x: Array) -> bool:
        shape = self.shape(x)
        return shape == () or (shape == (1,) and not is_np(x))

    def is_concrete(self, x: Array) -> bool:
        return not any(r.notes.moves(x) for r in active.stack if not r.watches)

    def zeros_like(self, x: Array) -> Array:
        with semantics(x):
            if is_np(x):
                return mx.np.zeros(x.shape, dtype=self.dtype(x), ctx=x.ctx)
            return mx.nd.zeros(x.shape, dtype=self.dtype(x), ctx=x.ctx)

    def ones_like(self, x: Array) -> Array:
        with semantics(x):
            make = mx.np.ones if is_np(x) else mx.nd.ones
            return make(x.shape, dtype=self.dtype(x), ctx=x.ctx)

    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        with numpy_semantics():
            total: Any = None
            for x, y in zip(xs, ys, strict=True):
                part = mx.np.sum(x.as_np_ndarray() * y.as_np_ndarray())
                total = part if total is None else total + part
            if total is None:
                return mx.np.zeros((), dtype="float64")
            return as_class(total, xs[0])

    def stop_gradient(self, x: Array) -> Array:
        with semantics(x), mx.autograd.pause(train_mode=mx.autograd.is_training()):
            return x.copy()

    def scope(self, leaves: Sequence[Any]) -> contextlib.AbstractContextManager[Any] | None:
        own = [x for x in leaves if isinstance(x, mx.nd.NDArray)]
        if own and not any(is_np(x) for x in own):
            return None
        return numpy_semantics()

    # ---------------------------------------------------------------- derivatives

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        return self._vjp(f, primals, later=True)

    def _vjp(
        self, f: FlatFunction, primals: Sequence[Array], later: bool
    ) -> tuple[tuple[Array, ...], Pullback]:
        run = _Run(f, primals)
        if run.record.exact:
            return run.outputs, run.exact().vjp(primals, run.outputs, run.outer)
        return run.outputs, self._pullback(run, Kept(run.record.notes) if later else None)

    def _pullback(self, run: _Run, kept: Kept | None) -> Pullback:
        """The pullback that MXNet gives, unless a constant is written in between."""
        leaves, recorded = run.leaves, run.recorded
        reached = [names_in(y) if "float" in self.dtype(y) else frozenset() for y in recorded]
        names = [mx.autograd.get_symbol(x).name for x in leaves]

        def pullback(cotangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
            refuse_if_recording("a pullback")
            written = kept is not None and kept.put_back()
            if written or current() is not None:  # it needs more than MXNet's
                return run.exact().vjp(leaves, run.outputs, None)(cotangents)
            with numpy_semantics():  # for mx.nd too: xp computes on 0-d arrays inside
                heads = [
                    (y, as_class(c, y), found)
                    for y, c, found in zip(recorded, cotangents, reached, strict=True)
                    if c is not None and found
                ]
                connected = frozenset[str]().union(*(found for _, _, found in heads))
                asked = [k for k, name in enumerate(names) if name in connected]
                grads: list[Array | None] = [None] * len(leaves)
                if asked:
                    found = mx.autograd.grad(
                        [y for y, _, _ in heads],
                        [leaves[k] for k in asked],
                        head_grads=[c for _, c, _ in heads],
                        retain_graph=True,
                        train_mode=run.mode(),
                    )
                    for k, g in zip(asked, found, strict=True):
                        grads[k] = as_class(_dense(g), leaves[k])
                    run.record.raise_failures(found)
                return tuple(grads)

        return pullback

    def value_and_grad(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        with semantics(*primals):
            outputs, pullback = self._vjp(f, primals, later=False)
            return outputs, pullback(seed(self, outputs))

    def jvp(
        self, f: FlatFunction, primals: Sequence[Array], tangents: Sequence[Array | None]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        run = _Run(f, primals, exact=True)
        return run.outputs, run.exact().jvp(primals, tangents, run.outputs, run.outer)

    def linearize(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], Pushforward]:
        run = _Run(f, primals, exact=True)
        return run.outputs, run.exact().linearize(primals, run.outputs, run.outer)

    def hvp(
        self,
        f: FlatFunction,
        primals: Sequence[Array],
        tangents: Sequence[Array],
        method: HvpMethod,
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...], tuple[Array | None, ...]]:
        run = _Run(f, primals, exact=True)
        forward = method == "forward_over_reverse"
        grads, products = run.exact().hvp(primals, tangents, run.outputs, run.outer, forward)
        return run.outputs, grads, products

    def jit(
        self, f: FlatFunction, *, reuse_output: bool = False
    ) -> Callable[..., tuple[Array, ...] | None]:
        return Compiled(f)

    def custom_vjp(
        self,
        forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
        backward: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array | None]],
        primals: Sequence[Array],
    ) -> tuple[Array, ...]:
        with semantics(*primals):
            return apply_rule(forward, backward, primals)

    # ---------------------------------------------------------------- models

    def functional(self, model: Any, options: ModelOptions) -> StatelessModel | None:
        return models.functional(model, options)


class _Run:
    """One call of a function on fresh arrays, recorded.

    Args:
        exact: MXNet's own derivative will not do.
    """

    def __init__(self, f: FlatFunction, primals: Sequence[Array], exact: bool = False) -> None:
        refuse_if_recording("a derivative")
        self.outer: Recording | None = current()
        self.training = mx.autograd.is_training()
        with semantics(*primals):
            with mx.autograd.pause(train_mode=self.training):
                self.leaves = [_fresh(_dense(x)) for x in primals]
                for x in self.leaves:
                    x.attach_grad()
            exact = exact or self.outer is not None
            with new_arrays_like(self.leaves), recording(self.leaves, exact) as self.record:
                self.recorded = tuple(f(*self.leaves))
                before_reading([y.handle.value for y in self.recorded])
            with mx.autograd.pause(train_mode=self.training):
                self.outputs = tuple(y.copy() for y in self.recorded)

    def mode(self) -> bool:
        """Whether the backward pass is to run in training mode."""
        noted = self.record.training
        return self.training if noted is None else noted

    def exact(self) -> Exact:
        """The function as a graph."""
        return Exact(self.record, self.leaves, self.recorded, self.outputs)


def _fresh(x: Array) -> Array:
    """A copy; unseen by ``ug.jit``, for which it would be a result that gets a gradient."""
    return x.copy() if active.capture is None else copied(x)


def _dense(x: Array) -> Array:
    return x if x.stype == "default" else x.tostype("default")
