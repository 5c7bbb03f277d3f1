"""Translations of normalizations, activations and the softmax family against MXNet."""

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

from conformance_tests.unit.mxnet_layers import Layer, check_first, check_second, layer, native
from unigrad.engine import vjp

_IMAGE = (3, 4, 5, 6)


def _batch(
    training: bool = True, channels: int = 4, op: str = "BatchNorm", **options: Any
) -> Layer:
    attrs: dict[str, object] = {k: v for k, v in options.items() if k not in ("double", "native")}
    if op == "_contrib_SyncBatchNorm":
        attrs["key"] = "of this layer"
    return layer(
        op,
        *[_IMAGE, (channels,), (channels,), (channels,), np.linspace(0.5, 2.0, channels)],
        argnums=(0, 1, 2),
        attrs=attrs,
        training=training,
        double=options.get("double", True),
        native=options.get("native", True),
    )


def _single(op: str, *inputs: tuple[int, ...], **attrs: object) -> Layer:
    """An operator that MXNet has in float32 only."""
    return layer(op, *inputs, attrs=attrs, double=False)


def _of(op: str, **attrs: object) -> Layer:
    return layer(op, (3, 4, 5), attrs=attrs)


def _leaky(kind: str, *more: tuple[int, ...], native: bool = True, **attrs: object) -> Layer:
    """MXNet computes it in float32, except elu."""
    tolerance = 1e-11 if kind == "elu" else 1e-6
    given = {"act_type": kind, **attrs}
    return layer("LeakyReLU", (3, 4, 2), *more, attrs=given, tolerance=tolerance, native=native)


_RUNNING = np.linspace(0.5, 2.0, 4)

CASES = [
    *[
        _batch(training, **attrs)
        for training in (True, False)
        for attrs in ({}, {"fix_gamma": False}, {"fix_gamma": False, "use_global_stats": True})
    ],
    _batch(channels=6, fix_gamma=False, axis=-1),
    _batch(fix_gamma=False, eps=0.1),
    _batch(fix_gamma=False, output_mean_var=True, native=False),
    layer("BatchNorm", (5, 4), (4,), (4,), (4,), _RUNNING, argnums=(0, 1, 2), attrs={}),
    # MXNet's own derivative in the running statistics is silently zero.
    layer(
        "BatchNorm",
        *[_IMAGE, (4,), (4,), (4,), _RUNNING],
        argnums=(0, 1, 2, 3, 4),
        attrs={"fix_gamma": False},
        training=False,
        native=False,
    ),
    _batch(op="_contrib_SyncBatchNorm", fix_gamma=False, double=False),
    _batch(op="_contrib_BatchNormWithReLU", fix_gamma=False, double=False),
    layer("LayerNorm", (3, 4, 6), (6,), (6,)),
    layer("LayerNorm", (3, 4, 6), (4,), (4,), attrs={"axis": 1, "eps": 1e-3}),
    layer("LayerNorm", (3, 4, 6), (6,), (6,), attrs={"output_mean_var": True}, native=False),
    *[layer("GroupNorm", _IMAGE, (g,), (g,), attrs={"num_groups": g}) for g in (1, 2, 4)],
    layer(
        "GroupNorm",
        *[(3, 4, 5), (2,), (2,)],
        attrs={"num_groups": 2, "output_mean_var": True},
        native=False,
    ),
    _single("InstanceNorm", _IMAGE, (4,), (4,)),
    _single("InstanceNorm", (3, 4, 5), (4,), (4,), eps=1e-5),
    *[
        layer("L2Normalization", _IMAGE, attrs={"mode": m})
        for m in ("instance", "channel", "spatial")
    ],
    layer("L2Normalization", (3, 4), attrs={"eps": 0.01}),
    _single("LRN", (3, 7, 2, 2), nsize=3),
    _single("LRN", (3, 7, 2, 2), nsize=5, alpha=0.3, beta=0.5, knorm=1.5),
    *[_of("Activation", act_type=a) for a in ("relu", "sigmoid", "tanh", "softrelu", "softsign")],
    _leaky("leaky"),
    _leaky("leaky", slope=0.1),
    _leaky("elu"),
    _leaky("elu", slope=1.0),
    _leaky("selu", native=False),
    _leaky("gelu"),
    _leaky("prelu", (4,)),
    _leaky("prelu", (1,)),
    *[_of(op) for op in ("softmax", "log_softmax", "softmin")],
    *[_of(op, axis=1) for op in ("softmax", "log_softmax", "softmin")],
    *[_of(op, axis=0, temperature=2.5) for op in ("softmax", "log_softmax", "softmin")],
    _single("SoftmaxActivation", (3, 4)),
    _single("SoftmaxActivation", (3, 4, 5), mode="channel"),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradient_are_those_of_mxnet(case: Layer, dtype: str) -> None:
    check_first(case, dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_second_order(case: Layer) -> None:
    check_second(case)


def test_softmax_with_lengths() -> None:
    lengths = np.array([[1, 0, 4], [2, 3, 1]])
    case = layer("softmax", (2, 4, 3), lengths, attrs={"use_length": True, "axis": 1})
    x = case.arrays("float64")[0]
    (y,) = case.translated([x, lengths])
    (wanted,) = native(case, [x, lengths.astype("int32")])
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
    assert y[0, :, 1].tolist() == [0.0] * 4
    check_second(case)


def test_activations_far_from_zero() -> None:
    x = np.array([-800.0, -30.0, 30.0, 800.0])
    slopes = {
        "relu": [0.0, 0.0, 1.0, 1.0],
        "softrelu": [0.0, np.exp(-30.0), 1.0, 1.0],
        "sigmoid": [0.0, np.exp(-30.0), np.exp(-30.0), 0.0],
        "elu": [0.0, np.exp(-30.0), 1.0, 1.0],
        "selu": [0.0, 1.7580993408473766 * np.exp(-30.0), 1.0507009873554805, 1.0507009873554805],
        "gelu": [0.0, 0.0, 1.0, 1.0],
    }
    for kind, wanted in slopes.items():
        op = "Activation" if kind in ("relu", "softrelu", "sigmoid") else "LeakyReLU"
        case = layer(op, x, argnums=(0,), attrs={"act_type": kind, "slope": 1.0})
        _, pullback = vjp(case.function([x]), [x])
        (g,) = pullback([np.ones(4)])
        np.testing.assert_allclose(g, wanted, rtol=1e-9, atol=1e-15, err_msg=kind)


def test_what_has_no_translation_says_what_to_type() -> None:
    x = np.ones((2, 3, 4))
    refused = [
        ("SoftmaxActivation", {}, "mx.nd.softmax"),
        ("LeakyReLU", {"act_type": "rrelu"}, "act_type='leaky'"),
        ("Activation", {"act_type": "mish"}, "act_type='mish'"),
    ]
    for op, attrs, message in refused:
        case = layer(op, x, argnums=(0,), attrs=attrs)
        with pytest.raises(HigherOrderError, match=message):
            case.translated([x])
