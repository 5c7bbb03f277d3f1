"""The architectures in Keras, on the backend that it runs on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from conformance_tests.models.reference import (
    ARCHITECTURES,
    CLASSES,
    ENTRIES,
    EPSILON,
    HEADS,
    MOMENTUM,
    UNITS,
    WIDTH,
)

__all__ = ["array", "build", "snapshot"]


def _model(architecture: str, dtype: str) -> Any:
    net = ARCHITECTURES[architecture]
    policy = keras.DTypePolicy(dtype)

    def made(layer: Any, *args: Any, **options: Any) -> Any:
        return layer(*args, dtype=policy, **options)

    def batch_norm() -> Any:
        return made(layers.BatchNormalization, epsilon=EPSILON, momentum=1 - MOMENTUM)

    shape = net.input_shape[1:]
    if net.image:
        shape = (*shape[1:], shape[0])
    x = start = layers.Input(shape, dtype="int32" if net.tokens else dtype)
    match architecture:
        case "mlp":
            x = made(layers.Dense, 6, activation="tanh")(x)
            x = made(layers.Dense, 4, activation="sigmoid")(x)
        case "cnn_flat":
            x = batch_norm()(made(layers.Conv2D, 4, 3)(x))
            x = made(layers.MaxPooling2D, 2)(made(layers.Activation, "tanh")(x))
            x = made(layers.Flatten)(x)
        case "cnn_global":
            x = batch_norm()(made(layers.Conv2D, 3, 3, padding="same")(x))
            x = made(layers.AveragePooling2D, 2)(made(layers.Activation, "sigmoid")(x))
            x = batch_norm()(made(layers.Conv2D, 5, (2, 3))(x))
            x = made(layers.GlobalAveragePooling2D)(made(layers.Activation, "tanh")(x))
        case "lstm":
            x = made(layers.LSTM, UNITS)(x)
        case "gru":
            x = made(layers.GRU, UNITS)(x)
        case "attention":
            x = made(layers.Embedding, ENTRIES, WIDTH)(x)
            attend = made(layers.MultiHeadAttention, HEADS, WIDTH // HEADS)
            # Trap: without scores JAX's own attention takes float32, and torch's has no HVP.
            mixed, _ = attend(x, x, return_attention_scores=True)
            x = x + mixed
            x = made(layers.LayerNormalization, epsilon=EPSILON)(x)
            x = made(layers.GlobalAveragePooling1D)(x)
        case _:
            raise KeyError(architecture)
    return keras.Model(start, made(layers.Dense, CLASSES)(x))


def build(architecture: str, dtype: str) -> Any:
    """A functional model."""
    return _model(architecture, dtype)


def array(x: np.ndarray[Any, Any]) -> Any:
    """An array of these values of Keras' backend; images with channels last."""
    values = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
    return keras.ops.convert_to_tensor(values, dtype=str(x.dtype))


def snapshot(model: Any) -> dict[str, Any]:
    """Everything that no call may change."""
    seeds = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    return {
        "values": [
            (v.path, np.asarray(keras.ops.convert_to_numpy(v)).tobytes()) for v in model.variables
        ],
        "identity": [id(v) for v in model.variables],
        "trainable": [v.trainable for v in model.variables],
        "losses": list(model.losses),
        "random": None if seeds is None else keras.ops.convert_to_numpy(seeds.state).tobytes(),
        "floatx": keras.config.floatx(),
    }
