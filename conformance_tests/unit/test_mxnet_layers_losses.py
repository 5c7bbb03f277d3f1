"""Translations of losses against MXNet, and the curvature of every Gluon loss."""

from __future__ import annotations

from typing import Any

import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError, HigherOrderError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx
import numpy as np

from conformance_tests.unit.mxnet_layers import Layer, check_first, check_second, layer
from unigrad.engine import jvp, vjp
from unigrad_mxnet.arrays import constant

gluon = mx.gluon

_LABEL = np.array([1.0, 0.0, 3.0])
_LABELS = np.array(
    [[1.0, 0.0, 2.0, 3.0, 1.0], [0.0, 3.0, 3.0, 2.0, 0.0], [2.0, 0.0, 0.0, 1.0, 3.0]]
)
_DISTRIBUTION = np.full((3, 4), 0.25)


def _softmax_output(*inputs: Any, **attrs: object) -> Layer:
    """MXNet's scale is a float32 number, whatever the arrays are."""
    return layer("SoftmaxOutput", *inputs, attrs=attrs, tolerance=1e-7)


def _output(op: str, *inputs: Any, **attrs: object) -> Layer:
    return layer(op, *inputs, argnums=(0,), attrs=attrs, tolerance=1e-7)


_NORMALIZED: list[dict[str, object]] = [
    {"grad_scale": 2.0},
    {"normalization": "batch"},
    {"normalization": "valid"},
    {"use_ignore": True, "ignore_label": 0},
    {"use_ignore": True, "ignore_label": 0, "normalization": "valid"},
]

DECLARED = [
    *[_softmax_output((3, 4), _LABEL, **attrs) for attrs in _NORMALIZED],
    *[_softmax_output((3, 4, 5), _LABELS, multi_output=True, **attrs) for attrs in _NORMALIZED],
    *[_softmax_output((3, 5, 4), _LABELS, preserve_shape=True, **attrs) for attrs in _NORMALIZED],
    _softmax_output((3, 4), _LABEL, smooth_alpha=0.1),
    _softmax_output((3, 4), _DISTRIBUTION, grad_scale=2.0),
    *[
        _output(op, *shapes, grad_scale=0.5)
        for op in ("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput")
        for shapes in (((3, 4), (3, 4)), ((3, 4, 2), (3, 4, 2)), ((3, 1), (3,)))
    ],
    *[_output("SVMOutput", (3, 4), _LABEL, margin=m) for m in (1.0, 0.5)],
    _output("SVMOutput", (3, 4), _LABEL, use_linear=True, regularization_coefficient=0.3),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", DECLARED, ids=str)
def test_outputs_have_their_declared_gradient(case: Layer, dtype: str) -> None:
    check_first(case, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cross_entropy(dtype: str) -> None:
    case = layer("softmax_cross_entropy", (3, 4), _LABEL)
    check_first(case, dtype)
    check_second(case)


def _hessian_products(op: str) -> np.ndarray[Any, Any]:
    """Rows of the Hessian along two directions, in forward and in reverse mode."""
    case = layer(op, (3, 4), _LABEL)
    x = case.arrays("float64")[0]
    v = np.random.default_rng(1).normal(size=x.shape)
    f = case.function(case.arrays("float64"))

    def gradient(x: Any) -> Any:
        return vjp(lambda x: [np.sum(f(x)[0])], [x])[1]([np.float64(1.0)])

    forward = jvp(gradient, [x], [v])[1][0]
    backward = vjp(gradient, [x])[1]([v])[0]
    return np.stack([forward, backward])


def test_the_second_order_of_softmax_output_is_that_of_the_cross_entropy() -> None:
    got, wanted = _hessian_products("SoftmaxOutput"), _hessian_products("softmax_cross_entropy")
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


def test_out_grad_multiplies_the_cotangent() -> None:
    """MXNet multiplies by its output instead, which is not what it documents."""
    case = _softmax_output((3, 4), _LABEL, out_grad=True)
    plain = _softmax_output((3, 4), _LABEL)
    x = case.arrays("float64")
    g = np.arange(12.0).reshape(3, 4)
    (got,) = vjp(case.function(x), x[:1])[1]([g])
    (one,) = vjp(plain.function(x), x[:1])[1]([g])
    np.testing.assert_allclose(got, one * g, rtol=1e-14)


def test_softmax_output_that_is_refused() -> None:
    for attrs in ({}, {"multi_output": True, "smooth_alpha": 0.1}):
        case = _softmax_output((3, 4, 5), _LABELS, **attrs)
        with pytest.raises(HigherOrderError, match="SoftmaxOutput of"):
            case.translated(case.arrays("float64"))


# ------------------------------------------------------------------------- CTC

_FIRST = np.array([[1.0, 2.0, 2.0], [3.0, 0.0, 0.0], [1.0, 1.0, 3.0]])
_LAST = np.array([[1.0, 2.0, 2.0], [3.0, -1.0, -1.0], [0.0, 0.0, 3.0]])
_STEPS, _COUNTS = np.array([8.0, 5.0, 7.0]), np.array([3.0, 1.0, 3.0])

CTC = [
    layer("CTCLoss", (8, 3, 5), _FIRST, double=False),
    layer("CTCLoss", (8, 3, 5), _LAST, attrs={"blank_label": "last"}, double=False),
    layer(
        "CTCLoss",
        *[(8, 3, 5), _LAST, _STEPS],
        attrs={"blank_label": "last", "use_data_lengths": True},
        double=False,
    ),
    layer(
        "CTCLoss",
        *[(8, 3, 5), _LAST, _STEPS, _COUNTS],
        attrs={"blank_label": "last", "use_data_lengths": True, "use_label_lengths": True},
        double=False,
    ),
]


@pytest.mark.parametrize("case", CTC, ids=str)
def test_ctc(case: Layer) -> None:
    check_first(case, "float32")
    check_second(case)


def test_ctc_of_no_label_and_of_one_that_does_not_fit() -> None:
    """Where MXNet gives memory that nobody wrote."""
    x = np.zeros((3, 2, 4))
    case = layer("CTCLoss", x, argnums=(0,))
    (y,) = case.translated([x, np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])])
    np.testing.assert_allclose(y, [3 * np.log(4.0), np.inf])


# ------------------------------------------------------------------------- Gluon

_RNG = np.random.default_rng(2)
_X, _Y = _RNG.normal(size=(4, 5)), _RNG.normal(size=(4, 5))
_SIGNS = np.where(_Y > 0, 1.0, -1.0)
_CLASSES = np.array([0.0, 4.0, 2.0, 1.0])
_SHARES = np.exp(_Y) / np.exp(_Y).sum(1, keepdims=True)
_COUNTS_5 = np.floor(np.exp(_Y))

GLUON: dict[str, tuple[Any, list[Any]]] = {
    "L2Loss": (gluon.loss.L2Loss(weight=0.7), [_Y]),
    "L1Loss": (gluon.loss.L1Loss(), [_Y]),
    "SigmoidBCELoss": (gluon.loss.SigmoidBCELoss(), [(_Y > 0) * 1.0]),
    "SigmoidBCELoss, pos_weight": (
        gluon.loss.SigmoidBCELoss(),
        [(_Y > 0) * 1.0, np.ones((4, 1)), np.linspace(1, 2, 5)[None]],
    ),
    "SoftmaxCELoss": (gluon.loss.SoftmaxCELoss(), [_CLASSES]),
    "SoftmaxCELoss, dense": (gluon.loss.SoftmaxCELoss(sparse_label=False), [_SHARES]),
    "SoftmaxCELoss, from_logits": (gluon.loss.SoftmaxCELoss(from_logits=True), [_CLASSES]),
    "KLDivLoss": (gluon.loss.KLDivLoss(from_logits=False), [_SHARES]),
    "HuberLoss": (gluon.loss.HuberLoss(rho=0.8), [_Y]),
    "HingeLoss": (gluon.loss.HingeLoss(), [_SIGNS]),
    "SquaredHingeLoss": (gluon.loss.SquaredHingeLoss(), [_SIGNS]),
    "LogisticLoss": (gluon.loss.LogisticLoss(), [_SIGNS]),
    "TripletLoss": (gluon.loss.TripletLoss(margin=3), [_Y, _SHARES]),
    "PoissonNLLLoss": (gluon.loss.PoissonNLLLoss(), [_COUNTS_5]),
    "CosineEmbeddingLoss": (gluon.loss.CosineEmbeddingLoss(), [_Y, np.array([1.0, -1, 1, -1])]),
    "SDMLLoss": (gluon.loss.SDMLLoss(), [_Y]),
}
_SINGLE = ("CosineEmbeddingLoss", "SDMLLoss")
"""In MXNet these make arrays of float32 themselves, and the last cannot be hybridized."""


def _nd(x: Any, dtype: str = "float64") -> Any:
    return constant(np.asarray(x, dtype=dtype)).as_nd_ndarray()


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")
@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("name", GLUON)
def test_the_curvature_of_a_gluon_loss(name: str, hybridized: bool) -> None:
    """Against differences of MXNet's own gradient."""
    block, others = GLUON[name]
    if hybridized and name == "SDMLLoss":
        pytest.skip("MXNet cannot hybridize it")
    block.hybridize(hybridized)
    dtype = "float32" if name in _SINGLE else "float64"
    rest = [_nd(y, dtype) for y in others]
    weights = _nd(np.linspace(0.5, 1.5, 4), dtype)

    def loss(x: Any) -> Any:
        return (block(x * x * 0.3 + x, *rest) * weights).sum()

    def gradient(values: Any) -> Any:
        x = _nd(values, dtype)
        x.attach_grad()
        with mx.autograd.record():
            y = loss(x)
        y.backward()
        return x.grad.asnumpy()

    v = np.random.default_rng(4).normal(size=_X.shape)
    h, tolerance = (1e-5, 1e-6) if dtype == "float64" else (1e-2, 5e-3)
    wanted = (gradient(_X + h * v) - gradient(_X - h * v)) / (2 * h)
    got = ug.hvp(loss, _nd(_X, dtype), _nd(v, dtype)).asnumpy()
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
