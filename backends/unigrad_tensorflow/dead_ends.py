"""Places where TensorFlow would give a wrong second derivative without a word (S12).

``tf.nn.moments``, and with it every Keras normalization, stops the gradient of the mean: right
at first order only. And some derivative ops are registered as having no derivative, which counts
as zero. While a function is differentiated, a callback of this thread sees each op that it runs:
it connects the mean again, and refuses those ops.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context, record
from tensorflow.python.framework import op_callbacks

from unigrad.backend import Array
from unigrad.errors import HigherOrderError

__all__ = ["guarded"]

_REFUSED = frozenset(
    {
        "FakeQuantWithMinMaxArgsGradient",
        "FakeQuantWithMinMaxVarsGradient",
        "FakeQuantWithMinMaxVarsPerChannelGradient",
        "ResizeBilinearGrad",
        "SparseAddGrad",
    }
)
_FRAMES = 12


class _State(threading.local):
    depth = 0
    pending: tuple[Array, Array] | None = None


_state = _State()


class guarded:
    """``with guarded():`` around a call of the function that is differentiated."""

    def __enter__(self) -> None:
        if _state.depth == 0:
            op_callbacks.add_op_callback(_seen)
        _state.depth += 1

    def __exit__(self, *error: object) -> None:
        _state.depth -= 1
        _flush()
        if _state.depth == 0:
            op_callbacks.remove_op_callback(_seen)


def _seen(
    op_type: str | bytes,
    inputs: Sequence[Array],
    attrs: Any,
    outputs: Sequence[Array],
    op_name: str | None = None,
    graph: Any = None,
) -> Sequence[Array] | None:
    _flush()
    if isinstance(op_type, bytes):  # on TensorFlow's slower path of calling an op
        op_type = op_type.decode()
    if op_type == "StopGradient" and _called_by_moments():
        mean = inputs[0]
        symbolic = tf.is_symbolic_tensor(outputs[0])
        found = tf.raw_ops.Identity(input=mean) if symbolic else outputs[0]
        # A tape notes this op after the callback; only later can it be told otherwise.
        _state.pending = (found, mean)
        return [found] if symbolic else None
    if op_type in _REFUSED:
        raise HigherOrderError(
            f"an exact derivative of the operator {op_type!r} was asked (by a second derivative, "
            f"or by a tangent), but TensorFlow counts it as zero; compose the function of other "
            f"operators, or take a first derivative in reverse"
        )
    if _state.depth > 1 and op_type.startswith("__") and _stops_a_mean(op_type):
        raise HigherOrderError(
            "a second derivative of a tf.function was asked that calls tf.nn.moments (as Keras "
            "normalization layers do) and was traced before: its trace stops the gradient of the "
            "mean, and is right at first order only; pass the undecorated function, or "
            "decorate it anew: tf.function(f.python_function)"
        )
    return None


def _stops_a_mean(function: str) -> bool:
    nodes = context.context().get_function_def(function).node_def
    stops = {n.name for n in nodes if n.op == "StopGradient" and "moments/" in n.name}
    return any(name.partition(":")[0] in stops for n in nodes for name in n.input)


def _flush() -> None:
    if _state.pending is not None:
        stopped, mean = _state.pending
        _state.pending = None
        record.record_operation("Identity", [stopped], [mean], lambda u: [u])


def _called_by_moments() -> bool:
    frame = sys._getframe(2)
    for _ in range(_FRAMES):
        if frame.f_code.co_name == "moments" and frame.f_code.co_filename.endswith("nn_impl.py"):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False
