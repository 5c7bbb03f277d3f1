"""S18: a native function keeps its framework's rule at a kink; unigrad.ops has one for all.

The whole table of kinks is tested in ``conformance_tests/unit/test_ops_kinks.py``.
"""

import numpy as np
import pytest

import unigrad as ug
from unigrad import ops

PINNED = {
    "abs": (lambda x: ops.abs(x), 0.0, 0.0),
    "relu": (lambda x: ops.relu(x), 0.0, 0.0),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.1), 0.0, 0.1),
    "clip low": (lambda x: ops.clip(x, 0.0, 1.0), 0.0, 1.0),
    "clip high": (lambda x: ops.clip(x, 0.0, 1.0), 1.0, 1.0),
    "maximum": (lambda x: ops.maximum(x, x * 0.0), 0.0, 1.0),
    "sqrt beside": (lambda x: ops.where(x > 0, ops.sqrt, 0.0, x), 0.0, 0.0),
}


@pytest.mark.parametrize("name", PINNED)
def test_s18_one_rule_on_every_backend(kit, name):
    """S18: the pinned derivative at the kink, the same everywhere."""
    f, point, slope = PINNED[name]
    kit.same(ug.grad(f)(kit.array(point)), slope)


def test_s18_norm_at_zero(kit):
    """S18: zeros, where four of five frameworks give nan."""
    kit.same(ug.grad(ops.norm)(kit.array([0.0, 0.0])), [0.0, 0.0])


def test_s18_max_takes_the_first(kit):
    """S18: the first of the largest; a split only when asked for."""
    x = kit.array([1.0, 1.0, 0.0])
    kit.same(ug.grad(ops.max)(x), [1.0, 0.0, 0.0])
    kit.same(ug.grad(lambda x: ops.max(x, ties="split"))(x), [0.5, 0.5, 0.0])


@pytest.mark.parametrize(
    ("name", "slope"), [("torch", 0.0), ("jax", 1.0), ("tensorflow", 0.0), ("mxnet", 0.0)]
)
def test_s18_native_functions_keep_their_own_rule(need, name, slope):
    """S18: abs'(0) as each framework has it; unigrad does not overrule it."""
    kit = need(name)
    gradient = ug.grad(lambda x: ug.array_namespace(x).sum(ug.array_namespace(x).abs(x)))
    np.testing.assert_array_equal(kit.numpy(gradient(kit.array([0.0]))), [slope])
