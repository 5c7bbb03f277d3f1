"""The layers of a Gluon block, for ``ug.models.port``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unigrad import layouts
from unigrad.layouts import Layer
from unigrad_mxnet.framework import mx

__all__ = ["layers"]

nn: Any = mx.gluon.nn
rnn: Any = mx.gluon.rnn


def layers(block: Any) -> list[Layer]:
    """The layers of a block and of the blocks within, in the order of their registration."""
    found: list[Layer] = []
    seen: set[int] = set()
    for part in _blocks(block):
        if id(part) in seen:
            continue
        seen.add(id(part))
        kind = next((kind for kind in _KINDS if isinstance(part, kind)), None)
        if kind is not None:
            found.extend(_KINDS[kind](part))
    return found


def _blocks(block: Any) -> Iterator[Any]:
    yield block
    for child in block._children.values():
        yield from _blocks(child)


def _names(block: Any, **roles: str) -> dict[str, Any]:
    """The names of those of the block's parameters that it has, by role."""
    found = {role: getattr(block, attribute, None) for role, attribute in roles.items()}
    return {role: p.name for role, p in found.items() if p is not None}


def _dense(block: Any) -> Iterator[Layer]:
    names = _names(block, weight="weight", bias="bias")
    yield layouts.dense(block.name, **names, channels_last=False)


def _convolution(block: Any) -> Iterator[Layer]:
    transposed = "adj" in block._kwargs
    window = block._kwargs["layout"].translate(str.maketrans("", "", "NC"))
    yield (layouts.conv_transpose if transposed else layouts.conv)(
        block.name,
        **_names(block, weight="weight", bias="bias"),
        order=("IO" if transposed else "OI") + window,
        groups=block._kwargs["num_group"],
        channels_last=False,
    )


def _norm(kind: Any) -> Callable[[Any], Iterator[Layer]]:
    def norm(block: Any) -> Iterator[Layer]:
        # Without scale or center Gluon keeps arrays of ones or zeros that count for nothing.
        used = {
            role: name
            for role, name in _names(block, scale="gamma", offset="beta").items()
            if block._kwargs.get("fix_gamma") is not True or role != "scale"
        }
        statistics = _names(block, mean="running_mean", var="running_var")
        epsilon = block._kwargs.get("eps", getattr(block, "_epsilon", None))
        yield layouts.norm(kind, block.name, **used, **statistics, epsilon=epsilon)

    return norm


def _embedding(block: Any) -> Iterator[Layer]:
    yield layouts.embedding(block.name, weight=block.weight.name)


_RECURRENT: Mapping[str, Callable[..., Layer]] = {
    "lstm": layouts.lstm,
    "gru": layouts.gru,
    "rnn_tanh": functools.partial(layouts.rnn, activation="tanh"),
    "rnn_relu": functools.partial(layouts.rnn, activation="relu"),
}


def _recurrent(block: Any) -> Iterator[Layer]:
    if block._projection_size:
        return
    for k in range(block._num_layers):
        for side in ["l", "r"][: block._dir]:
            yield _RECURRENT[block._mode](
                f"{block.name}{side}{k}",
                **_names(
                    block,
                    weight_ih=f"{side}{k}_i2h_weight",
                    weight_hh=f"{side}{k}_h2h_weight",
                    bias_ih=f"{side}{k}_i2h_bias",
                    bias_hh=f"{side}{k}_h2h_bias",
                ),
                direction="forward" if side == "l" else "backward",
            )


def _cell(kind: Callable[..., Layer], **facts: str) -> Callable[[Any], Iterator[Layer]]:
    def cell(block: Any) -> Iterator[Layer]:
        roles = {
            "weight_ih": "i2h_weight",
            "weight_hh": "h2h_weight",
            "bias_ih": "i2h_bias",
            "bias_hh": "h2h_bias",
        }
        stated = {fact: getattr(block, attribute) for fact, attribute in facts.items()}
        yield kind(block.name, **_names(block, **roles), **stated)

    return cell


_KINDS: dict[Any, Callable[[Any], Iterator[Layer]]] = {
    nn.Dense: _dense,
    nn.Conv1D.__mro__[1]: _convolution,
    nn.BatchNorm.__mro__[1]: _norm("batch_norm"),
    nn.LayerNorm: _norm("layer_norm"),
    nn.GroupNorm: _norm("group_norm"),
    nn.InstanceNorm: _norm("instance_norm"),
    nn.Embedding: _embedding,
    rnn.LSTM.__mro__[1]: _recurrent,
    rnn.LSTMCell: _cell(
        layouts.lstm, activation="_activation", gate_activation="_recurrent_activation"
    ),
    rnn.GRUCell: _cell(layouts.gru),
    rnn.RNNCell: _cell(layouts.rnn, activation="_activation"),
}
