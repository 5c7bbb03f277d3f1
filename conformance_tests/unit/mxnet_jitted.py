"""What the tests of ``ug.jit`` on MXNet compare, and how."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import unigrad as ug
from unigrad_mxnet.framework import mx

__all__ = ["array", "assert_same", "network", "product", "replayed"]


def array(*shape: int, seed: int = 0, np_class: bool = False) -> Any:
    values = np.random.default_rng(seed).normal(size=shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = mx.nd.array(values, dtype="float64")
    return made.as_np_ndarray() if np_class else made


def replayed(jitted: Any) -> bool:
    """Whether the last signature runs as a program."""
    return list(jitted._compiled.values())[-1]._run.reason is None


def assert_same(jitted: Any, plain: Callable[..., Any], *args: Any, rtol: float = 1e-11) -> None:
    found, treedef = ug.trees.flatten(jitted(*args))
    wanted, expected = ug.trees.flatten(plain(*args))
    assert treedef == expected
    for y, z in zip(found, wanted, strict=True):
        assert type(y) is type(z)
        assert (y.dtype, y.shape) == (z.dtype, z.shape)
        np.testing.assert_allclose(y.asnumpy(), z.asnumpy(), rtol=rtol, atol=1e-12)


def product(x: Any) -> Any:
    return (mx.nd.tanh(x) * mx.nd.exp(x) * x).sum()


def network(*layers: Any, inputs: Any) -> Any:
    net = mx.gluon.nn.HybridSequential()
    net.add(*layers)
    net.initialize(mx.init.Xavier(rnd_type="gaussian"))
    net.cast("float64")
    net(inputs)
    return net
