"""The layers of a Keras model, as ``ug.models.port`` reads them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unigrad import layouts
from unigrad.layouts import Layer

__all__ = ["layers_of"]


def layers_of(model: Any, names: Mapping[int, str]) -> list[Layer]:
    """Those that Keras comes with, in the order of definition; a shared layer is listed once.

    Args:
        names: of the model's variables, by their ids.
    """
    found: list[Layer] = []
    claimed: set[str] = set()
    for layer in _walk(model, names, set(), None):
        if claimed.isdisjoint(layer.names):
            found.append(layer)
            claimed.update(layer.names)
    return found


def _walk(
    layer: Any, names: Mapping[int, str], seen: set[int], direction: layouts.Direction | None
) -> Iterator[Layer]:
    """Args: ``direction`` is that of the recurrent layer around this one."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    known = list(_layers(layer, names, direction)) if layer.quantization_mode is None else []
    yield from known
    if isinstance(layer, sys.modules["keras"].layers.RNN):
        direction = "backward" if layer.go_backwards else "forward"
    if not known:
        for inner in layer._layers:
            yield from _walk(inner, names, seen, direction)


def _layers(
    x: Any, names: Mapping[int, str], direction: layouts.Direction | None
) -> Iterator[Layer]:
    """One layer that is known; none if its weights are not its own variables (LoRA)."""
    keras = sys.modules["keras"]
    kinds = keras.layers

    def at(variable: Any) -> str | None:
        return names.get(id(variable))

    match x:
        case kinds.Dense() if weight := at(x.kernel):
            yield layouts.dense(
                _path(weight),
                weight=weight,
                bias=at(x.bias),
                transposed=True,
                channels_last=keras.config.image_data_format() == "channels_last",
            )
        case kinds.SeparableConv1D() | kinds.SeparableConv2D():
            yield from _separable(x, at(x.depthwise_kernel), at(x.pointwise_kernel), at(x.bias))
        case kinds.DepthwiseConv1D() | kinds.DepthwiseConv2D() if weight := at(x.kernel):
            yield _depthwise(x, _path(weight), weight, at(x.bias))
        case kinds.Conv1DTranspose() | kinds.Conv2DTranspose() | kinds.Conv3DTranspose() if (
            weight := at(x.kernel)
        ):
            yield layouts.conv_transpose(
                _path(weight),
                weight=weight,
                bias=at(x.bias),
                order=_window(x) + "OI",
                channels_last=_is_last(x),
            )
        case kinds.Conv1D() | kinds.Conv2D() | kinds.Conv3D() if weight := at(x.kernel):
            yield layouts.conv(
                _path(weight),
                weight=weight,
                bias=at(x.bias),
                order=_window(x) + "IO",
                groups=x.groups,
                channels_last=_is_last(x),
            )
        case kinds.BatchNormalization() if mean := at(x.moving_mean):
            yield layouts.norm(
                "batch_norm",
                _path(mean),
                scale=at(x.gamma),
                offset=at(x.beta),
                mean=mean,
                var=at(x.moving_variance),
                epsilon=x.epsilon,
            )
        case kinds.LayerNormalization() if name := at(x.gamma) or at(x.beta):
            yield layouts.norm(
                "layer_norm",
                _path(name),
                scale=at(x.gamma),
                offset=at(x.beta),
                epsilon=x.epsilon,
            )
        case kinds.RMSNormalization() if scale := at(x.scale):
            yield layouts.norm("rms_norm", _path(scale), scale=scale, epsilon=x.epsilon)
        case kinds.GroupNormalization() if name := at(x.gamma) or at(x.beta):
            yield layouts.norm(
                "group_norm",
                _path(name),
                scale=at(x.gamma),
                offset=at(x.beta),
                epsilon=x.epsilon,
                groups=x.groups,
            )
        case kinds.Embedding() if weight := at(x.embeddings):
            yield layouts.embedding(_path(weight), weight=weight)
        case kinds.MultiHeadAttention():
            yield from _attention(x, names)
        case kinds.LSTMCell() | kinds.GRUCell() | kinds.SimpleRNNCell() if weight := at(x.kernel):
            yield from _recurrent(x, weight, at(x.recurrent_kernel), at(x.bias), kinds, direction)


def _path(name: str) -> str:
    return name.rpartition("/")[0]


def _window(x: Any) -> str:
    return "DHW"[-x.rank :]


def _is_last(x: Any) -> bool:
    return bool(x.data_format == "channels_last")


def _depthwise(x: Any, path: str, weight: str, bias: str | None) -> Layer:
    return layouts.conv(
        path,
        weight=weight,
        bias=bias,
        order=_window(x) + "IO",
        multiplier=x.depth_multiplier,
        channels_last=_is_last(x),
    )


def _separable(
    x: Any, depthwise: str | None, pointwise: str | None, bias: str | None
) -> Iterator[Layer]:
    if depthwise is None or pointwise is None:
        return
    yield _depthwise(x, f"{_path(depthwise)}/depthwise", depthwise, None)
    yield layouts.conv(
        f"{_path(pointwise)}/pointwise",
        weight=pointwise,
        bias=bias,
        order=_window(x) + "IO",
        groups=1,
        channels_last=_is_last(x),
    )


def _attention(x: Any, names: Mapping[int, str]) -> Iterator[Layer]:
    parts = (x.query_dense, x.key_dense, x.value_dense, x.output_dense)
    query, key, value, out = (names.get(id(part.kernel)) for part in parts)
    biases = [names.get(id(part.bias)) for part in parts]
    if query and key and value and out:
        yield layouts.attention(
            _path(_path(out)),
            heads=x.num_heads,
            headed=True,
            query=query,
            key=key,
            value=value,
            out=out,
            query_bias=biases[0],
            key_bias=biases[1],
            value_bias=biases[2],
            out_bias=biases[3],
        )


def _recurrent(
    x: Any,
    weight_ih: str,
    weight_hh: str | None,
    bias: str | None,
    kinds: Any,
    direction: layouts.Direction | None,
) -> Iterator[Layer]:
    """One direction; none of a GRU that resets before its product."""
    if weight_hh is None:
        return
    make: Callable[..., Layer]
    facts = {"activation": layouts.activation_of(x.activation), "direction": direction}
    match x:
        case kinds.SimpleRNNCell():
            make = layouts.rnn
        case kinds.LSTMCell():
            make = functools.partial(layouts.lstm, gates="ifgo")
        case kinds.GRUCell() if x.reset_after:
            make = functools.partial(layouts.gru, gates="zrn")
        case _:
            return
    if not isinstance(x, kinds.SimpleRNNCell):
        facts["gate_activation"] = layouts.activation_of(x.recurrent_activation)
    yield make(
        _path(weight_ih),
        weight_ih=weight_ih,
        weight_hh=weight_hh,
        bias=bias,
        transposed=True,
        **facts,
    )
