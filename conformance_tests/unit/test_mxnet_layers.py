"""Translations of dense layers, convolutions, pooling and attention against MXNet."""

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
from unigrad.engine import jvp, vjp

_TIES = np.random.default_rng(0).integers(0, 3, (2, 3, 7, 8))
_PLANE = (2, 3, 7, 8)


def _pool(kind: str, shape: tuple[int, ...] = _PLANE, **attrs: object) -> Layer:
    return layer("Pooling", shape, attrs={"pool_type": kind, **attrs})


def _full_average(**attrs: object) -> Layer:
    """Trap: MXNet's own gradient in float32 forgets how many entries the last windows have."""
    return layer("Pooling", _PLANE, attrs={"pool_type": "avg", **attrs}, native=False)


def _dense(*inputs: tuple[int, ...], **attrs: object) -> Layer:
    return layer("FullyConnected", *inputs, attrs={"num_hidden": 5, **attrs})


def _conv(*inputs: tuple[int, ...], **attrs: object) -> Layer:
    w = inputs[1]
    return layer("Convolution", *inputs, attrs={"kernel": w[2:], "num_filter": w[0], **attrs})


def _deconv(*inputs: tuple[int, ...], **attrs: object) -> Layer:
    w = inputs[1]
    filters = w[1] * int(str(attrs.get("num_group", 1)))
    given = {"kernel": w[2:], "num_filter": filters, **attrs}
    return layer("Deconvolution", *inputs, attrs=given)


CASES = [
    _dense((3, 4, 2), (5, 8), (5,)),
    _dense((3, 4, 2), (5, 2), (5,), flatten=False),
    _dense((3, 4), (5, 4), no_bias=True),
    _conv((2, 3, 7), (4, 3, 3), (4,), stride=(2,), pad=(1,)),
    _conv((2, 4, 7, 6), (6, 2, 3, 2), num_group=2, no_bias=True, dilate=(2, 1), pad=(1, 2)),
    _conv((2, 4, 7, 6), (6, 4, 1, 1), (6,)),
    _conv((2, 4, 7, 6), (6, 4, 1, 1), (6,), stride=(2, 2)),
    _conv((2, 4, 7, 6), (4, 1, 3, 3), (4,), num_group=4, stride=(2, 1)),
    _conv((2, 4, 7, 6), (4, 4, 3, 3), (4,), dilate=(2, 2), stride=(2, 1), pad=(3, 1)),
    _conv((2, 2, 5, 4, 6), (3, 2, 2, 3, 2), (3,), stride=(1, 2, 2), pad=(1, 1, 0)),
    _deconv((2, 4, 5), (4, 3, 3), (3,), stride=(2,), no_bias=False),
    _deconv((2, 4, 5, 4), (4, 3, 3, 2), stride=(2, 2), pad=(1, 0), adj=(1, 1)),
    _deconv((2, 4, 5, 4), (4, 3, 4, 4), stride=(2, 2), pad=(1, 1), num_group=2),
    layer(
        "Deconvolution",
        *[(2, 4, 5, 4), (4, 3, 4, 4)],
        attrs={"kernel": (4, 4), "num_filter": 3, "stride": (2, 2), "target_shape": (10, 8)},
        single=False,
    ),
    *[
        _pool(kind, kernel=k, stride=s, pad=p, pooling_convention=convention)
        for convention in ("valid", "full")
        for k, s, p in (
            ((3, 2), (2, 1), (1, 1)),
            ((3, 3), (2, 2), (0, 0)),
            ((2, 3), (3, 2), (0, 1)),
        )
        for kind in ("max", "sum")
    ],
    *[_pool(kind, kernel=(2, 2), stride=(2, 2)) for kind in ("max", "avg", "sum")],
    *[
        layer("Pooling", _TIES, argnums=(0,), second=False, attrs={"kernel": k, "stride": (2, 2)})
        for k in ((2, 2), (3, 3))
    ],
    *[
        _pool("avg", kernel=(3, 3), stride=(2, 2), pad=(1, 1), count_include_pad=count)
        for count in (True, False)
    ],
    _full_average(kernel=(2, 2), stride=(2, 2), pooling_convention="full"),
    _full_average(kernel=(3, 3), stride=(2, 2), pad=(1, 1), pooling_convention="full"),
    _pool("lp", kernel=(2, 2), p_value=2),
    _pool("lp", kernel=(3, 2), stride=(2, 2), pad=(1, 1), p_value=2),
    _pool("lp", kernel=(3, 2), p_value=1),
    *[_pool(kind, global_pool=True) for kind in ("max", "avg", "sum")],
    *[_pool(kind, (2, 3, 7), kernel=(3,), stride=(2,), pad=(1,)) for kind in ("max", "avg")],
    *[_pool(kind, (2, 2, 5, 4, 6), kernel=(2, 3, 2), pad=(1, 1, 0)) for kind in ("max", "sum")],
    _pool("max", (2, 7, 8, 3), kernel=(2, 3), stride=(2, 1), layout="NHWC"),
    *[
        layer("_contrib_AdaptiveAvgPooling2D", _PLANE, attrs={"output_size": size})
        for size in (1, (3, 2), (9, 5))
    ],
    layer("_contrib_BilinearResize2D", _PLANE, attrs={"height": 9, "width": 5}, tolerance=1e-6),
    layer(
        "_contrib_BilinearResize2D",
        _PLANE,
        attrs={"height": 9, "width": 5, "align_corners": False},
        tolerance=1e-6,
    ),
    layer("UpSampling", (2, 3, 5, 4), attrs={"scale": 2, "sample_type": "nearest"}),
    layer(
        "UpSampling",
        *[(2, 3, 4, 4), (2, 3, 2, 2)],
        attrs={"scale": 2, "sample_type": "nearest", "num_args": 2},
    ),
    layer("_contrib_interleaved_matmul_selfatt_qk", (5, 2, 18), attrs={"heads": 2}, double=False),
    layer(
        "_contrib_interleaved_matmul_selfatt_valatt",
        *[(5, 2, 18), (4, 5, 5)],
        attrs={"heads": 2},
        double=False,
    ),
    layer(
        "_contrib_interleaved_matmul_encdec_qk",
        *[(4, 2, 6), (5, 2, 12)],
        attrs={"heads": 2},
        double=False,
    ),
    layer(
        "_contrib_interleaved_matmul_encdec_valatt",
        *[(5, 2, 12), (4, 4, 5)],
        attrs={"heads": 2},
        double=False,
    ),
    layer("BilinearSampler", (2, 3, 5, 4), (2, 2, 3, 3)),
    layer(
        "SpatialTransformer",
        *[(2, 3, 5, 4), (2, 6)],
        attrs={
            "transform_type": "affine",
            "sampler_type": "bilinear",
            "target_shape": (3, 4),
        },
    ),
    layer(
        "GridGenerator",
        (2, 6),
        attrs={"transform_type": "affine", "target_shape": (3, 4)},
        double=False,
    ),
    layer("GridGenerator", (2, 2, 3, 4), attrs={"transform_type": "warp"}, double=False),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradient_are_those_of_mxnet(case: Layer, dtype: str) -> None:
    check_first(case, dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_second_order(case: Layer) -> None:
    check_second(case)


def test_an_image_much_larger_than_a_block_of_windows() -> None:
    case = _conv((8, 8, 40, 40), (6, 8, 5, 5), (6,), pad=(2, 2))
    check_first(case, "float64")
    check_second(case)


def test_third_order() -> None:
    """Along one direction, through a convolution with strides, a maximum and a normalization."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 2, 9, 9))
    w, v = rng.normal(size=(2, 3, 2, 3, 3))
    gamma, running = np.ones(3), np.ones(3)
    layers = [
        layer("Convolution", x, w, attrs={"kernel": (3, 3), "no_bias": True, "stride": (2, 1)}),
        layer("Pooling", x, attrs={"kernel": (2, 2), "stride": (1, 2)}),
        layer("BatchNorm", x, attrs={}),
        layer("Activation", x, attrs={"act_type": "tanh"}),
    ]
    weights = np.cos(np.arange(2 * 3 * 3 * 3)).reshape(2, 3, 3, 3)

    def loss(w: Any) -> list[Any]:
        y = x
        for case, more in zip(
            layers, ([w], [], [gamma, 0 * gamma, gamma, running], []), strict=True
        ):
            (y,) = case.translated([y, *more])
        return [np.sum(weights * y)]

    def along(f: Any) -> Any:
        return lambda w: [jvp(f, [w], [v])[1][0]]

    def gradient(f: Any) -> Any:
        return lambda w: vjp(f, [w])[1]([np.float64(1.0)])

    second, third = along(gradient(loss)), along(along(gradient(loss)))
    h = 1e-5
    wanted = (second(w + h * v)[0] - second(w - h * v)[0]) / (2 * h)
    np.testing.assert_allclose(third(w)[0], wanted, rtol=1e-5, atol=1e-5)
    other = gradient(along(along(loss)))
    np.testing.assert_allclose(other(w)[0], third(w)[0], rtol=1e-9, atol=1e-9)


def test_infinite_entries_pass_a_maximum() -> None:
    x = np.array([[[-np.inf, 1.0, -np.inf, -np.inf]]])
    case = layer("Pooling", x, argnums=(0,), attrs={"kernel": (2,), "stride": (2,)})
    (y,) = case.translated([x])
    assert y.tolist() == [[[1.0, -np.inf]]]


def test_dropout_takes_its_mask_as_a_second_input() -> None:
    x, mask = np.arange(4.0), np.array([0.0, 2.0, 2.0, 0.0])
    case = layer("Dropout", x, argnums=(0,), attrs={"p": 0.5})
    assert case.translated([x, mask])[0].tolist() == [0.0, 2.0, 4.0, 0.0]
    with pytest.raises(HigherOrderError, match="without its mask"):
        case.translated([x])


def test_what_has_no_translation_says_what_to_type() -> None:
    image = np.ones((1, 2, 4, 4))
    refused = [
        ("Convolution", [image, image], {"layout": "NHWC"}, "layout='NHWC'"),
        ("UpSampling", [image, image], {"scale": 2, "sample_type": "bilinear"}, "Deconvolution"),
        ("_contrib_BilinearResize2D", [image], {"mode": "odd_scale"}, "mode='size'"),
    ]
    for op, arrays, attrs, message in refused:
        case = layer(op, *arrays, argnums=(0,), attrs=attrs)
        with pytest.raises(HigherOrderError, match=message):
            case.translated(arrays)
