"""LSTMs, GRUs and plain recurrent layers: one direction of one layer each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from unigrad.layouts.layer import Layer, Part
from unigrad.layouts.parts import gate, matrix, one, same, stated

Direction: TypeAlias = Literal["forward", "backward"]

__all__ = [
    "Direction",
    "activation_of",
    "gru",
    "gru_per_gate",
    "lstm",
    "lstm_per_gate",
    "rnn",
]


_ALIKE = ("tanh", "sigmoid", "relu", "relu6", "softplus")
"""Functions that are the same ones in every framework that calls them so."""


def activation_of(function: Any) -> Any:
    """What a recurrent layer states of an activation: its name, or itself where names differ."""
    home = str(getattr(function, "__module__", None)).partition(".")[0]
    name = getattr(function, "__name__", None)
    return name if home in ("jax", "flax", "keras") and name in _ALIKE else function


def _facts(activation: Any, gate_activation: Any, direction: Direction | None) -> dict[str, Any]:
    return stated(
        {"activation": activation, "gate_activation": gate_activation, "direction": direction}
    )


def lstm(
    path: str,
    *,
    weight_ih: str,
    weight_hh: str,
    bias: str | None = None,
    bias_ih: str | None = None,
    bias_hh: str | None = None,
    gates: str = "ifgo",
    transposed: bool = False,
    activation: Any = "tanh",
    gate_activation: Any = "sigmoid",
    direction: Direction | None = None,
) -> Layer:
    """One direction of one LSTM layer; weights (4 * units, in), canonical gates i, f, g, o.

    Args:
        bias: the only one, where the framework adds one; otherwise ``bias_ih`` and ``bias_hh``.
        gates: their order along the axis of 4 * units (g is Keras' c).
        transposed: weights (in, 4 * units).
        activation, gate_activation: as `activation_of` gives them; ``None`` where that is unknown.
        direction: ``"backward"`` for a layer that reads the sequence from its end.
    """
    parts = [
        *_gated("weight_ih", weight_ih, gates, "ifgo", transposed),
        *_gated("weight_hh", weight_hh, gates, "ifgo", transposed),
        *_gated("bias_ih", bias_ih, gates, "ifgo"),
        *_gated("bias_hh", bias_hh, gates, "ifgo"),
    ]
    if bias is not None:
        parts.append(_one_bias(bias, gates, "ifgo"))
    return Layer("lstm", path, tuple(parts), _facts(activation, gate_activation, direction))


def gru(
    path: str,
    *,
    weight_ih: str,
    weight_hh: str,
    bias: str | None = None,
    bias_ih: str | None = None,
    bias_hh: str | None = None,
    bias_n: str | None = None,
    gates: str = "rzn",
    transposed: bool = False,
    activation: Any = "tanh",
    gate_activation: Any = "sigmoid",
    direction: Direction | None = None,
) -> Layer:
    """One direction of one GRU layer that resets after its product; gates r, z, n.

    A GRU that resets before (Keras' ``reset_after=False``) is another function: list no layer.

    Args:
        bias: both in one array (2, 3 * units) (Keras); otherwise ``bias_ih``, ``bias_hh``.
        bias_n: in place of ``bias_hh``, that of n alone (Equinox).
        gates: their order along the axis of 3 * units (n is Keras' h).
        transposed: weights (in, 3 * units).
        activation, gate_activation, direction: as for `lstm`.
    """
    parts = [
        *_gated("weight_ih", weight_ih, gates, "rzn", transposed),
        *_gated("weight_hh", weight_hh, gates, "rzn", transposed),
        *_gated("bias_hh", bias_hh, gates, "rzn"),
    ]
    if bias is not None:
        parts.append(
            Part(
                (bias,),
                ("bias_ih", "bias_hh"),
                lambda b: tuple(_reordered(b[k], gates, "rzn") for k in range(2)),
                lambda *each: (np.stack([_reordered(b, "rzn", gates) for b in each]),),
            )
        )
    elif bias_n is not None and bias_ih is not None:
        parts.append(_reset_bias(bias_ih, bias_n, gates))
    else:
        parts += _gated("bias_ih", bias_ih, gates, "rzn")
    return Layer("gru", path, tuple(parts), _facts(activation, gate_activation, direction))


def rnn(
    path: str,
    *,
    weight_ih: str,
    weight_hh: str,
    bias: str | None = None,
    bias_ih: str | None = None,
    bias_hh: str | None = None,
    transposed: bool = False,
    activation: Any = None,
    direction: Direction | None = None,
) -> Layer:
    """One direction of one plain recurrent layer; one ``bias``, or ``bias_ih`` and ``bias_hh``."""
    parts = [
        *matrix("weight_ih", weight_ih, transposed),
        *matrix("weight_hh", weight_hh, transposed),
        *same("bias_ih", bias_ih),
        *same("bias_hh", bias_hh),
    ]
    if bias is not None:
        parts.append(_one_bias(bias, "h", "h"))
    return Layer("rnn", path, tuple(parts), _facts(activation, None, direction))


def lstm_per_gate(
    path: str,
    *,
    weights_ih: Mapping[str, str],
    weights_hh: Mapping[str, str],
    biases: Mapping[str, str] | None = None,
    transposed: bool = True,
    activation: Any = "tanh",
    gate_activation: Any = "sigmoid",
    direction: Direction | None = None,
) -> Layer:
    """An LSTM whose gates i, f, g, o have arrays of their own: their names by gate (Flax)."""
    parts = [
        _stacked("weight_ih", weights_ih, "ifgo", transposed),
        _stacked("weight_hh", weights_hh, "ifgo", transposed),
    ]
    if biases is not None:
        parts.append(
            Part(
                tuple(biases[g] for g in "ifgo"),
                ("bias_ih", "bias_hh"),
                lambda *each: (
                    np.concatenate(each),
                    np.concatenate([np.zeros_like(b) for b in each]),
                ),
                lambda b, c: tuple(gate(b + c, k, 4) for k in range(4)),
            )
        )
    return Layer("lstm", path, tuple(parts), _facts(activation, gate_activation, direction))


def gru_per_gate(
    path: str,
    *,
    weights_ih: Mapping[str, str],
    weights_hh: Mapping[str, str],
    biases_ih: Mapping[str, str] | None = None,
    bias_n: str | None = None,
    transposed: bool = True,
    activation: Any = "tanh",
    gate_activation: Any = "sigmoid",
    direction: Direction | None = None,
) -> Layer:
    """A GRU whose gates r, z, n have arrays of their own, with ``bias_n`` inside the reset."""
    parts = [
        _stacked("weight_ih", weights_ih, "rzn", transposed),
        _stacked("weight_hh", weights_hh, "rzn", transposed),
    ]
    if biases_ih is not None and bias_n is not None:
        parts.append(
            Part(
                (*(biases_ih[g] for g in "rzn"), bias_n),
                ("bias_ih", "bias_hh"),
                lambda r, z, n, m: (
                    np.concatenate([r, z, n]),
                    np.concatenate([np.zeros_like(r), np.zeros_like(z), m]),
                ),
                lambda b, c: (
                    gate(b, 0, 3) + gate(c, 0, 3),
                    gate(b, 1, 3) + gate(c, 1, 3),
                    gate(b, 2, 3),
                    gate(c, 2, 3),
                ),
            )
        )
    elif biases_ih is not None:
        parts.append(_stacked("bias_ih", biases_ih, "rzn", False))
    return Layer("gru", path, tuple(parts), _facts(activation, gate_activation, direction))


def _reordered(x: Any, gates: str, wanted: str) -> Any:
    """The blocks ``gates`` of the first axis in the order ``wanted``."""
    if gates == wanted:
        return x
    return np.concatenate([gate(x, gates.index(g), len(gates)) for g in wanted])


def _gated(
    role: str, name: str | None, gates: str, canonical: str, transposed: bool = False
) -> list[Part]:
    if sorted(gates) != sorted(canonical):
        raise ValueError(f"gates must be an order of {canonical!r}, got {gates!r}")
    if transposed:
        return one(
            role,
            name,
            lambda x: _reordered(x.T, gates, canonical),
            lambda x: _reordered(x, canonical, gates).T,
        )
    return one(
        role,
        name,
        lambda x: _reordered(x, gates, canonical),
        lambda x: _reordered(x, canonical, gates),
    )


def _one_bias(name: str, gates: str, canonical: str) -> Part:
    """The sum of both biases; read, it is the first of them."""
    return Part(
        (name,),
        ("bias_ih", "bias_hh"),
        lambda b: (_reordered(b, gates, canonical), np.zeros_like(b)),
        lambda b, c: (_reordered(b + c, canonical, gates),),
    )


def _reset_bias(bias_ih: str, bias_n: str, gates: str) -> Part:
    def read(b: Any, n: Any) -> tuple[Any, ...]:
        return _reordered(b, gates, "rzn"), np.concatenate([np.zeros_like(n), np.zeros_like(n), n])

    def write(b: Any, c: Any) -> tuple[Any, ...]:
        sums = [gate(b, k, 3) + gate(c, k, 3) for k in range(2)]
        return _reordered(np.concatenate([*sums, gate(b, 2, 3)]), "rzn", gates), gate(c, 2, 3)

    return Part((bias_ih, bias_n), ("bias_ih", "bias_hh"), read, write)


def _stacked(role: str, names: Mapping[str, str], gates: str, transposed: bool) -> Part:
    count = len(gates)
    return Part(
        tuple(names[g] for g in gates),
        (role,),
        lambda *each: (np.concatenate([x.T if transposed else x for x in each]),),
        lambda x: tuple(
            gate(x, k, count).T if transposed else gate(x, k, count) for k in range(count)
        ),
    )
