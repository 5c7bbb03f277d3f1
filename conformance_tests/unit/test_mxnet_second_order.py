"""Second and higher derivatives on MXNet: what is noted, how it nests, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
import unigrad_mxnet
from unigrad.errors import (
    ArgumentError,
    BackendNotAvailableError,
    HigherOrderError,
    UnsupportedError,
)

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

from unigrad_mxnet.operators import OPERATORS

# MXNet itself reads scipy.sparse.csr in mx.nd.array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")

CLASSES = {"np": mx.np, "nd": mx.nd}
X = np.array([1.0, 2.0, 3.0])


def array(values: Any, kind: str = "nd", dtype: str = "float64") -> Any:
    x = B.asarray(np.asarray(values, dtype=dtype))
    return x if kind == "np" else x.as_nd_ndarray()


def numbers(x: Any) -> Any:
    return B.to_numpy(x)


# -------------------------------------------------------------------- the trap


@pytest.mark.parametrize("method", ["forward_over_reverse", "reverse_over_reverse"])
@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_trap(kind: str, dtype: str, method: Any) -> None:
    """MXNet's own second derivative of this function raises, or is 0."""
    m = CLASSES[kind]
    x, w, v = (array(a, kind, dtype) for a in ([[0.5, -1.0], [1.0, 2.0]], [0.3, 0.7], [1.0, 2.0]))
    product = ug.hvp(lambda w: m.sum(m.dot(x, w) ** 2), w, v, method=method)
    assert type(product) is type(w)
    assert B.dtype(product) == dtype
    assert numbers(product).tolist() == [8.5, 23.0]


# -------------------------------------------------------------------- nesting


def s(x: Any) -> Any:
    return x.sum()


def d(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return ug.grad(lambda x: s(f(x)))


cube = ug.custom_vjp(lambda x: x**3)
cube.defvjp(lambda x: (x**3, x), lambda x, u: (u * 3 * x**2,))


class Cube(mx.autograd.Function):
    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return x * x * x

    def backward(self, dy: Any) -> Any:
        (x,) = self.saved_tensors
        return 3 * x * x * dy


class Scaled(mx.autograd.Function):
    """A constant first: MXNet itself drops every gradient after it."""

    def forward(self, c: Any, x: Any) -> Any:
        self.square = x * x
        self.save_for_backward(c, x)
        return c * self.square

    def backward(self, dy: Any) -> Any:
        c, x = self.saved_tensors
        return dy * self.square, dy * 2 * c * x


def closure(x: Any) -> Any:
    z = x * x
    return ug.grad(lambda y: s(z[0] * y * y) + s(z[1:] * y[:2]))(x * 1.0)


NESTED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "order 2": (d(d(lambda x: x**4)), 12 * X**2),
    "order 3": (d(d(d(lambda x: x**4))), 24 * X),
    "order 4": (d(d(d(d(lambda x: x**5)))), 120 * X),
    "perturbation confusion": (d(lambda x: x * d(lambda y: x * y)(x)), 2 * X),
    "outer value": (d(lambda x: d(lambda y: x**2 * y**3)(x * 2)), 48 * X**3),
    "parts of an outer value": (d(closure), np.array([26.0, 6.0, 8.0])),
    "value of two levels up": (d(lambda x: d(lambda y: d(lambda z: z * z * x * y)(y))(x)), 8 * X),
    "grad of jvp": (d(lambda x: ug.jvp(lambda y: y**3, x, x)[1]), 9 * X**2),
    "grad of linearize": (d(lambda x: ug.linearize(lambda y: y**3, x)[1](x)), 9 * X**2),
    "grad of hvp": (d(lambda x: ug.hvp(lambda y: s(y**4), x, x)), 36 * X**2),
    "grad of hessian": (d(lambda x: ug.hessian(lambda y: s(y**4))(x)), 24 * X),
    "grad of vjp": (d(lambda x: ug.vjp(lambda y: y**3, x)[1](x * x)[0]), 12 * X**3),
    "hvp of grad": (lambda x: ug.hvp(lambda x: s(d(lambda y: y**4)(x)), x, x), 24 * X * X),
    "jvp of jvp": (
        lambda x: ug.jvp(lambda y: ug.jvp(lambda z: z**3, y, y)[1], x, x)[1],
        9 * X**3,
    ),
    "linearize": (lambda x: ug.linearize(lambda y: y**3, x)[1](x), 3 * X**3),
    "jacobian forward": (
        lambda x: ug.jacobian(lambda y: y**3, mode="forward")(x),
        np.diag(3 * X**2),
    ),
    "hessian": (ug.hessian(lambda x: s(x**3)), np.diag(6 * X)),
    "aux of an inner one": (
        d(lambda x: ug.grad(lambda y: (s(y**3), y * x), has_aux=True)(x)[1]),
        2 * X,
    ),
    "stop_gradient": (d(d(lambda y: y * y * ug.stop_gradient(y))), 2 * X * 0 + 2 * X),
    "custom rule": (d(d(cube)), 6 * X),
    "custom rule, order 3": (d(d(d(cube))), 6 + 0 * X),
    "custom rule, forward": (lambda x: ug.jvp(cube, x, x)[1], 3 * X**3),
    "custom rule, hvp": (lambda x: ug.hvp(lambda x: s(cube(x)), x, x), 6 * X**2),
    "checkpoint": (d(d(ug.checkpoint(lambda x: x**3))), 6 * X),
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", NESTED)
def test_nesting(name: str, kind: str) -> None:
    f, expected = NESTED[name]
    assert numbers(f(array(X, kind))) == pytest.approx(expected, rel=1e-12)


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "grad": (d(lambda x: Cube()(x)), 3 * X**2),
    "hvp": (d(d(lambda x: Cube()(x))), 6 * X),
    "order 3": (d(d(d(lambda x: Cube()(x)))), 6 + 0 * X),
    "a constant first": (d(lambda x: Scaled()(array(X), x)), 2 * X**2),
    "a constant first, hvp": (d(d(lambda x: Scaled()(array(X), x))), 2 * X),
    "of itself": (d(d(lambda x: Scaled()(x, x))), 6 * X),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autograd_function(name: str) -> None:
    f, expected = FUNCTIONS[name]
    assert numbers(f(array(X))) == pytest.approx(expected, rel=1e-12)


def test_a_pullback_made_before() -> None:
    x = array(X)
    for f in (lambda x: x**3, d(lambda x: x**4)):
        _, pull = ug.vjp(f, x)
        slope = numbers(pull(array([1.0, 1.0, 1.0]))[0])
        found = d(lambda c, pull=pull: pull(c * c)[0])(x)
        assert numbers(found) == pytest.approx(2 * X * slope, rel=1e-12)


def test_a_pause_makes_a_constant() -> None:
    def f(x: Any) -> Any:
        with mx.autograd.pause():
            slope = d(lambda y: y**3)(x)
        return x * slope

    assert numbers(d(f)(array(X))).tolist() == (3 * X**2).tolist()


# -------------------------------------------------------------------- constants


@pytest.mark.parametrize("kind", CLASSES)
def test_constants_are_copies(kind: str) -> None:
    c, x = array(X, kind), array(X, kind)
    _, pull = ug.vjp(d(lambda x: c * x**3), x)
    _, push = ug.linearize(lambda x: c * x**2, x)
    c[:] = 100.0
    x[:] = 100.0
    one = array([1.0, 1.0, 1.0], kind)
    assert numbers(pull(one)[0]).tolist() == (6 * X**2).tolist()
    assert numbers(push(one)).tolist() == (2 * X**2).tolist()


def test_a_constant_written_between_two_uses() -> None:
    """MXNet itself differentiates with the last values."""

    def f(x: Any) -> Any:
        c = mx.nd.ones((3,), dtype="float64")
        y = s(x * x * c)
        c[:] = X
        return y + s(x**3 * c)

    x = array(X)
    assert numbers(ug.grad(f)(x)).tolist() == (2 * X + 3 * X**3).tolist()
    assert numbers(ug.hvp(f, x, array([1.0, 1.0, 1.0]))).tolist() == (2 + 6 * X**2).tolist()


def test_a_constant_written_after_the_call_is_as_it_was() -> None:
    c = array(X)
    _, pull = ug.vjp(lambda x: c * x, array(X))
    c[:] = 100.0
    np.testing.assert_allclose(numbers(d(lambda u: pull(u * u)[0])(array(X))), 2 * X * X)


# -------------------------------------------------------------------- what is refused


def _to_numpy_inside(x: Any) -> Any:
    return s(ug.grad(lambda y: s(y * array(x.asnumpy())))(x))


class Opaque(mx.operator.CustomOp):
    def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.assign(out_data[0], req[0], in_data[0] * 2)


@mx.operator.register("unigrad_test_opaque")
class OpaqueProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Any:
        return Opaque()


class LooksAtValues(mx.autograd.Function):
    def forward(self, x: Any) -> Any:
        self.slope = array(2 * x.asnumpy())
        return x * x

    def backward(self, dy: Any) -> Any:
        return dy * self.slope


def _leaks(x: Any) -> Any:
    kept: list[Any] = []

    def inner(y: Any) -> Any:
        kept.append(y * y)
        return s(y)

    return s(ug.grad(inner)(x) * kept[0])


REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "custom op": (
        lambda x: s(mx.nd.Custom(x, op_type="unigrad_test_opaque") ** 2),
        HigherOrderError,
        r"'Custom' \(line \d+ of .*test_mxnet.*write the function with other operators",
    ),
    "an array of an inner derivative": (_leaks, HigherOrderError, "would be lost"),
    "outer values in NumPy": (_to_numpy_inside, UnsupportedError, "would be lost"),
    "dlpack": (
        lambda x: s(mx.nd.from_dlpack(x.to_dlpack_for_read()) ** 3),
        UnsupportedError,
        "would be lost",
    ),
    "a rule that computes in NumPy": (lambda x: s(LooksAtValues()(x)), HigherOrderError, "NumPy"),
    "a native backward pass": (
        lambda x: s(mx.autograd.grad(s(x**3), [x], create_graph=True)[0]),
        HigherOrderError,
        r"type: ug\.grad",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    f, error, message = REFUSED[name]
    x = array(X)
    with pytest.raises(error, match=message):
        ug.hvp(f, x, x)
    assert not mx.autograd.is_recording()
    assert numbers(ug.hvp(lambda x: s(x**3), x, x)).tolist() == (6 * X**2).tolist()


np_, npx = mx.np, mx.npx

DRAWN: dict[str, Callable[[Any], Any]] = {
    "np.normal": lambda x: np_.random.normal(x, 1.0),
    "np.exponential": lambda x: np_.random.exponential(x),
    "np.gumbel": lambda x: np_.random.gumbel(x, 1.0),
    "np.logistic": lambda x: np_.random.logistic(0.0, x),
    "np.weibull": lambda x: np_.random.weibull(x),
    "np.uniform": lambda x: np_.random.uniform(x, 4.0),
    "np.gamma": lambda x: np_.random.gamma(x, 1.0),
    "np.beta": lambda x: np_.random.beta(x, 1.0),
    "np.multinomial": lambda x: np_.random.multinomial(3, x / x.sum()),
    "np.choice": lambda x: np_.random.choice(3, (3,), p=x / x.sum()),
    "npx.uniform_n": lambda x: npx.random.uniform_n(x, 4.0),
    "nd.normal": lambda x: mx.nd.random.normal(nd_(x), nd_(x)).as_np_ndarray(),
    "nd.poisson": lambda x: mx.nd.random.poisson(nd_(x)).as_np_ndarray(),
    "nd.shuffle": lambda x: mx.nd.random.shuffle(nd_(x)).as_np_ndarray(),
}


def nd_(x: Any) -> Any:
    return x.as_nd_ndarray()


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_at_a_differentiated_parameter_is_refused(name: str) -> None:
    x = array(X, "np")

    def f(x: Any) -> Any:
        return s(DRAWN[name](x) * x)

    with pytest.raises(UnsupportedError, match=r"type: (location|x\[indices\])"):
        ug.grad(f)(x)
    with pytest.raises(HigherOrderError, match=r"type: (location|x\[indices\])"):
        ug.hvp(f, x, x)


def test_what_is_drawn_at_fixed_parameters_is_a_constant() -> None:
    x = array(X, "np")

    def f(x: Any) -> Any:
        noise = np_.random.normal(0.0, 1.0, size=(3,), dtype="float64")
        like = mx.nd.random.uniform_like(nd_(x)).as_np_ndarray()
        return s(x**3) + s(x * noise) + s(x * like)

    assert numbers(ug.hvp(f, x, x)) == pytest.approx(6 * X**2)


@pytest.mark.parametrize("axes", [1, ((0,), (1,))])
def test_tensordot(axes: Any) -> None:
    """It goes past the place that all other operators go through."""
    c = array([[1.0, 2.0], [3.0, 5.0]], "np")

    def f(x: Any) -> Any:
        return s(np_.tensordot(x, np_.tensordot(c, x, axes=axes), axes=axes) ** 2)

    x = array([[0.3, -1.0], [2.0, 0.7]], "np")
    product = numbers(ug.hvp(f, x, c))
    up, down = (numbers(ug.grad(f)(x + t * c)) for t in (1e-5, -1e-5))
    assert product == pytest.approx((up - down) / 2e-5, rel=1e-8)


def test_a_translation_of_the_users_own() -> None:
    """MXNet's own derivative of it is wrong; without a translation it is refused."""

    def f(x: Any) -> Any:
        return s(mx.nd.image.flip_left_right(x) * x * x)

    x = array([[[1.0], [2.0]]])
    before = dict(OPERATORS)
    del OPERATORS["_image_flip_left_right"]
    with pytest.raises(HigherOrderError, match=r"@unigrad_mxnet\.translation\('_image_flip"):
        ug.hvp(f, x, x)
    try:

        @unigrad_mxnet.translation("_image_flip_left_right")
        def flipped(inputs: list[Any], attributes: Any, training: bool) -> list[Any]:
            return [inputs[0][..., ::-1, :]]

        assert numbers(ug.grad(f)(x)).ravel().tolist() == [8.0, 5.0]
        assert numbers(ug.hvp(f, x, x)).ravel().tolist() == [16.0, 10.0]
    finally:
        OPERATORS.clear()
        OPERATORS.update(before)
    with pytest.raises(ArgumentError, match="no operator of that name"):
        unigrad_mxnet.translation("flip_it")


# -------------------------------------------------------------------- hygiene


def test_threads() -> None:
    found: dict[int, Any] = {}

    def work(k: int) -> None:
        x = array(X)
        for _ in range(20):
            found[k] = numbers(d(d(lambda x: x**k))(x))

    threads = [threading.Thread(target=work, args=(k,)) for k in (3, 4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found[3] == pytest.approx(6 * X)
    assert found[4] == pytest.approx(12 * X**2)


def test_the_function_is_called_once() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(mx.autograd.is_training())
        return s(x**3)

    x = array(X)
    for training in (False, True):
        with mx.autograd.train_mode() if training else mx.autograd.predict_mode():
            ug.hvp(f, x, x)
            ug.hessian(f)(x)
            ug.jvp(f, x, x)
            ug.linearize(f, x)
    assert calls == [False] * 4 + [True] * 4
