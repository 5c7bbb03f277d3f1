"""The layers of an Equinox module, as ``ug.models.port`` reads them."""

from __future__ import annotations

from typing import Any

import jax
from equinox import nn

from unigrad import layouts
from unigrad.layouts import Layer
from unigrad.layouts.feedforward import NormKind
from unigrad_jax.names import joined

__all__ = ["equinox_layers"]

_KNOWN = (
    nn.Linear,
    nn.Conv,
    nn.ConvTranspose,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.BatchNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.LSTMCell,
    nn.GRUCell,
    nn.MultiheadAttention,
)


def equinox_layers(module: Any) -> list[Layer]:
    """Those that Equinox comes with, in the order of the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        module, is_leaf=lambda x: isinstance(x, _KNOWN)
    )
    return [_layer(joined(path), x) for path, x in leaves if isinstance(x, _KNOWN)]


def _layer(path: str, x: Any) -> Layer:
    def at(name: str) -> str:
        return f"{path}/{name}" if path else name

    def there(name: str) -> str | None:
        return None if getattr(x, name) is None else at(name)

    match x:
        case nn.Linear():
            return layouts.dense(path, weight=at("weight"), bias=there("bias"), channels_last=False)
        case nn.Conv():
            return layouts.conv(
                path,
                weight=at("weight"),
                bias=there("bias"),
                order="OI" + "DHW"[-x.num_spatial_dims :],
                groups=x.groups,
                unit_axes=x.num_spatial_dims,
                channels_last=False,
            )
        case nn.ConvTranspose():
            return layouts.conv_transpose(
                path,
                weight=at("weight"),
                bias=there("bias"),
                order="OI" + "DHW"[-x.num_spatial_dims :],
                groups=x.groups,
                flipped=True,
                divided="I",
                unit_axes=x.num_spatial_dims,
                channels_last=False,
            )
        case nn.LayerNorm() | nn.RMSNorm():
            kind: NormKind = "layer_norm" if isinstance(x, nn.LayerNorm) else "rms_norm"
            return layouts.norm(
                kind, path, scale=there("weight"), offset=there("bias"), epsilon=x.eps
            )
        case nn.GroupNorm():
            return layouts.norm(
                "group_norm",
                path,
                scale=there("weight"),
                offset=there("bias"),
                epsilon=x.eps,
                groups=x.groups,
            )
        case nn.BatchNorm():
            return layouts.norm(
                "batch_norm", path, scale=there("weight"), offset=there("bias"), epsilon=x.eps
            )
        case nn.Embedding():
            return layouts.embedding(path, weight=at("weight"))
        case nn.LSTMCell():
            return layouts.lstm(
                path, weight_ih=at("weight_ih"), weight_hh=at("weight_hh"), bias=there("bias")
            )
        case nn.GRUCell():
            return layouts.gru(
                path,
                weight_ih=at("weight_ih"),
                weight_hh=at("weight_hh"),
                bias_ih=there("bias"),
                bias_n=there("bias_n"),
            )

    def bias(projection: str) -> str | None:
        return None if getattr(x, projection).bias is None else at(f"{projection}/bias")

    return layouts.attention(
        path,
        heads=x.num_heads,
        query=at("query_proj/weight"),
        key=at("key_proj/weight"),
        value=at("value_proj/weight"),
        out=at("output_proj/weight"),
        query_bias=bias("query_proj"),
        key_bias=bias("key_proj"),
        value_bias=bias("value_proj"),
        out_bias=bias("output_proj"),
    )
