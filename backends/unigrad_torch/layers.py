"""The layers of a ``torch.nn.Module``, as ``ug.models.port`` reads them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from unigrad import layouts
from unigrad.layouts import Layer

__all__ = ["layers_of"]


def layers_of(model: nn.Module) -> list[Layer]:
    """Those that torch comes with, in the order of the tree; a tied weight is in the first."""
    free = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    found = []
    for path, module in model.named_modules():
        for layer in _layers(path, module):
            parts = tuple(part for part in layer.parts if free.issuperset(part.names))
            if parts:
                found.append(dataclasses.replace(layer, parts=parts))
                free.difference_update(layer.names)
    return found


def _layers(path: str, x: nn.Module) -> Iterator[Layer]:
    def at(name: str) -> str:
        return f"{path}.{name}" if path else name

    def there(name: str) -> str | None:
        return None if getattr(x, name) is None else at(name)

    match x:
        case nn.Linear():
            yield layouts.dense(path, weight=at("weight"), bias=there("bias"), channels_last=False)
        case _ConvTransposeNd():
            yield layouts.conv_transpose(
                path,
                weight=at("weight"),
                bias=there("bias"),
                order="IO" + "DHW"[-len(x.kernel_size) :],
                groups=x.groups,
                channels_last=False,
            )
        case _ConvNd():
            yield layouts.conv(
                path,
                weight=at("weight"),
                bias=there("bias"),
                order="OI" + "DHW"[-len(x.kernel_size) :],
                groups=x.groups,
                channels_last=False,
            )
        case _BatchNorm() | _InstanceNorm():
            kind: Literal["instance_norm", "batch_norm"] = (
                "instance_norm" if isinstance(x, _InstanceNorm) else "batch_norm"
            )
            yield layouts.norm(
                kind,
                path,
                scale=there("weight"),
                offset=there("bias"),
                mean=there("running_mean"),
                var=there("running_var"),
                epsilon=x.eps,
            )
        case nn.LayerNorm():
            scale, offset = there("weight"), there("bias")
            yield layouts.norm("layer_norm", path, scale=scale, offset=offset, epsilon=x.eps)
        case nn.RMSNorm():
            yield layouts.norm("rms_norm", path, scale=there("weight"), epsilon=x.eps)
        case nn.GroupNorm():
            yield layouts.norm(
                "group_norm",
                path,
                scale=there("weight"),
                offset=there("bias"),
                epsilon=x.eps,
                groups=x.num_groups,
            )
        case nn.Embedding() | nn.EmbeddingBag():
            yield layouts.embedding(path, weight=at("weight"))
        case nn.MultiheadAttention():
            yield layouts.attention(
                path,
                heads=x.num_heads,
                packed=there("in_proj_weight"),
                query=there("q_proj_weight"),
                key=there("k_proj_weight"),
                value=there("v_proj_weight"),
                packed_bias=there("in_proj_bias"),
                out=at("out_proj.weight"),
                out_bias=None if x.out_proj.bias is None else at("out_proj.bias"),
            )
        case nn.RNNBase() if not x.proj_size:
            for k in range(x.num_layers):
                for way in ("", "_reverse") if x.bidirectional else ("",):
                    yield _recurrent(
                        path, x, f"_l{k}{way}", x.bias, "backward" if way else "forward"
                    )
        case nn.RNNCellBase():
            yield _recurrent(path, x, "", x.bias)


def _recurrent(
    path: str,
    x: nn.Module,
    suffix: str,
    biased: bool,
    direction: layouts.Direction | None = None,
) -> Layer:
    """One direction of one layer."""
    prefix, own = f"{path}." if path else "", f"{path}{suffix}"
    weight_ih, weight_hh = f"{prefix}weight_ih{suffix}", f"{prefix}weight_hh{suffix}"
    bias_ih = f"{prefix}bias_ih{suffix}" if biased else None
    bias_hh = f"{prefix}bias_hh{suffix}" if biased else None
    make: Callable[..., Layer]
    match x:
        case nn.LSTM() | nn.LSTMCell():
            make = layouts.lstm
        case nn.GRU() | nn.GRUCell():
            make = layouts.gru
        case _:
            make = functools.partial(layouts.rnn, activation=x.nonlinearity)
    return make(
        own,
        weight_ih=weight_ih,
        weight_hh=weight_hh,
        bias_ih=bias_ih,
        bias_hh=bias_hh,
        direction=direction,
    )
