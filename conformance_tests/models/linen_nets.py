"""The architectures in Flax linen: modules with their variables."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

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


class _Net(nn.Module):
    """Every architecture, layer by layer, in one compact call."""

    architecture: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        kind = {"dtype": self.dtype, "param_dtype": self.dtype}

        def batch_norm() -> Any:
            return nn.BatchNorm(
                use_running_average=not train, epsilon=EPSILON, momentum=1 - MOMENTUM, **kind
            )

        match self.architecture:
            case "mlp":
                x = jnp.tanh(nn.Dense(6, **kind)(x))
                x = nn.sigmoid(nn.Dense(4, **kind)(x))
            case "cnn_flat":
                x = jnp.tanh(batch_norm()(nn.Conv(4, (3, 3), padding="VALID", **kind)(x)))
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
                x = x.reshape(x.shape[0], -1)
            case "cnn_global":
                x = nn.sigmoid(batch_norm()(nn.Conv(3, (3, 3), padding="SAME", **kind)(x)))
                x = nn.avg_pool(x, (2, 2), strides=(2, 2))
                x = jnp.tanh(batch_norm()(nn.Conv(5, (2, 3), padding="VALID", **kind)(x)))
                x = x.mean((1, 2))
            case "lstm":
                x = nn.RNN(nn.OptimizedLSTMCell(UNITS, **kind))(x)[:, -1]
            case "gru":
                x = nn.RNN(nn.GRUCell(UNITS, **kind))(x)[:, -1]
            case "attention":
                x = nn.Embed(ENTRIES, WIDTH, **kind)(x)
                x = x + nn.MultiHeadDotProductAttention(HEADS, **kind)(x)
                x = nn.LayerNorm(epsilon=EPSILON, **kind)(x).mean(1)
            case _:
                raise KeyError(self.architecture)
        return nn.Dense(CLASSES, **kind)(x)


def build(architecture: str, dtype: str) -> Any:
    """The pair (module, variables)."""
    net = ARCHITECTURES[architecture]
    x, _ = net.batch()
    with (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True):
        module = _Net(architecture, jnp.dtype(dtype))
        start = array(x if net.tokens else x.astype(dtype))
        return module, module.init(jax.random.key(0), start)


def array(x: np.ndarray[Any, Any]) -> Any:
    """An array of these values; images with channels last."""
    with (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True):
        return jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)


def snapshot(model: Any) -> dict[str, Any]:
    """Everything that no call may change."""
    _, variables = model
    values = jax.tree_util.tree_leaves_with_path(variables)
    return {
        "values": [(str(path), np.asarray(x).tobytes()) for path, x in values],
        "identity": [id(x) for _, x in values],
        "x64": jax.config.jax_enable_x64,
    }
