"""The functions of `unigrad.ops` at the ends of the number line, under tracing, and misused."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad import ops
from unigrad.errors import ArgumentError, MixedBackendError, ShapeError, UnsupportedError

BACKENDS = sorted(name for name, info in ug.backends().items() if info.installed)
INF, NAN = float("inf"), float("nan")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[ug.Backend]:
    # NumPy warns of overflow, as it does for the same code without unigrad.
    with np.errstate(all="ignore"):
        yield ug.get_backend(request.param)


def call(backend: ug.Backend, f: Callable[..., Any], *xs: Any, dtype: str = "float64") -> Any:
    arrays = [backend.asarray(np.array(x, dtype=dtype)) for x in xs]
    with backend.scope(arrays) or contextlib.nullcontext():
        return backend.to_numpy(f(*arrays))


def slope(backend: ug.Backend, f: Callable[..., Any], x: Any, dtype: str = "float64") -> Any:
    at = backend.asarray(np.array(x, dtype=dtype))
    return backend.to_numpy(ug.grad(lambda v: backend.xp.sum(f(v)))(at))


# -------------------------------------------------------------------- ranges


@pytest.mark.parametrize("size", [1e200, 1.0, 1e-200])
def test_norm_neither_overflows_nor_underflows(backend: ug.Backend, size: float) -> None:
    """S18: value, gradient and Hessian of norm at any scale."""
    v = np.array([3.0, 4.0]) * size
    np.testing.assert_allclose(call(backend, ops.norm, v), 5.0 * size, rtol=1e-15)
    np.testing.assert_allclose(slope(backend, ops.norm, v), [0.6, 0.8], rtol=1e-15)
    if backend.capabilities.second_order:
        at, unit = backend.asarray(v), backend.asarray(np.array([1.0, 0.0]))
        product = backend.to_numpy(ug.hvp(ops.norm, at, unit))
        np.testing.assert_allclose(product * size, [0.128, -0.096], rtol=1e-14)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_atan2_neither_overflows_nor_underflows(backend: ug.Backend, size: float) -> None:
    gradient = slope(backend, lambda v: ops.atan2(v[0], v[1]), [3 * size, 4 * size])
    np.testing.assert_allclose(gradient * size, [0.16, -0.12], rtol=1e-14)


@pytest.mark.parametrize("signs", [(0.0, -0.0), (-0.0, -0.0), (0.0, 0.0), (-0.0, 0.0)])
def test_atan2_of_signed_zeros(backend: ug.Backend, signs: tuple[float, float]) -> None:
    assert call(backend, ops.atan2, *signs) == math.atan2(*signs)


def test_tails_keep_relative_accuracy(backend: ug.Backend) -> None:
    """Left tails are small numbers, not 0, and right tails do not overflow."""
    x = np.array([-700.0, -40.0, 40.0, 800.0])
    tail = np.exp(x[:2])
    np.testing.assert_allclose(call(backend, ops.sigmoid, x)[:2], tail, rtol=1e-14)
    np.testing.assert_allclose(call(backend, ops.softplus, x)[:2], tail, rtol=1e-14)
    np.testing.assert_array_equal(call(backend, ops.softplus, x)[2:], x[2:])
    np.testing.assert_allclose(slope(backend, ops.sigmoid, x), [*tail, tail[1], 0.0], rtol=1e-14)
    np.testing.assert_array_equal(slope(backend, ops.softplus, x)[2:], [1.0, 1.0])


def test_losses_of_confident_logits(backend: ug.Backend) -> None:
    """A logit of 50 on the right side loses exp(-50), not 0, and has that gradient."""
    f = lambda x: ops.binary_cross_entropy(x, np.array([1.0, 0.0]), reduction="none")  # noqa: E731
    x = [50.0, -50.0]
    np.testing.assert_allclose(call(backend, f, x), np.exp(-50.0), rtol=1e-14)
    np.testing.assert_allclose(slope(backend, f, x), [-np.exp(-50), np.exp(-50)], rtol=1e-14)


def test_gelu_against_scipy(backend: ug.Backend) -> None:
    """Φ is accurate relative to itself, left tail included."""
    special = pytest.importorskip("scipy.special")
    x = np.concatenate([np.linspace(-30, 12, 400), [-1e-300, 0.0, 1e300, INF]])
    np.testing.assert_allclose(call(backend, ops.gelu, x), x * special.ndtr(x), rtol=3e-13)
    density = np.exp(-(x[:400] ** 2) / 2) / np.sqrt(2 * np.pi)
    expected = special.ndtr(x[:400]) + x[:400] * density
    np.testing.assert_allclose(slope(backend, ops.gelu, x[:400]), expected, rtol=1e-12, atol=1e-15)


def test_power_of_small_bases(backend: ug.Backend) -> None:
    """The value underflows, the derivatives do not."""
    at = [1e-200, 2.0]
    np.testing.assert_allclose(
        slope(backend, lambda v: ops.power(v[0], v[1]), at), [2e-200, 0.0], rtol=1e-15
    )


def test_power_values(backend: ug.Backend) -> None:
    x = np.array([0.0, 0.0, 2.0, -2.0, -2.0, -2.0, INF, NAN, NAN, 1.5, 9.0])
    y = np.array([-1.0, 3.0, -3.0, -3.0, 0.5, 2.0, 2.0, 0.0, 1.0, 100.0, 0.5])
    np.testing.assert_allclose(call(backend, ops.power, x, y), np.power(x, y), rtol=1e-14)


def test_infinite_logits(backend: ug.Backend) -> None:
    np.testing.assert_array_equal(call(backend, ops.softmax, [0.0, -INF]), [1.0, 0.0])
    np.testing.assert_array_equal(call(backend, ops.log_softmax, [0.0, -INF]), [0.0, -INF])
    assert call(backend, ops.logsumexp, [-INF, -INF]) == -INF
    loss = lambda v: ops.cross_entropy(v, np.array([0.5, 0.5, 0.0]))  # noqa: E731
    np.testing.assert_allclose(call(backend, loss, [1.0, 1.0, -INF]), math.log(2), rtol=1e-15)
    np.testing.assert_allclose(slope(backend, loss, [1.0, 1.0, -INF]), [0, 0, 0], atol=1e-16)


NAN_KEEPERS: dict[str, Callable[[Any], Any]] = {
    "abs": ops.abs, "relu": ops.relu, "leaky_relu": ops.leaky_relu, "sigmoid": ops.sigmoid,
    "softplus": ops.softplus, "silu": ops.silu, "gelu": ops.gelu, "max": ops.max, "min": ops.min,
    "max split": lambda v: ops.max(v, ties="split"), "clip": lambda v: ops.clip(v, 0.0, 1.0),
    "maximum": lambda v: ops.maximum(v, 0.0), "minimum": lambda v: ops.minimum(0.0, v),
    "norm": ops.norm, "std": ops.std, "var": ops.var, "prod": ops.prod, "sqrt": ops.sqrt,
    "logsumexp": ops.logsumexp, "softmax": ops.softmax, "atan2": lambda v: ops.atan2(v, 1.0),
    "power": lambda v: ops.power(v, v),
}  # fmt: skip


@pytest.mark.parametrize("name", NAN_KEEPERS)
def test_nan_is_never_hidden(backend: ug.Backend, name: str) -> None:
    assert np.isnan(call(backend, NAN_KEEPERS[name], [1.0, NAN, 2.0])).any()


# -------------------------------------------------------------------- dtypes and constants


@pytest.mark.parametrize("constant", [0, 0.5, np.float64(0.5), np.array([0.5, 0.5])])
def test_constants_do_not_change_the_dtype(backend: ug.Backend, constant: Any) -> None:
    """S1, S10: a number or a NumPy array beside a float32 array."""
    if backend.name == "numpy" and not isinstance(constant, int | float):
        pytest.skip("two NumPy arrays follow NumPy's promotion")
    if backend.name == "numpy" and isinstance(constant, np.generic):
        pytest.skip("a NumPy scalar has a dtype of its own")
    for op in (ops.maximum, ops.minimum, ops.clip, ops.leaky_relu, ops.power, ops.atan2):
        result = call(backend, lambda x, op=op: op(x, constant), [1.0, 2.0], dtype="float32")
        assert result.dtype == np.float32, op


def test_integers_follow_the_framework(backend: ug.Backend) -> None:
    x = np.array([[3, -1], [3, 2]])
    for op, expected in ((ops.max, 3), (ops.min, -1), (ops.prod, -18)):
        assert call(backend, op, x, dtype="int64") == expected
    np.testing.assert_array_equal(call(backend, ops.relu, x, dtype="int64"), [[3, 0], [3, 2]])
    np.testing.assert_array_equal(
        call(backend, lambda x: ops.maximum(x, 0.5), x, dtype="int64"), [[3, 0.5], [3, 2]]
    )


def test_numbers_alone_are_computed_on_the_switched_backend(backend: ug.Backend) -> None:
    with ug.use(backend):
        assert float(backend.to_numpy(ops.relu(2.0))) == 2.0
        assert isinstance(ops.maximum(1.0, 2.0), backend.array_types)


def test_two_frameworks_are_refused() -> None:
    others = [name for name in BACKENDS if name != "numpy"]
    if len(others) < 2:
        pytest.skip("two frameworks are needed")
    a, b = (ug.get_backend(name).asarray(np.ones(2)) for name in others[:2])
    with pytest.raises(MixedBackendError):
        ops.maximum(a, b)
    with pytest.raises(MixedBackendError):
        ops.cross_entropy(a, b)


# -------------------------------------------------------------------- shapes


def test_no_axes_and_no_entries(backend: ug.Backend) -> None:
    for op in (ops.max, ops.min, ops.prod, ops.norm, ops.logsumexp):
        result = call(backend, op, 2.0)
        assert result.shape == ()
        np.testing.assert_allclose(result, 2.0, rtol=1e-15)
    assert call(backend, ops.std, 2.0) == 0.0
    np.testing.assert_array_equal(slope(backend, ops.norm, -2.0), -1.0)
    if backend.capabilities.zero_size:
        assert call(backend, ops.prod, np.ones((0,))) == 1.0
        assert call(backend, ops.norm, np.ones((0,))) == 0.0
        assert call(backend, ops.relu, np.ones((0, 2))).shape == (0, 2)
        with pytest.raises(ShapeError, match="more than"):
            call(backend, ops.var, np.ones((0,)))
        with pytest.raises(ShapeError, match="length 0"):
            call(backend, ops.max, np.ones((0,)))


def test_one_hot(backend: ug.Backend) -> None:
    labels = np.array([[2, 0], [1, 1]])
    for axis in (-1, 0, 1):
        result = call(
            backend, lambda x, axis=axis: ops.one_hot(x, 3, axis=axis, dtype="float64"), labels,
            dtype="int64",
        )  # fmt: skip
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, np.moveaxis(np.eye(3)[labels], -1, axis))
    assert call(backend, lambda x: ops.one_hot(x, 3), labels, dtype="int32").dtype == np.float32


MISUSES: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "axis": (lambda x: ops.max(x, axis=2), ShapeError, "between -2 and 1"),
    "axis twice": (lambda x: ops.prod(x, axis=(0, -2)), ShapeError, "twice"),
    "axis type": (lambda x: ops.norm(x, axis=0.5), ArgumentError, "axis=0"),
    "ties": (lambda x: ops.max(x, ties="last"), ArgumentError, "'first' or 'split'"),
    "reduction": (
        lambda x: ops.cross_entropy(x, np.array([0, 1]), reduction="avg"), ArgumentError, "sum",
    ),
    "approximate": (lambda x: ops.gelu(x, approximate="erf"), ArgumentError, "'tanh'"),
    "labels (N, 1)": (
        lambda x: ops.cross_entropy(x, np.array([[0], [1]])), ShapeError, r"squeeze",
    ),
    "labels of another length": (
        lambda x: ops.cross_entropy(x, np.array([0, 1, 0])), ShapeError, r"of the shape \(2,\)",
    ),
    "labels too large": (
        lambda x: ops.cross_entropy(x, np.array([0, 3])), ShapeError, r"0\.\.\.2",
    ),
    "negative labels": (
        lambda x: ops.cross_entropy(x, np.array([0, -1])), ShapeError, r"-1\.\.\.0",
    ),
    "probabilities of another shape": (
        lambda x: ops.cross_entropy(x, np.ones((2, 1))), ShapeError, "squeeze",
    ),
    "targets": (lambda x: ops.binary_cross_entropy(x, np.ones(3)), ShapeError, "reshape"),
    "one_hot of floats": (lambda x: ops.one_hot(x, 3), ArgumentError, "astype"),
    "one_hot range": (lambda x: ops.one_hot(np.array([3]), 3), ShapeError, r"0\.\.\.2"),
    "one_hot dtype": (
        lambda x: ops.one_hot(np.array([1]), 3, dtype="f8"), ArgumentError, "float64",
    ),
    "indices": (
        lambda x: ops.take_along_axis(x, np.array([0, 1])), ShapeError, "expand_dims",
    ),
    "indices range": (
        lambda x: ops.take_along_axis(x, np.array([[3], [0]])), ShapeError, "indices",
    ),
    "condition": (lambda x: ops.where(x, x, x), ArgumentError, "condition != 0"),
    "no operands": (lambda x: ops.where(x > 0, abs, 0.0), ArgumentError, "operands"),
    "pieces": (lambda x: ops.maxout(x, 2), ShapeError, "units"),
    "correction": (lambda x: ops.std(x, axis=0, correction=2), ShapeError, "correction=0"),
    "pool axes": (lambda x: ops.max_pool2d(x, 2), ShapeError, "expand_dims"),
    "conv axes": (lambda x: ops.conv2d(x, x), ShapeError, "moveaxis"),
    "conv kernel": (
        lambda x: ops.conv2d(x[None, None], np.ones((1, 1, 3, 3))), ShapeError, "padding=",
    ),
    "stride": (
        lambda x: ops.conv2d(x[None, None], np.ones((1, 1, 1, 1)), stride=0),
        ArgumentError, "stride",
    ),
    "pool padding": (
        lambda x: ops.max_pool2d(x[None, None], 2, padding=2), ShapeError, "half",
    ),
    "list": (lambda x: ops.relu([1.0]), ArgumentError, "asarray"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_says_what_to_type(backend: ug.Backend, name: str) -> None:
    f, error, message = MISUSES[name]
    with pytest.raises(error, match=message):
        call(backend, f, np.zeros((2, 3)))


def test_complex_arrays(backend: ug.Backend) -> None:
    """Functions of an order refuse complex arrays; norm takes them (S14)."""
    if not backend.capabilities.complex:
        pytest.skip(f"{backend.name} has no complex arrays")
    z = np.array([3.0 + 4.0j, 0.0])
    assert call(backend, ops.norm, z, dtype="complex128") == 5.0
    np.testing.assert_allclose(slope(backend, ops.norm, z, "complex128"), [0.6 + 0.8j, 0.0])
    for op in (ops.relu, ops.max, ops.softmax, ops.abs):
        with pytest.raises(UnsupportedError, match="norm"):
            call(backend, op, z, dtype="complex128")


# -------------------------------------------------------------------- inside native transforms


def traced(xp_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        xp = xp_of(x)
        y = ops.gelu(ops.maximum(x, 0.1)) + ops.softplus(ops.clip(x, -1, 1)) + ops.abs(x)
        y = y + ops.where(x > 0, xp.log, 0.0, x) + ops.power(x, 2) + ops.atan2(x, 1.0)
        total = ops.logsumexp(y) + ops.norm(x) + ops.std(x) + ops.prod(x) + ops.max(y)
        return total + ops.cross_entropy(y, np.array([0, 1, 0])) + xp.sum(ops.maxout(x, 3))

    return f


POINT = np.array([[0.5, -0.3, 0.8], [0.0, 1.0, 1.0], [-2.0, 0.0, 3.0]])


def expected_gradient() -> np.ndarray:
    backend = ug.get_backend("numpy")
    return np.asarray(ug.grad(traced(lambda x: backend.xp))(POINT))


def test_inside_jax_jit_and_vmap() -> None:
    """S13: compiled by JAX, differentiated by unigrad and by JAX."""
    jax = pytest.importorskip("jax")
    f = traced(ug.array_namespace)
    with ug.get_backend("jax").scope([POINT]):
        x = jax.numpy.asarray(POINT)
        for g in (jax.jit(ug.grad(f)), jax.jit(jax.grad(f)), ug.grad(jax.jit(f))):
            np.testing.assert_allclose(np.asarray(g(x)), expected_gradient(), rtol=1e-12)
        rows = jax.vmap(lambda r: ops.max(r) + ops.norm(r))(x)
        np.testing.assert_allclose(rows, POINT.max(1) + np.linalg.norm(POINT, axis=1))


def test_float64_of_jax_outside_of_an_operator() -> None:
    """S1: a float64 array of JAX stays float64 while x64 is off."""
    pytest.importorskip("jax")
    backend = ug.get_backend("jax")
    x = backend.asarray(np.array([1.0 + 1e-12, -1.0]))
    for op in (ops.relu, ops.gelu, ops.max, ops.norm, lambda x: ops.maximum(x, 0.1)):
        assert str(op(x).dtype) == "float64"


def test_inside_tf_function() -> None:
    """S13: traced by TensorFlow, also with an unknown batch size."""
    tf = pytest.importorskip("tensorflow")
    f = traced(ug.array_namespace)
    x = tf.constant(POINT)
    np.testing.assert_allclose(tf.function(ug.grad(f))(x), expected_gradient(), rtol=1e-12)
    signature = [tf.TensorSpec([None, 3], tf.float64)]

    @tf.function(input_signature=signature)
    def rowwise(x: Any) -> Any:
        return ops.relu(ops.max(x, axis=1)) + ops.logsumexp(x, axis=-1) + ops.norm(x, axis=1)

    expected = np.maximum(POINT.max(1), 0) + np.log(np.exp(POINT).sum(1))
    np.testing.assert_allclose(rowwise(x), expected + np.linalg.norm(POINT, axis=1))
    assert ops.relu(tf.Variable([1.0, -1.0])).numpy().tolist() == [1.0, 0.0]


def test_inside_torch_transforms() -> None:
    """S13: under functorch, and within the user's own graph."""
    torch = pytest.importorskip("torch")
    f = traced(ug.array_namespace)
    x = torch.tensor(POINT)
    np.testing.assert_allclose(torch.func.grad(f)(x), expected_gradient(), rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = torch.func.vmap(lambda r: ops.max(r) + ops.norm(r))(x)
    np.testing.assert_allclose(rows, POINT.max(1) + np.linalg.norm(POINT, axis=1))
    leaf = torch.tensor(POINT, requires_grad=True)
    f(leaf).backward()
    np.testing.assert_allclose(leaf.grad, expected_gradient(), rtol=1e-12)


def test_composed_and_native_convolution_agree(backend: ug.Backend) -> None:
    """The kernel of an adapter has the value and derivatives of the composed one."""
    if "conv2d" not in backend.ops:
        pytest.skip(f"{backend.name} has no conv2d of its own")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(2, 3, 2, 3))
    f = lambda x, w: np.sum(np.tanh(ops.conv2d(x, w, stride=(2, 1), padding=1)))  # noqa: E731
    expected = ug.grad(f, argnums=(0, 1))(x, w)
    g = lambda x, w: backend.xp.sum(  # noqa: E731
        backend.xp.tanh(ops.conv2d(x, w, stride=(2, 1), padding=1))
    )
    got = ug.grad(g, argnums=(0, 1))(backend.asarray(x), backend.asarray(w))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(backend.to_numpy(a), b, atol=1e-13)
