"""The layers of a Flax nnx module, as ``ug.models.port`` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import nnx

from unigrad import layouts
from unigrad.layouts import Layer
from unigrad.layouts.feedforward import NormKind
from unigrad_jax.names import joined

__all__ = ["nnx_layers"]


def nnx_layers(module: Any) -> list[Layer]:
    """Those that nnx comes with, in the order in which their owners were given them.

    What `nnx.merge` or `nnx.clone` made was given them by name.
    """
    nodes = {path: x for path, x in nnx.iter_graph(module) if not isinstance(x, nnx.Variable)}
    found: list[Layer] = []
    claimed: set[str] = set()
    directions: dict[tuple[Any, ...], layouts.Direction] = {
        (*path, "cell"): "backward" if x.reverse else "forward"
        for path, x in nodes.items()
        if isinstance(x, nnx.RNN)
    }
    for path, x in nodes.items():
        if isinstance(x, nnx.Bidirectional):
            directions[*path, "forward_rnn", "cell"] = "forward"
            directions[*path, "backward_rnn", "cell"] = "backward"
    for path in sorted(
        (path for path, x in nodes.items() if isinstance(x, nnx.Module)),
        key=lambda path: _place(path, nodes),
    ):
        layer = _layer(joined(path), nodes[path], directions.get(path))
        if layer is not None and claimed.isdisjoint(layer.names):
            found.append(layer)
            claimed.update(layer.names)
    return layouts.unsorted(found)


def _place(path: tuple[Any, ...], nodes: Mapping[tuple[Any, ...], Any]) -> tuple[int, ...]:
    """Where each step of the path was assigned."""
    return tuple(
        key if isinstance(key, int) else _position(nodes.get(path[:i]), key)
        for i, key in enumerate(path)
    )


def _position(owner: Any, key: Any) -> int:
    names = list(vars(owner)) if isinstance(owner, nnx.Module) else []
    return names.index(key) if key in names else len(names)


def _layer(path: str, x: Any, direction: layouts.Direction | None) -> Layer | None:
    def at(*names: str) -> str:
        return "/".join([path, *names] if path else names)

    def there(name: str) -> str | None:
        variable = getattr(x, name)
        return at(name) if isinstance(variable, nnx.Variable) else None

    match x:
        case nnx.Linear():
            return layouts.dense(
                path,
                weight=at("kernel"),
                bias=there("bias"),
                transposed=True,
                channels_last=True,
            )
        case nnx.Conv() if len(x.kernel_size) <= 3:
            return layouts.conv(
                path,
                weight=at("kernel"),
                bias=there("bias"),
                order="DHW"[-len(x.kernel_size) :] + "IO",
                groups=x.feature_group_count,
                channels_last=True,
            )
        case nnx.ConvTranspose() if len(x.kernel_size) <= 3:
            return layouts.conv_transpose(
                path,
                weight=at("kernel"),
                bias=there("bias"),
                order="DHW"[-len(x.kernel_size) :] + ("OI" if x.transpose_kernel else "IO"),
                flipped=not x.transpose_kernel,
                channels_last=True,
            )
        case nnx.BatchNorm():
            return layouts.norm(
                "batch_norm",
                path,
                scale=there("scale"),
                offset=there("bias"),
                mean=at("mean"),
                var=at("var"),
                epsilon=x.epsilon,
            )
        case nnx.LayerNorm() | nnx.RMSNorm() | nnx.InstanceNorm():
            kind: NormKind = (
                "layer_norm"
                if isinstance(x, nnx.LayerNorm)
                else "rms_norm"
                if isinstance(x, nnx.RMSNorm)
                else "instance_norm"
            )
            offset = None if isinstance(x, nnx.RMSNorm) else there("bias")
            return layouts.norm(kind, path, scale=there("scale"), offset=offset, epsilon=x.epsilon)
        case nnx.GroupNorm():
            return layouts.norm(
                "group_norm",
                path,
                scale=there("scale"),
                offset=there("bias"),
                epsilon=x.epsilon,
                groups=x.num_groups,
            )
        case nnx.Embed():
            return layouts.embedding(path, weight=at("embedding"))
        case nnx.MultiHeadAttention():
            return layouts.attention(
                path,
                heads=x.num_heads,
                headed=True,
                query=at("query", "kernel"),
                key=at("key", "kernel"),
                value=at("value", "kernel"),
                out=at("out", "kernel"),
                query_bias=at("query", "bias") if x.use_bias else None,
                key_bias=at("key", "bias") if x.use_bias else None,
                value_bias=at("value", "bias") if x.use_bias else None,
                out_bias=at("out", "bias") if x.use_bias else None,
            )
        case nnx.LSTMCell():
            return layouts.lstm_per_gate(
                path,
                weights_ih={g: at("if_" if g == "f" else f"i{g}", "kernel") for g in "ifgo"},
                weights_hh={g: at(f"h{g}", "kernel") for g in "ifgo"},
                biases={g: at(f"h{g}", "bias") for g in "ifgo"},
                **_functions(x),
                direction=direction,
            )
        case nnx.OptimizedLSTMCell():
            return layouts.lstm(
                path,
                bias=at("dense_h", "bias"),
                transposed=True,
                direction=direction,
                **_functions(x),
                **_two_products(at),
            )
        case nnx.GRUCell():
            return layouts.gru(
                path,
                bias_ih=at("dense_i", "bias"),
                transposed=True,
                direction=direction,
                **_functions(x),
                **_two_products(at),
            )
        case nnx.SimpleCell() if not x.residual:
            return layouts.rnn(
                path,
                bias=at("dense_i", "bias"),
                transposed=True,
                activation=layouts.activation_of(x.activation_fn),
                direction=direction,
                **_two_products(at),
            )
    return None


def _functions(cell: Any) -> dict[str, Any]:
    return {
        "activation": layouts.activation_of(cell.activation_fn),
        "gate_activation": layouts.activation_of(cell.gate_fn),
    }


def _two_products(at: Any) -> dict[str, str]:
    return {"weight_ih": at("dense_i", "kernel"), "weight_hh": at("dense_h", "kernel")}
