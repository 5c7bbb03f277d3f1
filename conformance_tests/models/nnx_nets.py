"""The architectures in Flax nnx."""

from __future__ import annotations

from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np

from conformance_tests.models.reference import (
    CLASSES,
    ENTRIES,
    EPSILON,
    FEATURES,
    HEADS,
    MOMENTUM,
    UNITS,
    WIDTH,
)

__all__ = ["array", "build", "snapshot"]


class _Mlp(nnx.Module):
    def __init__(self, **options: Any) -> None:
        self.first = nnx.Linear(5, 6, **options)
        self.second = nnx.Linear(6, 4, **options)
        self.last = nnx.Linear(4, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        return self.last(jax.nn.sigmoid(self.second(jnp.tanh(self.first(x)))))


def _batch_norm(channels: int, **options: Any) -> Any:
    return nnx.BatchNorm(channels, epsilon=EPSILON, momentum=1 - MOMENTUM, **options)


class _Flat(nnx.Module):
    def __init__(self, **options: Any) -> None:
        self.conv = nnx.Conv(2, 4, (3, 3), padding="VALID", **options)
        self.norm = _batch_norm(4, **options)
        self.last = nnx.Linear(24, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        x = nnx.max_pool(jnp.tanh(self.norm(self.conv(x))), (2, 2), strides=(2, 2))
        return self.last(x.reshape(x.shape[0], -1))


class _Global(nnx.Module):
    def __init__(self, **options: Any) -> None:
        self.conv = nnx.Conv(2, 3, (3, 3), padding="SAME", **options)
        self.norm = _batch_norm(3, **options)
        self.conv2 = nnx.Conv(3, 5, (2, 3), padding="VALID", **options)
        self.norm2 = _batch_norm(5, **options)
        self.last = nnx.Linear(5, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        x = nnx.avg_pool(jax.nn.sigmoid(self.norm(self.conv(x))), (2, 2), strides=(2, 2))
        return self.last(jnp.tanh(self.norm2(self.conv2(x))).mean((1, 2)))


class _Lstm(nnx.Module):
    def __init__(self, **options: Any) -> None:
        self.recurrent = nnx.RNN(nnx.LSTMCell(FEATURES, UNITS, **options))
        self.last = nnx.Linear(UNITS, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        return self.last(self.recurrent(x)[:, -1])


def _attended(query: Any, key: Any, value: Any, **_: Any) -> Any:
    """Attention in the dtype of its arguments, where JAX's own, nnx's default, takes float32."""
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / query.shape[-1] ** 0.5
    return jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), value)


class _Attention(nnx.Module):
    def __init__(self, **options: Any) -> None:
        self.embed = nnx.Embed(ENTRIES, WIDTH, **options)
        self.attend = nnx.MultiHeadAttention(
            HEADS, WIDTH, decode=False, attention_fn=_attended, **options
        )
        self.norm = nnx.LayerNorm(WIDTH, epsilon=EPSILON, **options)
        self.last = nnx.Linear(WIDTH, CLASSES, **options)

    def __call__(self, tokens: Any) -> Any:
        x = self.embed(tokens)
        return self.last(self.norm(x + self.attend(x)).mean(1))


_NETS = {
    "mlp": _Mlp,
    "cnn_flat": _Flat,
    "cnn_global": _Global,
    "lstm": _Lstm,
    "attention": _Attention,
}


def build(architecture: str, dtype: str) -> Any:
    """The module; its GRU, which has no bias of the hidden state, is another function."""
    with (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True):
        return _NETS[architecture](
            dtype=jnp.dtype(dtype), param_dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0)
        )


def array(x: np.ndarray[Any, Any]) -> Any:
    """An array of these values; images with channels last."""
    with (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True):
        return jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)


def snapshot(model: Any) -> dict[str, Any]:
    """Everything that no call may change."""
    graph, state = nnx.split(model)
    values = jax.tree_util.tree_leaves_with_path(state)
    return {
        "values": [(str(path), np.asarray(_plain(x)).tobytes()) for path, x in values],
        "graph": str(graph),
        "x64": jax.config.jax_enable_x64,
    }


def _plain(x: Any) -> Any:
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
