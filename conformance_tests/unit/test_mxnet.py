"""The MXNet adapter: first order exact, every flag left alone, nothing wrong in silence."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import (
    BackendNotAvailableError,
    HigherOrderError,
    UnsupportedError,
)

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

xp = B.xp
CLASSES = ("np", "nd")


def array(values: Any, kind: str = "np", dtype: str = "float64") -> Any:
    x = B.asarray(np.asarray(values, dtype=dtype))
    return x if kind == "np" else x.as_nd_ndarray()


def flags() -> tuple[Any, ...]:
    return (
        mx.util.is_np_shape(),
        mx.util.is_np_array(),
        mx.autograd.is_recording(),
        mx.autograd.is_training(),
        mx.nd.NDArray.asnumpy,
        mx.base._LIB.MXAutogradBackwardEx,
        mx.gluon.HybridBlock._call_cached_op,
        mx.gluon.Parameter.data,
    )


@pytest.fixture(autouse=True)
def _flags_unmoved() -> Any:
    before = flags()
    yield
    mx.nd.waitall()
    assert flags() == before


def gradient(f: Callable[..., Any], *xs: Any) -> Any:
    _, grads = B.value_and_grad(lambda *v: (f(*v),), xs)
    return grads[0] if len(xs) == 1 else grads


def numbers(x: Any) -> np.ndarray[Any, Any]:
    return B.to_numpy(x)


# -------------------------------------------------------------------- import


IMPORT = """
import logging, types, warnings
import numpy as np
before, filters = dict(np.__dict__), list(warnings.filters)
import unigrad as ug
B = ug.get_backend("mxnet")
with B.scope([1.0]):
    B.xp.sum(B.asarray(np.ones(3)))
after = {k: v for k, v in np.__dict__.items() if not isinstance(v, types.ModuleType)}
assert after == {k: v for k, v in before.items() if not isinstance(v, types.ModuleType)}
assert warnings.filters == filters and not logging.root.handlers
"""


def test_importing_changes_nothing_global() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORT], check=True)


def test_mxnet_itself_works_after_the_alias_is_gone() -> None:
    x = array([1.0, -2.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numbers(x[x > 0]).tolist() == [1.0, 3.0]


# -------------------------------------------------------------------- vjp


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradient_has_the_class_and_dtype_of_its_leaf(kind: str, dtype: str) -> None:
    x = array([1.0, 2.0, 3.0], kind, dtype)
    g = gradient(lambda x: (x**3).sum(), x)
    assert type(g) is type(x)
    assert B.dtype(g) == dtype
    assert numbers(g).tolist() == [3.0, 12.0, 27.0]
    assert x.grad is None


def test_the_users_gradient_buffers_stay() -> None:
    x = array([1.0, 2.0], "nd", "float32")
    x.attach_grad(grad_req="add")
    x.grad[:] = 7
    gradient(lambda x: (x * x).sum(), x)
    assert x.grad.asnumpy().tolist() == [7.0, 7.0]
    with mx.autograd.record():
        y = (x * x).sum()
    y.backward()
    assert x.grad.asnumpy().tolist() == [9.0, 11.0]


def test_pullback_again_with_none_and_after_mutation() -> None:
    x, w = array([1.0, 2.0]), array([3.0, 4.0])
    (y, z, n), pull = B.vjp(lambda x, w: (x * x, x * 2, (x > 1).astype("int32")), [x, w])
    x[:] = 100.0
    y[:] = 100.0
    one = array([1.0, 1.0])
    for _ in range(3):
        gx, gw = pull([one, None, None])
        assert numbers(gx).tolist() == [2.0, 4.0]
        assert gw is None
    assert numbers(pull([one, one, None])[0]).tolist() == [4.0, 6.0]
    assert pull([None, None, None]) == (None, None)
    assert numbers(n).tolist() == [0, 1]
    assert numbers(z).tolist() == [2.0, 4.0]


def test_constant_and_identity_outputs() -> None:
    x = array([1.0, 2.0])
    (y, c), pull = B.vjp(lambda x: (x, x.detach() * 2), [x])
    one = array([1.0, 1.0])
    (g,) = pull([one, one])
    assert numbers(g).tolist() == [1.0, 1.0]
    g[:] = 5.0
    y[:] = 6.0
    assert numbers(one).tolist() == [1.0, 1.0]
    assert numbers(x).tolist() == [1.0, 2.0]
    assert pull([None, one]) == (None,)
    assert numbers(c).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("kind", CLASSES)
def test_exceptions_leave_nothing_behind(kind: str) -> None:
    def f(x: Any) -> Any:
        x * 2
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        gradient(f, array([1.0], kind))
    assert numbers(gradient(lambda x: (x * x).sum(), array([3.0], kind))).tolist() == [6.0]


def test_zero_dimensional_and_empty_arrays() -> None:
    assert numbers(gradient(lambda x: x * x, array(3.0))) == 6.0
    g = gradient(lambda x: (x * x).sum(), array(np.zeros((0, 3))))
    assert B.shape(g) == (0, 3)
    assert B.is_scalar(array(1.0))
    assert not B.is_scalar(array([1.0]))
    assert B.is_scalar(array([1.0], "nd"))


def test_train_mode_is_the_users() -> None:
    modes = []

    def f(x: Any) -> Any:
        modes.append(mx.autograd.is_training())
        return x.sum()

    gradient(f, array([1.0]))
    with mx.autograd.train_mode():
        gradient(f, array([1.0]))
    assert modes == [False, True]


def test_through_the_operators() -> None:
    x = array([1.0, 2.0, 3.0])
    assert numbers(ug.grad(lambda x: xp.sum(xp.sin(x)))(x)) == pytest.approx(np.cos([1.0, 2, 3]))
    _, tangent = ug.jvp(lambda x: xp.exp(x), x, x)
    assert numbers(tangent) == pytest.approx(np.exp([1.0, 2, 3]) * [1.0, 2, 3])
    assert numbers(ug.hvp(lambda x: xp.sum(x**3), x, x)).tolist() == [6.0, 24.0, 54.0]


# -------------------------------------------------------------------- nesting


def test_nested_derivatives() -> None:
    x = array([2.0])
    nested = gradient(lambda x: gradient(lambda y: (y**3).sum(), x).sum(), x)
    assert numbers(nested).tolist() == [12.0]
    with pytest.raises(HigherOrderError, match=r"mx\.autograd\.pause"), mx.autograd.record():
        gradient(lambda x: x.sum(), x)

    def paused(x: Any) -> Any:
        with mx.autograd.pause():
            slope = gradient(lambda y: (y**3).sum(), x)
        return (x * slope).sum()

    assert numbers(gradient(paused, x)).tolist() == [12.0]


def test_native_backward_inside_is_refused() -> None:
    def f(x: Any) -> Any:
        y = (x * x * x).sum()
        return mx.autograd.grad(y, [x], create_graph=True)[0].sum()

    with pytest.raises(HigherOrderError):
        gradient(f, array([2.0], "nd"))


def test_pullback_while_recording_is_refused() -> None:
    _, pull = B.vjp(lambda x: (x.sum(),), [array([1.0])])
    with pytest.raises(HigherOrderError), mx.autograd.record():
        pull([array(1.0)])


def test_threads() -> None:
    gate = threading.Barrier(4)
    found: dict[int, list[float]] = {}

    def work(k: int) -> None:
        def f(x: Any) -> Any:
            gate.wait()
            y = (x**k).sum()
            gate.wait()
            return y

        found[k] = numbers(gradient(f, array([2.0]))).tolist()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {k: [k * 2.0 ** (k - 1)] for k in range(1, 5)}


# -------------------------------------------------------------------- wrong natively

WRONG: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "_npi_var": (lambda x: x.var(), [1.0, 2.0, 4.0]),
    "_npi_std": (lambda x: mx.np.std(x), [1.0, 2.0, 4.0]),
    "_npi_percentile": (lambda x: mx.np.percentile(x, 40.0), [1.0, 2.0, 4.0]),
    "_np_atleast_2d": (lambda x: mx.np.atleast_2d(x).sum(), [1.0, 2.0]),
    "_npi_eigh": (lambda x: mx.np.linalg.eigh(x)[0][0], [[1.0, 0.0], [0.0, 3.0]]),
    "_npi_pinv_scalar_rcond": (lambda x: mx.np.linalg.pinv(x).sum(), np.eye(2)),
    "_npi_where_rscalar": (lambda x: mx.np.where(x > 1.5, x, 0.0).sum(), [1.0, 2.0]),
    "_npi_where_lscalar": (lambda x: mx.np.where(x > 1.5, 0.0, x).sum(), [1.0, 2.0]),
    "_npi_rot90": (lambda x: mx.np.rot90(x)[0, 0], [[1.0, 2.0]]),
    "_npi_rarctan2_scalar": (lambda x: mx.np.arctan2(0.7, x).sum(), [1.0, 2.0]),
    "_npi_norm": (lambda x: mx.np.linalg.norm(x, ord=2), [[1.0, 2.0], [3.0, 5.0]]),
    "_npi_einsum": (lambda x: mx.np.einsum("ii->", x), np.eye(2)),
    "_npi_matmul": (
        lambda x: mx.np.matmul(x, array(np.ones((6, 3, 4)))).sum(),
        np.ones((5, 1, 2, 3)),
    ),
    "_linalg_det": (lambda x: mx.np.linalg.det(x), [[1.0, 2.0], [2.0, 4.0]]),
}


@pytest.mark.parametrize("operator", WRONG)
def test_an_operator_with_a_wrong_gradient_has_the_right_one_here(operator: str) -> None:
    f, values = WRONG[operator]
    x, h = np.asarray(values), 1e-5
    expected = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        up, down = (float(numbers(f(array(x + t))).sum()) for t in (step, -step))
        expected[i] = (up - down) / (2 * h)
    assert numbers(gradient(f, array(values))) == pytest.approx(expected, rel=1e-7, abs=1e-7)


SINGLE: dict[str, tuple[Callable[[Any], Any], float]] = {
    "LeakyReLU": (lambda x: mx.npx.leaky_relu(x, act_type="gelu").sum(), 1.08331547058768630),
    "erf": (lambda x: mx.npx.erf(x).sum(), 0.41510749742059470),
    "gammaln": (lambda x: mx.npx.gammaln(x).sum(), -0.57721566490153286),
}


@pytest.mark.parametrize("operator", SINGLE)
def test_an_operator_of_single_precision_has_a_double_gradient_here(operator: str) -> None:
    f, expected = SINGLE[operator]
    assert numbers(gradient(f, array([1.0]))) == pytest.approx([expected], rel=1e-12)


def test_an_operator_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"'_npi_uniform'.*type: "):
        gradient(lambda x: mx.np.random.uniform(x, 3.0).sum(), array([1.0, 2.0]))


def test_a_wrong_operator_on_a_constant_is_fine() -> None:
    c = array([1.0, 2.0])
    assert numbers(gradient(lambda x: (x * c.var()).sum(), c)).tolist() == [0.25, 0.25]


def test_single_precision_kernels_are_fine_in_float32() -> None:
    g = gradient(lambda x: mx.npx.erf(x).sum(), array([0.5], dtype="float32"))
    assert numbers(g) == pytest.approx([2 / np.sqrt(np.pi) * np.exp(-0.25)], rel=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [False, True])
def test_max_pooling_in_predict_mode(dtype: str, training: bool) -> None:
    """MXNet's float32 gradient is uninitialized memory there."""
    x = array(np.random.default_rng(0).permutation(16).reshape(1, 1, 4, 4), "nd", dtype)
    scope = mx.autograd.train_mode() if training else mx.autograd.predict_mode()
    with scope:
        g = gradient(
            lambda x: mx.nd.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max").sum(), x
        )
    blocks = x.asnumpy().reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    found = numbers(g).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    assert np.array_equal(found, blocks == blocks.max(1, keepdims=True))


def test_leaving_the_graph_is_refused_but_looking_is_not() -> None:
    x = array([1.0, 2.0])
    for f in (
        lambda x: (x * float(x.sum())).sum(),
        lambda x: (x * x.sum().item()).sum(),
        lambda x: (x * array(x.asnumpy())).sum(),
    ):
        with pytest.raises(UnsupportedError, match="would be lost"):
            gradient(f, x)

    with pytest.raises(TypeError):  # NumPy hides the message above as the cause
        gradient(lambda x: mx.np.array([x[0] * 2, x[1]]).sum(), x)

    def looks(x: Any) -> Any:
        assert repr(x)
        assert f"{x.sum()}"
        if x.sum() > 0:
            mask = (x > 1).asnumpy()
        return (x * x.detach().asnumpy()[1] + float(mask[0])).sum()

    assert numbers(gradient(looks, x)).tolist() == [2.0, 2.0]


class _Scaled(mx.autograd.Function):
    def forward(self, c: Any, x: Any) -> Any:
        return c * x

    def backward(self, dy: Any) -> Any:
        return dy * 0, dy * 3


def test_native_functions_drop_no_gradients_here() -> None:
    """MXNet itself drops the gradient of an argument that comes after a constant one."""
    c = array([3.0], "nd")
    grad = gradient(lambda x: _Scaled()(c, x).sum(), array([2.0], "nd"))
    assert numbers(grad).tolist() == [3.0]
    grads = gradient(lambda c, x: _Scaled()(c, x).sum(), c, array([2.0], "nd"))
    assert numbers(grads[1]).tolist() == [3.0]


# -------------------------------------------------------------------- custom rules


def _blocked(x: Any) -> Any:
    y = mx.nd.BlockGrad(x.as_nd_ndarray())
    return y.as_np_ndarray() if isinstance(x, mx.np.ndarray) else y


@pytest.mark.parametrize("kind", CLASSES)
def test_custom_vjp(kind: str) -> None:
    def rule(c: Any, x: Any) -> Any:
        def forward(c: Any, x: Any) -> Any:
            return (c * x, x * 2), (c, x)

        def backward(residuals: Any, cotangents: Any) -> Any:
            return [None, cotangents[0] * residuals[0] * 10 + cotangents[1]]

        return B.custom_vjp(forward, backward, [c, x])

    c = array([1.0, 2.0], kind)

    def f(x: Any) -> Any:
        total = 0.0
        for _ in range(10):
            y, z = rule(c, x)
            total = total + y.sum() + z.sum()
        return total

    x = array([3.0, 4.0], kind)
    assert numbers(gradient(f, x)).tolist() == [110.0, 210.0]
    blocked = gradient(lambda x: rule(B.stop_gradient(x), x)[0].sum(), x)
    assert numbers(blocked).tolist() == [30.0, 40.0]
    native = gradient(lambda x: rule(_blocked(x), x)[0].sum(), x)
    assert numbers(native).tolist() == [30.0, 40.0]


def test_an_error_in_a_custom_rule_reaches_the_caller() -> None:
    def backward(residuals: Any, cotangents: Any) -> Any:
        raise KeyError("in the rule")

    x = array([1.0])
    with pytest.raises(KeyError, match="in the rule"):
        gradient(lambda x: B.custom_vjp(lambda x: ((x * 2,), ()), backward, [x])[0].sum(), x)


def test_stop_gradient() -> None:
    x = array([2.0])
    g = gradient(lambda x: (x * B.stop_gradient(x)).sum(), x)
    assert numbers(g).tolist() == [2.0]


# -------------------------------------------------------------------- xp


@pytest.mark.parametrize("kind", CLASSES)
def test_namespace_where_mxnet_is_wrong(kind: str) -> None:
    x = array([[1.0, -2.0], [0.5, 3.0]], kind)
    expected = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert np.array_equal(numbers(gradient(lambda x: xp.sum(xp.where(x > 0, x, 0.0)), x)), expected)
    v = numbers(x)
    assert numbers(gradient(lambda x: xp.var(x), x)) == pytest.approx((v - v.mean()) / 2)
    assert np.array_equal(numbers(gradient(lambda x: xp.einsum("ii->", x), x)), np.eye(2))
    assert numbers(gradient(lambda x: xp.linalg.det(x), x)) == pytest.approx(
        np.array([[3.0, -0.5], [2.0, 1.0]])
    )
    zero = array([0.0, 2.0, 3.0], kind)
    assert numbers(gradient(lambda x: xp.prod(x), zero)).tolist() == [6.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conv2d(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = array(rng.standard_normal((2, 3, 5, 6)), dtype=dtype)
    w = array(rng.standard_normal((4, 3, 3, 2)), dtype=dtype)
    gx, gw = gradient(lambda x, w: B.ops["conv2d"](x, w, (2, 1), (1, 0)).sum(), x, w)
    padded = np.pad(numbers(x).astype("float64"), ((0, 0), (0, 0), (1, 1), (0, 0)))
    expected = np.array(
        [
            [[padded[:, c, i : i + 5 : 2, j : j + 5].sum() for j in range(2)] for i in range(3)]
            for c in range(3)
        ]
    )
    assert numbers(gw) == pytest.approx(np.broadcast_to(expected, (4, 3, 3, 2)), rel=1e-4, abs=1e-4)
    assert B.shape(gx) == (2, 3, 5, 6)
    assert B.dtype(gx) == dtype


def test_what_mxnet_has_no_dtype_for() -> None:
    with pytest.raises(UnsupportedError, match="complex128"):
        B.asarray(np.array([1j]))
