"""Curvature of the networks of MXNet's model zoo, and what many products leave behind.

There is no port to compare with, but the Hessian must be symmetric. Widths are reduced where the
class allows it; with UNIGRAD_TEST_ZOO=1 the families are run at full width too.
"""

from __future__ import annotations

import gc
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

from mxnet.gluon.model_zoo import vision
from mxnet.gluon.model_zoo.vision import resnet

from unigrad_mxnet.framework import mx

# MXNet itself reads scipy.sparse.csr in mx.nd.array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")

_WIDTHS = [4, 4, 6, 8, 10]

ZOO: dict[str, tuple[Callable[[], Any], int]] = {
    "resnet v1": (
        lambda: vision.ResNetV1(resnet.BasicBlockV1, [1, 1, 1, 1], _WIDTHS, classes=5),
        32,
    ),
    "resnet v1, bottleneck": (
        lambda: vision.ResNetV1(resnet.BottleneckV1, [1, 1], [4, 8, 12], classes=5, thumbnail=True),
        8,
    ),
    "resnet v2": (
        lambda: vision.ResNetV2(resnet.BasicBlockV2, [1, 1, 1, 1], _WIDTHS, classes=5),
        32,
    ),
    "mobilenet v1": (lambda: vision.MobileNet(0.125, classes=5), 32),
    "mobilenet v2": (lambda: vision.MobileNetV2(0.125, classes=5), 32),
    "vgg, batch norm": (
        lambda: _narrow(vision.VGG([1, 1, 1, 1, 1], _WIDTHS, classes=5, batch_norm=True)),
        32,
    ),
}
FULL: dict[str, tuple[Callable[[], Any], int]] = {
    "alexnet": (lambda: vision.alexnet(classes=5), 64),
    "vgg11": (lambda: vision.vgg11(classes=5), 32),
    "squeezenet 1.0": (lambda: vision.squeezenet1_0(classes=5), 224),
    "squeezenet 1.1": (lambda: vision.squeezenet1_1(classes=5), 224),
    "densenet121": (lambda: vision.densenet121(classes=5), 224),
    "inception v3": (lambda: vision.inception_v3(classes=5), 299),
    "resnet18 v1": (lambda: vision.resnet18_v1(classes=5), 64),
    "resnet50 v2": (lambda: vision.resnet50_v2(classes=5), 64),
    "mobilenet 1.0": (lambda: vision.mobilenet1_0(classes=5), 64),
    "mobilenet v2 1.0": (lambda: vision.mobilenet_v2_1_0(classes=5), 64),
}
if os.environ.get("UNIGRAD_TEST_ZOO"):  # ten minutes
    ZOO |= FULL


def nd(values: Any) -> Any:
    return B.asarray(np.asarray(values, dtype="float64")).as_nd_ndarray()


def _narrow(net: Any) -> Any:
    """Dense layers of 12 units in place of 4096."""
    for block in net.features:
        if isinstance(block, mx.gluon.nn.Dense):
            block._units = 12
            block.weight._shape = (12, 0)
            block.bias._shape = (12,)
    return net


def _prepared(name: str) -> tuple[Any, Any, Any]:
    make, size = ZOO[name]
    mx.random.seed(1)
    net = make()
    net.initialize(mx.init.Xavier())
    net.cast("float64")
    net.hybridize()
    rng = np.random.default_rng(2)
    x = nd(rng.normal(size=(2, 3, size, size)))
    net(x)
    apply, params = ug.functional(net, mode=None)
    directions = [{k: nd(rng.normal(size=p.shape)) for k, p in params.items()} for _ in range(2)]
    labels, loss = nd([0, 3]), mx.gluon.loss.SoftmaxCELoss()

    def f(p: Any) -> Any:
        mx.random.seed(3)  # one mask
        return loss(apply(p, x), labels).mean()

    return f, params, directions


def _dot(a: Any, b: Any) -> float:
    return sum(float((B.to_numpy(a[k]) * B.to_numpy(b[k])).sum()) for k in a)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ZOO)
def test_the_hessian_is_symmetric(name: str, training: bool) -> None:
    f, params, (u, v) = _prepared(name)
    with mx.autograd.train_mode() if training else mx.autograd.predict_mode():
        hu, hv = ug.hvp(f, params, u), ug.hvp(f, params, v)
    one, other = _dot(v, hu), _dot(u, hv)
    scale = (_dot(hu, hu) * _dot(v, v)) ** 0.5
    assert scale > 0
    assert abs(one - other) <= 1e-9 * max(abs(one), 1e-3 * scale)


# -------------------------------------------------------------------- hygiene


def _small() -> tuple[Any, Any, Any]:
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(7, activation="tanh"), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Dense(2))
    net.initialize()
    net.cast("float64")
    net.hybridize()
    x = nd(np.random.default_rng(0).normal(size=(5, 6)))
    net(x)
    apply, params = ug.functional(net, mode=None)
    return (lambda p: (apply(p, x) ** 2).mean()), params, net


def test_many_products_leave_memory_flat() -> None:
    f, params, _ = _small()

    def resident() -> int:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    with mx.autograd.train_mode():
        for _ in range(30):
            ug.hvp(f, params, params)
        before = resident()
        for _ in range(300):
            ug.hvp(f, params, params)
    assert resident() - before < 1_000_000


def test_two_threads_have_the_right_products() -> None:
    """Of two nets, one in each mode."""
    f, params, _ = _small()
    g, others, _ = _small()
    jobs = [(f, params, mx.autograd.train_mode), (g, others, mx.autograd.predict_mode)]

    def product(k: int) -> Any:
        function, p, mode = jobs[k]
        with mode():
            return [B.to_numpy(h) for h in ug.hvp(function, p, p).values()]

    wanted = [product(0), product(1)]
    found: dict[int, list[Any]] = {0: [], 1: []}

    def work(k: int) -> None:
        found[k].extend(product(k) for _ in range(10))

    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in (0, 1):
        assert len(found[k]) == 10
        for hs in found[k]:
            for h, w in zip(hs, wanted[k], strict=True):
                np.testing.assert_allclose(h, w, rtol=1e-12, atol=1e-14)
