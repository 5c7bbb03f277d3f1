"""``ug.jit`` on TensorFlow: one concrete function for each signature, called without dispatch.

``tf.function`` finds its trace anew at every call; for small functions that is most of the time.
Python control flow runs while tracing, as everywhere in unigrad (no AutoGraph).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from unigrad.backend import Array, FlatFunction

__all__ = ["compiled"]


def compiled(f: FlatFunction) -> FlatFunction:
    """``f`` of tensors as a ``tf.function``, traced once for each shapes and dtypes."""
    traced = tf.function(f, autograph=False)
    concrete: dict[tuple[Any, ...], Any] = {}

    def call(*arrays: Array) -> tuple[Array, ...]:
        if not tf.executing_eagerly() or tf.config.functions_run_eagerly():
            return tuple(traced(*arrays))
        key = tuple([(x.dtype, x.shape) for x in arrays])
        run = concrete.get(key)
        if run is None:
            run = concrete[key] = traced.get_concrete_function(
                *[tf.TensorSpec(x.shape, x.dtype) for x in arrays]
            )
        return tuple(run(*arrays))

    return call
