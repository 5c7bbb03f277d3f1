"""Hessian-vector products of Gluon networks and losses against ports to torch, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

from conformance_tests.unit.test_mxnet_layers_losses import GLUON
from unigrad_mxnet.framework import mx

torch = pytest.importorskip("torch")
nn, rnn = mx.gluon.nn, mx.gluon.rnn
F = torch.nn.functional

# MXNet itself reads scipy.sparse.csr in mx.nd.array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")

Array = Any


def nd(values: Any, dtype: str = "float64") -> Array:
    return B.asarray(np.asarray(values, dtype=dtype)).as_nd_ndarray()


def tensor(x: Any) -> Any:
    return torch.tensor(x if isinstance(x, np.ndarray) else x.asnumpy(), dtype=torch.float64)


def _sequence(*blocks: Any) -> Any:
    net = nn.HybridSequential()
    net.add(*blocks)
    return net


# -------------------------------------------------------------------- nets and their ports


def _linear(x: Any, p: Any) -> Any:
    return F.linear(x.flatten(1), next(p), next(p))


def _activation(name: str) -> Any:
    blocks = {"elu": nn.ELU(), "selu": nn.SELU(), "gelu": nn.GELU(), "swish": nn.Swish()}
    return blocks.get(name) or (nn.LeakyReLU(0.125) if name == "leaky" else nn.Activation(name))


_PORTED: dict[str, Any] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softrelu": F.softplus,
    "softsign": F.softsign,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "swish": F.silu,
    "leaky": lambda x: F.leaky_relu(x, 0.125),
}


def _mlp(act: str) -> tuple[Any, Any, Any]:
    def port(x: Any, p: Any, training: bool) -> Any:
        h = _PORTED[act](_linear(x, p))
        return _linear(_PORTED[act](_linear(h, p)), p)

    dense = [nn.Dense(7), _activation(act), nn.Dense(6), _activation(act), nn.Dense(3)]
    return _sequence(*dense), (4, 5), port


def _lenet(act: str, pool: int) -> tuple[Any, Any, Any]:
    def port(x: Any, p: Any, training: bool) -> Any:
        for _ in range(2):
            x = F.max_pool2d(_PORTED[act](F.conv2d(x, next(p), next(p))), pool, 2)
        return _linear(_PORTED[act](_linear(x, p)), p)

    net = _sequence(
        *[nn.Conv2D(3, 3, activation=act), nn.MaxPool2D(pool, 2)],
        *[nn.Conv2D(4, 3, activation=act), nn.MaxPool2D(pool, 2)],
        *[nn.Dense(6, activation=act), nn.Dense(3)],
    )
    return net, (4, 1, 15, 15), port


class _Residual(nn.HybridBlock):
    def __init__(self, channels: int) -> None:
        super().__init__()
        with self.name_scope():
            self.body = _sequence(
                *[nn.Conv2D(channels, 3, padding=1, use_bias=False), nn.BatchNorm()],
                *[nn.Activation("relu"), nn.Conv2D(channels, 3, padding=1, use_bias=False)],
                nn.BatchNorm(),
            )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.relu(self.body(x) + x)


def _resnet() -> tuple[Any, Any, Any]:
    def normal(x: Any, p: Any, training: bool) -> Any:
        gamma, beta = next(p), next(p)
        statistics = torch.zeros(4).double(), torch.full((4,), 0.7, dtype=torch.float64)
        return F.batch_norm(x, *statistics, gamma, beta, training, eps=1e-5)

    def port(x: Any, p: Any, training: bool) -> Any:
        x = F.conv2d(x, next(p), next(p), stride=2)
        for _ in range(2):
            y = F.relu(normal(F.conv2d(x, next(p), padding=1), p, training))
            x = F.relu(normal(F.conv2d(y, next(p), padding=1), p, training) + x)
        return _linear(x.mean((2, 3)), p)

    net = _sequence(
        nn.Conv2D(4, 3, strides=2), _Residual(4), _Residual(4), nn.GlobalAvgPool2D(), nn.Dense(3)
    )
    return net, (4, 2, 9, 9), port


def _recurrent(kind: str, layers: int) -> tuple[Any, Any, Any]:
    """Gates are in the order of torch: i f g o, and r z n."""

    def step(x: Any, h: Any, c: Any, w: Any) -> tuple[Any, Any]:
        a, b = F.linear(x, w[0], w[2]), F.linear(h, w[1], w[3])
        if kind == "lstm":
            i, f, g, o = (a + b).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c
        (r, z, n), (rh, zh, nh) = a.chunk(3, -1), b.chunk(3, -1)
        n = torch.tanh(n + torch.sigmoid(r + rh) * nh)
        z = torch.sigmoid(z + zh)
        return (1 - z) * n + z * h, c

    def port(x: Any, p: Any, training: bool) -> Any:
        for _ in range(layers):
            w = [next(p) for _ in range(4)]
            h = c = torch.zeros(x.shape[1], 4).double()
            ys = []
            for t in x:
                h, c = step(t, h, c, w)
                ys.append(h)
            x = torch.stack(ys)
        return F.linear(x[-1], next(p), next(p))

    layer = (rnn.LSTM if kind == "lstm" else rnn.GRU)(4, layers, input_size=3)
    last = nn.HybridLambda(lambda F, y: F.SequenceLast(y))
    return _sequence(layer, last, nn.Dense(3)), (5, 4, 3), port


_WORDS = np.array([[0, 2, 5, 2], [1, 1, 3, 0], [5, 4, 2, 2], [3, 3, 3, 1]])


def _embedding() -> tuple[Any, Any, Any]:
    def port(x: Any, p: Any, training: bool) -> Any:
        return _linear(torch.tanh(F.embedding(x.long(), next(p)).mean(1)), p)

    mean = nn.HybridLambda(lambda F, y: F.tanh(F.mean(y, axis=1)))
    return _sequence(nn.Embedding(6, 5), mean, nn.Dense(3)), _WORDS, port


NETS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    **{f"MLP, {act}": lambda act=act: _mlp(act) for act in _PORTED},
    "LeNet, tanh": lambda: _lenet("tanh", 2),
    "LeNet, relu, overlapping": lambda: _lenet("relu", 3),
    "ResNet": _resnet,
    "LSTM": lambda: _recurrent("lstm", 1),
    "LSTM, two layers": lambda: _recurrent("lstm", 2),
    "GRU": lambda: _recurrent("gru", 1),
    "GRU, two layers": lambda: _recurrent("gru", 2),
    "Embedding": _embedding,
}


def _prepared(name: str) -> tuple[Any, Array, Any]:
    net, x, port = NETS[name]()
    rng = np.random.default_rng(3)
    x = nd(rng.normal(size=x) if isinstance(x, tuple) else x)
    net.initialize()
    net.cast("float64")
    net(x)
    for p in net.collect_params().values():
        kind = p.name.rpartition("_")[2]
        values = rng.normal(size=p.shape) * 0.5
        fixed = {"mean": 0 * values, "var": 0 * values + 0.7, "gamma": 1 + values**2}
        p.set_data(nd(fixed.get(kind, values)))
    return net, x, port


def _torch_product(f: Any, primals: Any, tangents: Any) -> Any:
    found = torch.autograd.functional.hvp(
        f, tuple(tensor(p) for p in primals), tuple(tensor(v) for v in tangents)
    )
    return [y.numpy() for y in found[1]]


def _assert_close(got: Any, wanted: Any, tolerance: float) -> None:
    """Relative to the largest entry of all."""
    scale = max(float(np.abs(w).max()) for w in wanted)
    assert scale > 1e-3
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(B.to_numpy(g), w, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_a_net(name: str, hybridized: bool, training: bool) -> None:
    """Cross entropy; the user's parameters, gradients and running statistics stay as they are."""
    net, x, port = _prepared(name)
    net.hybridize(hybridized)
    apply, params = ug.functional(net, mode=None)
    rng = np.random.default_rng(4)
    along = {k: nd(rng.normal(size=p.shape)) for k, p in params.items()}
    labels = np.array([0, 2, 1, 1])
    loss = mx.gluon.loss.SoftmaxCELoss()

    def before() -> list[Any]:
        every = net.collect_params().values()
        grads = [p.grad().asnumpy() for p in every if p.grad_req != "null"]
        return [p.grad_req for p in every], [p.data().asnumpy() for p in every], grads

    for p in net.collect_params().values():
        if p.grad_req != "null":
            p.grad()[:] = 7.0
    reqs, data, grads = before()
    with mx.autograd.train_mode() if training else mx.autograd.predict_mode():
        got = ug.hvp(lambda p: loss(apply(p, x), nd(labels)).mean(), params, along)
    assert before()[0] == reqs
    for now, then in zip(before()[1:], (data, grads), strict=True):
        for a, b in zip(now, then, strict=True):
            assert (a == b).all()

    def ported(*p: Any) -> Any:
        return F.cross_entropy(port(tensor(x), iter(p), training), torch.tensor(labels))

    _assert_close(got.values(), _torch_product(ported, params.values(), along.values()), 1e-10)


# -------------------------------------------------------------------- losses


def _mean(y: Any) -> Any:
    return y.flatten(1).mean(1)


def _huber(x: Any, y: Any) -> Any:
    d = (x - y).abs()
    return _mean(torch.where(d > 0.8, d - 0.4, d * d / 1.6))


def _sdml(x: Any, y: Any) -> Any:
    n = x.shape[0]
    smooth = torch.full((n, n), 0.3 / (n - 1), dtype=torch.float64)
    target = smooth + torch.eye(n).double() * (0.7 - 0.3 / (n - 1))
    distances = ((x[:, None] - y[None]) ** 2).sum(2)
    return (target * (torch.log(target + 1e-12) - torch.log_softmax(-distances, 1))).sum(1)


def _cosine(x: Any, y: Any, sign: Any) -> Any:
    c = F.cosine_similarity(x, y, eps=1e-12)
    return torch.where(sign == 1, 1 - c, F.relu(c))[:, None]


def _binary(x: Any, y: Any, weight: Any = None, positive: Any = None) -> Any:
    found = F.binary_cross_entropy_with_logits(
        x, y, weight=weight, pos_weight=positive, reduction="none"
    )
    return _mean(found)


LOSSES: dict[str, Callable[..., Any]] = {
    "L2Loss": lambda x, y: _mean(0.35 * (x - y) ** 2),
    "L1Loss": lambda x, y: _mean((x - y).abs()),
    "SigmoidBCELoss": _binary,
    "SigmoidBCELoss, pos_weight": _binary,
    "SoftmaxCELoss": lambda x, y: F.cross_entropy(x, y.long(), reduction="none"),
    "SoftmaxCELoss, dense": lambda x, y: F.cross_entropy(x, y, reduction="none"),
    "SoftmaxCELoss, from_logits": lambda x, y: F.nll_loss(x, y.long(), reduction="none"),
    "KLDivLoss": lambda x, y: (y * (y.log() - torch.log_softmax(x, 1))).sum(1),
    "HuberLoss": _huber,
    "HingeLoss": lambda x, y: _mean(F.relu(1 - x * y)),
    "SquaredHingeLoss": lambda x, y: _mean(F.relu(1 - x * y) ** 2),
    "LogisticLoss": lambda x, y: _mean(F.softplus(-x * y)),
    "TripletLoss": lambda x, p, n: F.relu(((p - x) ** 2 - (n - x) ** 2).sum(1) + 3),
    "PoissonNLLLoss": lambda x, y: (x.exp() - y * x).mean(),
    "CosineEmbeddingLoss": _cosine,
    "SDMLLoss": _sdml,
}
_SINGLE = ("CosineEmbeddingLoss", "SDMLLoss")
"""In MXNet these make arrays of float32 themselves, and fail beside arrays of float64."""


@pytest.mark.parametrize("name", GLUON)
def test_a_loss(name: str) -> None:
    block, others = GLUON[name]
    block.hybridize(False)
    dtype, tolerance = ("float32", 1e-5) if name in _SINGLE else ("float64", 1e-10)
    rng = np.random.default_rng(6)
    x, v = rng.normal(size=(2, 4, 5))
    weights = np.linspace(0.5, 1.5, 4)

    def loss(x: Any) -> Any:
        y = block(x * x * 0.3 + x, *[nd(o, dtype) for o in others])
        return (y * nd(weights, dtype)).sum()

    def ported(x: Any) -> Any:
        y = LOSSES[name](x * x * 0.3 + x, *[tensor(np.asarray(o)) for o in others])
        return (y * tensor(weights)).sum()

    got = ug.hvp(loss, nd(x, dtype), nd(v, dtype))
    _assert_close([got], _torch_product(ported, [x], [v]), tolerance)


class _Double:
    """``mx.nd``, whose new arrays are of float64."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(mx.nd, name)
        if name not in ("zeros", "full", "eye"):
            return found
        return lambda *args: found(*args, dtype="float64")


@pytest.mark.parametrize("name", _SINGLE)
def test_a_loss_that_makes_arrays_of_single_precision(name: str) -> None:
    """In float64 MXNet itself fails; the loss's own lines, with arrays of float64, are exact.

    Of what it does compute, in float32, the curvature is right to 1e-5: `test_a_loss`.
    """
    block, others = GLUON[name]
    block.hybridize(False)
    rng = np.random.default_rng(6)
    x, v = rng.normal(size=(2, 4, 5))
    rest = [nd(o) for o in others]
    with pytest.raises(mx.MXNetError, match="expected float"):
        block(nd(x), *rest)

    def loss(x: Any) -> Any:
        y = block.hybrid_forward(_Double(), x * x * 0.3 + x, *rest)
        return (y * y * nd(np.linspace(0.5, 1.5, 4)).reshape((-1, *[1] * (y.ndim - 1)))).sum()

    def ported(x: Any) -> Any:
        y = LOSSES[name](x * x * 0.3 + x, *[tensor(np.asarray(o)) for o in others])
        weights = torch.linspace(0.5, 1.5, 4, dtype=torch.float64)
        return (y * y * weights.reshape(-1, *[1] * (y.ndim - 1))).sum()

    (wanted,) = torch.autograd.functional.vjp(ported, tensor(x))[1:]
    _assert_close([ug.grad(loss)(nd(x))], [wanted.numpy()], 1e-10)
    _assert_close([ug.hvp(loss, nd(x), nd(v))], _torch_product(ported, [x], [v]), 1e-10)
