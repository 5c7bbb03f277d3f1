"""The layers of linen variables, as ``ug.models.port`` reads them: by the names they contain.

Which class made the variables is not written in them. What looks like a convolution is taken for
one, unless the name that linen gave it (``ConvTranspose_0``) says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from unigrad import layouts
from unigrad.layouts import Layer
from unigrad.layouts.feedforward import NormKind

__all__ = ["linen_layers"]

Tree: TypeAlias = Mapping[str, Any]

_LSTM = {f"{side}{gate}" for side in "ih" for gate in "ifgo"}
_GRU = {f"{side}{gate}" for side in "ih" for gate in "rzn"}
_ATTENTION = {"query", "key", "value", "out"}
_NORMS: dict[str, NormKind] = {
    "BatchNorm": "batch_norm",
    "GroupNorm": "group_norm",
    "InstanceNorm": "instance_norm",
    "LayerNorm": "layer_norm",
    "RMSNorm": "rms_norm",
}


def linen_layers(variables: Tree) -> list[Layer]:
    """Those whose variables look like a layer of linen, in the order of the dict.

    A dict that went through ``jax.jit`` or a tree map is sorted by name.
    """
    found = _layers((), variables.get("params", {}), variables.get("batch_stats", {}))
    return layouts.unsorted(found)


def _layers(path: tuple[str, ...], tree: Tree, statistics: Any) -> Iterator[Layer]:
    layer = _layer(path, tree, statistics)
    if layer is not None:
        yield layer
        return
    for name, below in tree.items():
        if isinstance(below, Mapping):
            inside = statistics.get(name, {}) if isinstance(statistics, Mapping) else {}
            yield from _layers((*path, name), below, inside)


def _layer(path: tuple[str, ...], tree: Tree, statistics: Tree) -> Layer | None:
    def at(*names: str) -> str:
        return "/".join((*path, *names))

    def there(*names: str) -> str | None:
        below: Any = tree
        for name in names:
            below = below.get(name, {}) if isinstance(below, Mapping) else {}
        return None if isinstance(below, Mapping) else at(*names)

    name = "/".join(path)
    made_by = path[-1].partition("_")[0] if path else ""
    keys = set(tree)
    if keys == {"i", "h"} and {*tree["i"], *tree["h"]} == {"kernel", "bias"}:
        return layouts.rnn(
            name,
            weight_ih=at("i", "kernel"),
            weight_hh=at("h", "kernel"),
            bias=there("i", "bias"),
            transposed=True,
        )
    if keys == _LSTM:
        return layouts.lstm_per_gate(
            name,
            weights_ih={g: at(f"i{g}", "kernel") for g in "ifgo"},
            weights_hh={g: at(f"h{g}", "kernel") for g in "ifgo"},
            biases={g: at(f"h{g}", "bias") for g in "ifgo"},
            activation=None,
            gate_activation=None,
        )
    if keys == _GRU:
        return layouts.gru_per_gate(
            name,
            weights_ih={g: at(f"i{g}", "kernel") for g in "rzn"},
            weights_hh={g: at(f"h{g}", "kernel") for g in "rzn"},
            biases_ih={g: at(f"i{g}", "bias") for g in "rzn"},
            bias_n=at("hn", "bias"),
            activation=None,
            gate_activation=None,
        )
    if keys == _ATTENTION:
        return layouts.attention(
            name,
            heads=int(tree["query"]["kernel"].shape[1]),
            headed=True,
            out=at("out", "kernel"),
            query=at("query", "kernel"),
            key=at("key", "kernel"),
            value=at("value", "kernel"),
            query_bias=there("query", "bias"),
            key_bias=there("key", "bias"),
            value_bias=there("value", "bias"),
            out_bias=there("out", "bias"),
        )
    if keys == {"embedding"}:
        return layouts.embedding(name, weight=at("embedding"))
    if keys and keys <= {"scale", "bias"} and (statistics or "scale" in keys):
        kind = _NORMS.get(made_by, "batch_norm" if statistics else "layer_norm")
        mean, var = (
            f"batch_stats/{at(statistic)}" if statistic in statistics else None
            for statistic in ("mean", "var")
        )
        return layouts.norm(
            kind, name, scale=there("scale"), offset=there("bias"), mean=mean, var=var
        )
    if "kernel" in keys and keys <= {"kernel", "bias"}:
        return _kernel(name, made_by, at("kernel"), there("bias"), tree["kernel"].ndim)
    return None


def _kernel(name: str, made_by: str, weight: str, bias: str | None, rank: int) -> Layer | None:
    if rank == 2:
        return layouts.dense(name, weight=weight, bias=bias, transposed=True, channels_last=True)
    if not 3 <= rank <= 5 or made_by == "DenseGeneral":
        return None
    order = "DHW"[5 - rank :] + "IO"
    if made_by == "ConvTranspose":
        return layouts.conv_transpose(
            name, weight=weight, bias=bias, order=order, flipped=True, channels_last=True
        )
    return layouts.conv(name, weight=weight, bias=bias, order=order, channels_last=True)
