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
from unigrad_mxnet.arrays import constant
from unigrad_mxnet.framework import mx

torch = pytest.importorskip("torch")

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


def _projected(layers: int, directions: int, dtype: str) -> tuple[Any, list[Any], list[Any]]:
    rng = np.random.default_rng(9)
    layer = mx.gluon.rnn.LSTM(
        *[4, layers], bidirectional=directions == 2, projection_size=2, input_size=3, dtype=dtype
    )
    layer.initialize()
    values = [rng.normal(size=p.shape) * 0.6 for p in layer.collect_params().values()]
    shapes = [(layers * directions, 2, 2), (layers * directions, 2, 4), (5, 2, 3)]
    return layer, values, [rng.normal(size=s) for s in shapes]


def _lstmp(x: Any, states: list[Any], weights: list[Any], layers: int, directions: int) -> Any:
    """An LSTM whose output is projected, in torch: the outputs of all steps."""
    for i in range(layers):
        sides = []
        for side in range(directions):
            k = i * directions + side
            wx, wh, bx, bh, wr = weights[5 * k : 5 * k + 5]
            h, c = states[0][k], states[1][k]
            ys = []
            for t in x.flip(0) if side else x:
                gi, gf, gn, go = (t @ wx.T + bx + h @ wh.T + bh).chunk(4, 1)
                c = torch.sigmoid(gf) * c + torch.sigmoid(gi) * torch.tanh(gn)
                h = (torch.sigmoid(go) * torch.tanh(c)) @ wr.T
                ys.append(h)
            sides.append(torch.stack(ys[::-1] if side else ys))
        x = torch.cat(sides, 2)
    return x


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 1), (2, 2)])
def test_projection(layers: int, directions: int, dtype: str, training: bool) -> None:
    """Which MXNet can neither record nor run in training mode on the CPU."""
    block, values, (h, c, x) = _projected(layers, directions, dtype)
    apply, params = ug.functional(block)
    assert len(params) == len(values)

    def nd(x: Any) -> Any:
        return constant(np.asarray(x).astype(dtype)).as_nd_ndarray()

    def loss(params: Any, x: Any) -> Any:
        y, states = apply(params, x, [nd(h), nd(c)])
        return (y * y * y).sum() + (states[1] * states[1]).sum() * 0

    given = dict(zip(params, map(nd, values), strict=True))
    along = {k: nd(np.cos(np.arange(v.size)).reshape(v.shape)) for k, v in given.items()}
    mode = mx.autograd.train_mode() if training else mx.autograd.predict_mode()
    with mode:
        gradient = ug.grad(loss)(given, nd(x))
        product = ug.hvp(lambda p: loss(p, nd(x)), given, along)

    def ported(*weights: Any) -> Any:
        states = [torch.tensor(h), torch.tensor(c)]
        return (_lstmp(torch.tensor(x), states, list(weights), layers, directions) ** 3).sum()

    primals = tuple(map(torch.tensor, values))
    tangents = tuple(torch.tensor(v.asnumpy().astype("float64")) for v in along.values())
    slopes = torch.autograd.functional.vjp(ported, primals)[1]
    _, products = torch.autograd.functional.hvp(ported, primals, tangents)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for got, wanted in ((gradient, slopes), (product, products)):
        scale = max(float(w.abs().max()) for w in wanted)
        for g, w in zip(got.values(), wanted, strict=True):
            np.testing.assert_allclose(g.asnumpy(), w, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("training", [False, True])
def test_dropout_between_layers(training: bool) -> None:
    """In float32 on the CPU MXNet never drops, in float64 it does in predict mode too."""
    case = _rnn("gru", 2, 1, attrs={"p": 0.9}, training=training)
    check_first(case, "float32")
    with pytest.raises(HigherOrderError, match="RNN with p="):
        case.translated(case.arrays("float64"))


def _summed(case: Layer, **attrs: Any) -> Any:
    def f(xs: Any) -> Any:
        found = mx.nd.RNN(*xs, **{**case.attrs, **attrs})
        parts = found if isinstance(found, list) else [found]
        return sum((y * y * y).sum() * (k + 1) for k, y in enumerate(parts))

    return f


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("mode", _GATES)
def test_dropout_in_double_precision(mode: str, directions: int, states: bool) -> None:
    """In predict mode nothing drops; in training the value's mask is the derivatives'."""
    case = _rnn(mode, 2, directions, attrs={"p": 0.4, "state_outputs": states})
    f, without = _summed(case), _summed(case, p=0.0)
    xs = [constant(x).as_nd_ndarray() for x in case.arrays("float64")]
    along = [constant(np.cos(np.arange(x.size)).reshape(x.shape)).as_nd_ndarray() for x in xs]

    def at(h: float) -> list[Any]:
        return [x + h * v for x, v in zip(xs, along, strict=True)]

    def seeded(operator: Any, *args: Any) -> Any:
        mx.random.seed(3)
        return operator(f)(*args)

    value, gradients = ug.value_and_grad(f)(xs)
    wanted = ug.value_and_grad(without)(xs)
    np.testing.assert_allclose(value.asnumpy(), wanted[0].asnumpy(), rtol=1e-6)
    for g, w in zip(gradients, wanted[1], strict=True):
        np.testing.assert_allclose(g.asnumpy(), w.asnumpy(), rtol=1e-9, atol=1e-11)
    with mx.autograd.train_mode():
        value, gradients = seeded(ug.value_and_grad, xs)
        assert abs(value.asscalar() - wanted[0].asscalar()) > 1e-3
        assert ug.value_and_grad(f)(xs)[0].asscalar() != value.asscalar()
        products = seeded(lambda f: lambda xs: ug.hvp(f, xs, along), xs)
        if mode == "rnn_relu":  # whose value is of float32, and cannot be differenced
            return
        h = 1e-6
        up, down = (seeded(ug.value_and_grad, at(step)) for step in (h, -h))
    slope = (up[0].asscalar() - down[0].asscalar()) / (2 * h)
    inner = sum((g * v).sum().asscalar() for g, v in zip(gradients, along, strict=True))
    np.testing.assert_allclose(inner, slope, rtol=1e-6)
    for product, one, other in zip(products, up[1], down[1], strict=True):
        bent = (one.asnumpy() - other.asnumpy()) / (2 * h)
        np.testing.assert_allclose(product.asnumpy(), bent, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hybridized", [False, True])
def test_a_gluon_layer_with_dropout_in_double_precision(hybridized: bool) -> None:
    block = mx.gluon.rnn.GRU(4, 3, dropout=0.5, input_size=3, dtype="float64")
    block.initialize()
    block.hybridize(hybridized)
    apply, params = ug.functional(block)
    x = constant(np.random.default_rng(2).normal(size=(5, 2, 3))).as_nd_ndarray()
    v = {k: p * 0 + 1 for k, p in params.items()}
    with mx.autograd.train_mode():
        product = ug.hvp(lambda p: (apply(p, x) ** 2).sum(), params, v)
    largest = max(float(abs(p.asnumpy()).max()) for p in product.values())
    assert 0.0 < largest < 1e3


def test_what_has_no_translation_says_what_to_type() -> None:
    refused: list[tuple[Any, str]] = [
        ({"p": 0.5}, "mx.nd.Dropout between them"),
        ({"lstm_state_clip_min": -1.0, "lstm_state_clip_max": 1.0}, "LSTMCell, with mx.nd.clip"),
        ({"use_sequence_length": True}, "SequenceMask"),
    ]
    for attrs, message in refused:
        case = _rnn("lstm", 2, 1, attrs=attrs)
        with pytest.raises(HigherOrderError, match=message):
            case.translated(case.arrays("float64"))
