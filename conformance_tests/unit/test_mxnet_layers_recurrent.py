"""The translation of MXNet's fused RNN against MXNet."""

from __future__ import annotations

from typing import Any

import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError, HigherOrderError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import numpy as np

from conformance_tests.unit.mxnet_layers import Layer, check_first, check_second, layer

_STEPS, _BATCH, _INPUTS, _SIZE = 4, 2, 3, 4
_GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}


def _rnn(mode: str, layers: int, directions: int, **options: Any) -> Layer:
    count = 0
    for i in range(layers):
        width = _INPUTS if i == 0 else _SIZE * directions
        count += directions * _GATES[mode] * _SIZE * (width + _SIZE + 2)
    states = [(layers * directions, _BATCH, _SIZE)] * (2 if mode == "lstm" else 1)
    parameters = np.random.default_rng(8).normal(size=count) * 0.4
    attrs = {
        "state_size": _SIZE,
        "num_layers": layers,
        "mode": mode,
        "bidirectional": directions == 2,
        **options.pop("attrs", {}),
    }
    inputs = [(_STEPS, _BATCH, _INPUTS), parameters, *states]
    # MXNet computes rnn_relu in float32. In float64 its own gradient is wrong for two or more
    # layers, unless all inputs are differentiated; of a plain RNN with three layers even so.
    return layer(
        "RNN",
        *inputs,
        argnums=tuple(range(len(inputs))),
        attrs=attrs,
        tolerance=1e-6 if mode == "rnn_relu" else 1e-11,
        native=not (mode.startswith("rnn") and layers > 2),
        **options,
    )


CASES = [
    *[_rnn(mode, n, d) for mode in _GATES for n, d in ((1, 1), (2, 2), (3, 1))],
    *[_rnn(mode, 2, 1, attrs={"state_outputs": True}) for mode in _GATES],
    _rnn("lstm", 1, 1, attrs={"p": 0.5}),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradient_are_those_of_mxnet(case: Layer, dtype: str) -> None:
    check_first(case, dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_second_order(case: Layer) -> None:
    check_second(case)


def test_dropout_between_layers_in_predict_mode() -> None:
    """MXNet in float64, recorded, drops at random there: a translation would be a wrong one."""
    case = _rnn("gru", 2, 1, attrs={"p": 0.5}, training=False)
    check_first(case, "float32")
    with pytest.raises(HigherOrderError, match="RNN with p="):
        case.translated(case.arrays("float64"))


def test_what_has_no_translation_says_what_to_type() -> None:
    refused: list[tuple[Any, str]] = [
        ({"p": 0.5}, "mx.nd.Dropout between them"),
        ({"projection_size": 2}, "LSTMCell"),
        ({"use_sequence_length": True}, "SequenceMask"),
    ]
    for attrs, message in refused:
        case = _rnn("lstm", 2, 1, attrs=attrs)
        with pytest.raises(HigherOrderError, match=message):
            case.translated(case.arrays("float64"))
