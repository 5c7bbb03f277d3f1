"""TensorFlow behind the contract of `unigrad.backend`: tapes eagerly and in ``tf.function``.

In a v1 graph, where ``tf.placeholder`` and ``Session`` live, the primitive is ``tf.gradients``,
which also follows v1 control flow. Primals are passed through ``tf.identity`` at every level:
that is what tells apart two derivatives over one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from unigrad.backend import Array, Backend, FlatFunction, Pullback
from unigrad.errors import UnsupportedError
from unigrad_tensorflow import missing_rules, namespace, spec
from unigrad_tensorflow.compiled import compiled
from unigrad_tensorflow.convolution import conv2d
from unigrad_tensorflow.dead_ends import guarded

__all__ = ["TensorflowBackend"]


class TensorflowBackend(Backend):
    """`Backend` for tensors, ``tf.Variable`` and Keras variables on the TensorFlow backend."""

    name = "tensorflow"
    capabilities = spec.capabilities
    # The base of tf.Tensor and tf.Variable from which Keras' own variables descend too: they
    # are known without importing Keras. Ragged and sparse tensors are not among them.
    array_types = (tf.__internal__.types.Tensor,)
    ops: Mapping[str, Callable[..., Array]] = MappingProxyType({"conv2d": conv2d})

    # ---------------------------------------------------------------- array glue

    @property
    def xp(self) -> Any:
        return namespace

    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        if isinstance(x, self.array_types):
            value = tf.identity(x)
            return value if dtype is None else tf.cast(value, dtype)
        array = np.asarray(x, dtype=dtype)
        place = None if like is None else self.prepare(like)
        if place is None or tf.is_symbolic_tensor(place):
            return tf.constant(array)
        with tf.device(place.device):
            return tf.constant(array)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        value = self.prepare(x)  # an eager tensor keeps its value inside tf.function
        if tf.is_symbolic_tensor(value):
            raise UnsupportedError(
                f"the values of {value.name!r} were asked for, but inside tf.function or a v1 "
                f"graph there are none yet; type: session.run(tensor), or return the tensor "
                f"and convert it outside"
            )
        return np.asarray(value.numpy())

    def dtype(self, x: Array) -> str:
        name: str = tf.as_dtype(x.dtype).base_dtype.name
        return name

    def zeros_like(self, x: Array) -> Array:
        return tf.zeros_like(x)

    def ones_like(self, x: Array) -> Array:
        return tf.ones_like(x)

    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        terms = [_real_inner(x, y) for x, y in zip(xs, ys, strict=True)]
        kinds = {term.dtype for term in terms}
        if len(kinds) > 1:
            terms = [tf.cast(term, tf.float64) for term in terms]
        total = terms[0] if terms else tf.constant(0.0, tf.float64)
        for term in terms[1:]:
            total = total + term
        return total

    def stop_gradient(self, x: Array) -> Array:
        return tf.stop_gradient(x)

    def shape(self, x: Array) -> tuple[int, ...]:
        static = x.shape
        if isinstance(static, tuple):
            return static
        if not static.is_fully_defined():
            raise UnsupportedError(
                f"the shape of a tensor was needed while the graph is built, got {static}; "
                f"type: tf.ensure_shape(x, [...]) with every dimension, or call with concrete "
                f"tensors"
            )
        return tuple(static.as_list())

    def same_shape(self, x: Array, y: Array) -> bool:
        return bool(tf.TensorShape(x.shape).is_compatible_with(y.shape))

    def is_scalar(self, x: Array) -> bool:
        rank = x.shape.rank
        if rank is None:
            raise UnsupportedError(
                "a scalar output is needed, got a tensor of unknown rank; "
                "type: tf.ensure_shape(y, []) around the value that is returned"
            )
        return bool(rank == 0)

    def is_concrete(self, x: Array) -> bool:
        if isinstance(x, tf.Tensor):
            return not tf.is_symbolic_tensor(x)
        return bool(tf.executing_eagerly())

    def prepare(self, x: Array) -> Array:
        return x if isinstance(x, tf.Tensor) else tf.convert_to_tensor(x)

    # ---------------------------------------------------------------- derivatives

    # jvp stays derived: tf.autodiff.ForwardAccumulator silently ignores the rule of a
    # tf.custom_gradient, and was measured to take twice as long as two tapes.

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        if _in_v1_graph():
            xs = _copies(primals)
            with guarded():
                outputs = self._tensors(f(*xs))
            return outputs, _Pullback(_graph_gradients, xs, outputs)
        tape, xs, outputs = self._taped(f, primals, persistent=True)
        return outputs, _Pullback(tape.gradient, xs, outputs)

    def value_and_grad(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        if _in_v1_graph():
            return super().value_and_grad(f, primals)
        tape, xs, outputs = self._taped(f, primals, persistent=False)
        return outputs, _gradients(tape.gradient, xs, outputs[:1], ())

    def _taped(
        self, f: FlatFunction, primals: Sequence[Array], *, persistent: bool
    ) -> tuple[Any, list[Array], tuple[Array, ...]]:
        xs = _copies(primals)
        tape = tf.GradientTape(persistent=persistent, watch_accessed_variables=False)
        with tape, guarded():
            for x in xs:
                if _is_smooth(x):
                    tape.watch(x)
            outputs = self._tensors(f(*xs))
        return tape, xs, outputs

    def custom_vjp(
        self,
        forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
        backward: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array | None]],
        primals: Sequence[Array],
    ) -> tuple[Array, ...]:
        # The rule is for the primals alone: what `forward` closes over keeps its own derivative.
        xs = [tf.convert_to_tensor(x) for x in primals]
        values, kept = forward(*[tf.stop_gradient(x) for x in xs])
        outputs = self._tensors(values)
        residuals = self._connected(forward, self._tensors(kept), xs)

        def pull(*cotangents: Array) -> Sequence[Array | None]:
            return backward(residuals, cotangents)

        return _attached(outputs, xs, pull)

    def _connected(
        self,
        forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
        residuals: Sequence[Array],
        xs: Sequence[Array],
    ) -> tuple[Array, ...]:
        """Residuals as functions of the primals again, computed anew where that is asked.

        Differentiating the rule itself is then exact at every order.
        """
        smooth = [i for i, r in enumerate(residuals) if r.dtype.is_floating or r.dtype.is_complex]
        if not smooth:
            return tuple(residuals)

        def pull(*cotangents: Array) -> Sequence[Array | None]:
            def again(*ys: Array) -> tuple[Array, ...]:
                kept = self._tensors(forward(*ys)[1])
                return tuple(kept[i] for i in smooth)

            return self.vjp(again, xs)[1](cotangents)

        connected = list(residuals)
        joined = _attached([residuals[i] for i in smooth], xs, pull)
        for i, r in zip(smooth, joined, strict=True):
            connected[i] = r
        return tuple(connected)

    # ---------------------------------------------------------------- more than derivatives

    def jit(self, f: FlatFunction, *, reuse_output: bool = False) -> FlatFunction:
        return compiled(f)

    def _tensors(self, outputs: Sequence[Any]) -> tuple[Array, ...]:
        return tuple(
            y
            if isinstance(y, tf.Tensor)
            else tf.convert_to_tensor(y)
            if isinstance(y, (*self.array_types, tf.IndexedSlices))
            else self.asarray(y)
            for y in outputs
        )


def _attached(
    outputs: Sequence[Array], xs: Sequence[Array], pull: Callable[..., Sequence[Array | None]]
) -> tuple[Array, ...]:
    """The outputs, with a derivative by ``xs`` besides the one that they have."""
    count = len(outputs)

    def attach(*arrays: Array) -> tuple[tuple[Array, ...], Callable[..., Any]]:
        def both(*cotangents: Array) -> list[Array | None]:
            return [*cotangents, *pull(*cotangents)]

        return tuple(tf.identity(y) for y in arrays[:count]), both

    return tuple(tf.custom_gradient(attach)(*outputs, *xs))


class _Pullback:
    """Cotangents of the outputs to those of the primals, by ``gradient(ys, xs, cotangents)``."""

    def __init__(
        self, gradient: Callable[..., Any], xs: Sequence[Array], outputs: Sequence[Array]
    ) -> None:
        self._gradient = gradient
        self._xs = xs
        self._outputs = outputs

    def __call__(self, cotangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
        # To TensorFlow a missing cotangent means ones; here it means zero, so it is left out.
        pairs = [
            (y, c)
            for y, c in zip(self._outputs, cotangents, strict=True)
            if c is not None and _is_smooth(y)
        ]
        ys, given = [y for y, _ in pairs], [c for _, c in pairs]
        return _gradients(self._gradient, self._xs, ys, given)


def _gradients(
    gradient: Callable[..., Any],
    xs: Sequence[Array],
    ys: Sequence[Array],
    cotangents: Sequence[Array],
) -> tuple[Array | None, ...]:
    """Dense gradients of ``ys`` for ``xs``; ``None`` for integers and the unconnected."""
    smooth = [x for x in xs if _is_smooth(x)]
    if not ys or not smooth:
        return (None,) * len(xs)
    try:
        found = gradient(_bare(ys), _bare(smooth), _bare(cotangents))
    except LookupError as error:
        missing_rules.explain(error)
        raise
    grads = iter(found if len(smooth) > 1 else [found])
    return tuple(_dense(next(grads), x) if _is_smooth(x) else None for x in xs)


def _bare(arrays: Sequence[Array]) -> Any:
    # TensorFlow takes 10 µs, a twentieth of a small gradient, to look into a list of one.
    return arrays[0] if len(arrays) == 1 else arrays or None


def _in_v1_graph() -> bool:
    return not (tf.executing_eagerly() or tf.inside_function())


def _graph_gradients(ys: Any, xs: Any, cotangents: Any) -> Any:
    found = tf.gradients(ys, xs, grad_ys=cotangents)
    return found[0] if isinstance(xs, tf.Tensor) else found


def _copies(primals: Sequence[Array]) -> list[Array]:
    # tf.identity does the same and takes twice as long.
    return [tf.raw_ops.Identity(input=x) for x in primals]


def _is_smooth(x: Array) -> bool:
    return bool(x.dtype.is_floating or x.dtype.is_complex)


def _dense(grad: Any, x: Array) -> Array | None:
    if isinstance(grad, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(grad.values, grad.indices, tf.shape(x)[0])
    return grad


def _real_inner(x: Array, y: Array) -> Array:
    if x.dtype.is_complex:
        return tf.reduce_sum(tf.math.real(tf.math.conj(x) * y))
    return tf.reduce_sum(x * y)
