"""The TensorFlow adapter: eagerly, inside ``tf.function`` and in v1 graphs, to third order.

The oracles are closed forms, PyTorch in float64, and differences; never TensorFlow itself.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import HigherOrderError, UnsupportedError

tf = pytest.importorskip("tensorflow")
torch = pytest.importorskip("torch")

B = ug.get_backend("tensorflow")
X, V = np.array([1.0, 2.0]), np.array([1.0, -1.0])


def eagerly(run, *arrays):
    return [t.numpy() for t in run(*[tf.constant(a) for a in arrays])]


def in_function(run, *arrays):
    compiled = tf.function(lambda *xs: tuple(run(*xs)), autograph=False)
    return [t.numpy() for t in compiled(*[tf.constant(a) for a in arrays])]


def in_v1_graph(run, *arrays):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        fed = [tf.compat.v1.placeholder(a.dtype, [None] * a.ndim) for a in map(np.asarray, arrays)]
        feed = dict(zip(fed, arrays, strict=True))
        return [np.asarray(r) for r in session.run(list(run(*fed)), feed)]


everywhere = pytest.mark.parametrize("how", [eagerly, in_function, in_v1_graph])


def curved(x):
    return (x[0] ** 2 * x[1] + tf.sin(x[1]),)


def gradient_of(f):
    return lambda x: (B.value_and_grad(f, [x])[1][0],)


def close(got, wanted, rtol=1e-12):
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-12)


# ------------------------------------------------------------------ derivatives, everywhere


@everywhere
@pytest.mark.parametrize("method", ["reverse_over_reverse", "forward_over_reverse"])
def test_hessian_vector_product(how, method):
    def run(x, v):
        outputs, grads, products = B.hvp(curved, [x], [v], method)
        return outputs[0], grads[0], products[0]

    value, gradient, product = how(run, X, V)
    close(value, 2 + np.sin(2))
    close(gradient, [4, 1 + np.cos(2)])
    close(product, [2, 2.9092974268256817])


@everywhere
def test_tangent_is_the_derivative_along_the_direction(how):
    def run(x, v):
        outputs, tangents = B.jvp(lambda x: (tf.exp(x), tf.reduce_sum(x * x)), [x], [v])
        return *outputs, *tangents

    results = how(run, X, V)
    close(results[2], np.exp(X) * V)
    close(results[3], 2 * X @ V)


@everywhere
def test_tangent_follows_the_rule_of_a_tf_custom_gradient(how):
    # tf.autodiff.ForwardAccumulator answers 2 x v here.
    @tf.custom_gradient
    def odd(x):
        return x * x, lambda u: 100.0 * u * x

    def run(x, v):
        return B.jvp(lambda x: (odd(x),), [x], [v])[1]

    close(how(run, X, V)[0], 100 * X * V)


@everywhere
def test_perturbations_are_not_confused(how):
    def run(x):
        def product(x):
            inner = B.value_and_grad(lambda y: (tf.reduce_sum(x * y),), [x])[1][0]
            return (tf.reduce_sum(x * inner),)

        return B.value_and_grad(product, [x])[1]

    close(how(run, X)[0], 2 * X)


@everywhere
def test_pullback_is_reusable_and_takes_none_for_zero(how):
    def run(x):
        _, pullback = B.vjp(lambda x: (x * x, x**3), [x])
        first = pullback([tf.ones_like(x), None])[0]
        second = pullback([None, tf.ones_like(x)])[0]
        both = pullback([tf.ones_like(x), tf.ones_like(x)])[0]
        assert pullback([None, None]) == (None,)
        return first, second, both

    first, second, both = how(run, X)
    close(first, 2 * X)
    close(second, 3 * X**2)
    close(both, first + second)


@everywhere
def test_pullback_is_differentiable_in_cotangents_and_primals(how):
    def run(x, u):
        def pulled(x, u):
            _, pullback = B.vjp(lambda x: (tf.sin(x),), [x])
            return (tf.reduce_sum(pullback([u])[0] ** 2),)

        return B.value_and_grad(pulled, [x, u])[1]

    by_x, by_u = how(run, X, V)
    close(by_x, -2 * V**2 * np.cos(X) * np.sin(X))
    close(by_u, 2 * V * np.cos(X) ** 2)


@everywhere
def test_unconnected_constant_and_integer(how):
    def run(x, y):
        n = tf.constant([1, 2])
        outputs, grads = B.value_and_grad(lambda x, y, n: (tf.reduce_sum(x * x),), [x, y, n])
        assert grads[1] is None
        assert grads[2] is None
        found, pullback = B.vjp(lambda x: (tf.constant(3.0), tf.constant(7), x, x), [x])
        assert found[1].dtype == tf.int32
        assert pullback([tf.constant(1.0), None, None, None]) == (None,)
        twice = pullback([None, None, tf.ones_like(x), tf.ones_like(x)])
        return outputs[0], grads[0], twice[0]

    value, gradient, twice = how(run, X, V)
    close(value, 5)
    close(gradient, 2 * X)
    close(twice, [2, 2])


@everywhere
@pytest.mark.parametrize("axis", [0, 1])
def test_gather_gives_a_dense_gradient(how, axis):
    table, index = np.arange(6.0).reshape(3, 2), np.array([1, 1, 0])

    def run(x, i):
        def f(x):
            return (tf.reduce_sum(tf.gather(x, i, axis=axis) ** 3),)

        _, grads, products = B.hvp(f, [x], [tf.ones_like(x)], "reverse_over_reverse")
        assert isinstance(grads[0], tf.Tensor)
        return grads[0], products[0]

    gradient, product = how(run, table, index)
    count = np.bincount(index, minlength=table.shape[axis])
    count = count[:, None] if axis == 0 else count[None, :]
    close(gradient, 3 * table**2 * count)
    close(product, 6 * table * count)


@everywhere
def test_loops_and_branches(how):
    def run(x):
        def f(x):
            y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * x[0]), [0, x[1]])[1]
            return (tf.cond(y > 0, lambda: y * y, lambda: -y),)

        return B.value_and_grad(f, [x])[1]

    a, b = X
    close(how(run, X)[0], [6 * a**5 * b**2, 2 * a**6 * b])


@pytest.mark.parametrize("how", [eagerly, in_function])
def test_second_derivative_through_a_compiled_loop(how):
    @tf.function
    def power(x):
        y = tf.constant(1.0, tf.float64)
        for _ in tf.range(4):
            y = y * x
        return y

    def run(x):
        f = lambda x: (power(x),)  # noqa: E731
        one = tf.ones_like(x)
        return (
            B.hvp(f, [x], [one], "reverse_over_reverse")[2][0],
            B.hvp(f, [x], [one], "forward_over_reverse")[2][0],
            B.jvp(f, [x], [one])[1][0],
        )

    second, also, first = how(run, np.float64(1.5))
    close([second, also, first], [12 * 1.5**2, 12 * 1.5**2, 4 * 1.5**3])


# ------------------------------------------------------------------ rules of one's own


def with_rule(x):
    """x**3, its rule made from an intermediate."""

    def forward(x):
        squared = x * x
        return (squared * x, squared), (squared, x)

    def backward(residuals, cotangents):
        squared, x = residuals
        return (3 * squared * cotangents[0] + 2 * x * cotangents[1],)

    return B.custom_vjp(forward, backward, [x])[0]


@everywhere
def test_custom_rule_to_fourth_order(how):
    def run(x):
        found, f = [], lambda x: (with_rule(x),)
        for _ in range(4):
            found.append(f(x)[0])
            f = gradient_of(f)
        found.append(B.jvp(lambda x: (with_rule(x),), [x], [tf.ones_like(x)])[1][0])
        return found

    close(how(run, np.float64(2.0)), [8, 12, 12, 6, 12])


@everywhere
def test_custom_rule_is_used_and_may_say_none(how):
    def run(x, y):
        def f(x, y):
            rule = lambda residuals, u: (7.0 * u[0] * residuals[0], None)  # noqa: E731
            return B.custom_vjp(lambda x, y: ((x * y,), (x,)), rule, [x, y])

        grads = B.value_and_grad(lambda x, y: (tf.reduce_sum(f(x, y)[0]),), [x, y])[1]
        return grads[0], tf.zeros_like(x) if grads[1] is None else grads[1]

    first, second = how(run, X, V)
    close(first, 7 * X)
    close(second, 0 * X)


def test_custom_rule_of_a_function_that_reads_a_variable():
    w = tf.Variable(2.0, dtype=tf.float64)

    def f(x):
        return B.custom_vjp(lambda x: ((w * x,), ()), lambda _, u: (w * u[0],), [x])

    assert float(B.value_and_grad(f, [tf.constant(3.0, tf.float64)])[1][0]) == 2.0


# ------------------------------------------------------------------ beside TensorFlow's own


def test_an_outer_tape_differentiates_through():
    w = tf.Variable([1.0, 2.0], dtype=tf.float64)
    with tf.GradientTape() as tape:
        x = B.prepare(w)
        gradient = B.value_and_grad(lambda x: (tf.reduce_sum(x**3),), [x])[1][0]
        y = tf.reduce_sum(gradient)
    close(tape.gradient(y, w), [6, 12])


def test_tf_gradients_differentiates_through():
    def run(x):
        gradient = B.value_and_grad(lambda x: (tf.reduce_sum(x**3),), [x])[1][0]
        return tf.gradients(gradient, x)

    close(in_v1_graph(run, X)[0], 6 * X)


def test_results_are_plain_tensors_when_variables_are_given_or_closed_over():
    w = tf.Variable([1.0, 2.0])
    outputs, grads = B.value_and_grad(lambda x: (tf.reduce_sum(w * x * x),), [B.prepare(w)])
    assert isinstance(outputs[0], tf.Tensor)
    assert isinstance(grads[0], tf.Tensor)
    assert B.vjp(lambda x: (w,), [tf.constant(1.0)])[0][0] is not w
    assert tuple(w.numpy()) == (1.0, 2.0)


def test_called_once_and_exceptions_leave_nothing():
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("mine")
        return (x * x,)

    x = tf.constant(3.0)
    with pytest.raises(KeyError, match="mine"):
        B.value_and_grad(f, [x])
    assert float(B.value_and_grad(f, [x])[1][0]) == 6.0
    B.vjp(f, [x])
    B.jvp(f, [x], [x])
    B.hvp(f, [x], [x], "reverse_over_reverse")
    assert len(calls) == 5


def test_threads_do_not_see_each_other():
    found = {}

    def work(k):
        x = tf.constant(float(k), tf.float64)
        f = lambda x: (x**3,)  # noqa: E731
        found[k] = [float(B.hvp(f, [x], [x], "reverse_over_reverse")[2][0]) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in range(1, 5):
        close(found[k], [6.0 * k * k] * 20)


@everywhere
def test_an_op_without_a_second_derivative_is_named(how):
    image = np.ones((1, 2, 2, 3), np.float32)

    def run(x):
        f = lambda x: (tf.reduce_sum(tf.nn.local_response_normalization(x) ** 2),)  # noqa: E731
        return B.hvp(f, [x], [x], "reverse_over_reverse")[2]

    with pytest.raises(HigherOrderError, match="LRNGrad"):
        how(run, image)


@everywhere
def test_tf_moments_to_third_order(how):
    # TensorFlow stops the gradient of the mean there: right at first order only.
    x = np.random.default_rng(2).normal(size=(4, 3))

    def run(x):
        x = tf.ensure_shape(x, [4, 3])
        f = lambda x: (tf.reduce_sum(tf.nn.moments(x, [0])[1] ** 2),)  # noqa: E731
        curve = lambda x: B.hvp(f, [x], [x], "reverse_over_reverse")[2]  # noqa: E731
        third = B.value_and_grad(lambda x: (tf.reduce_sum(curve(x)[0] * x),), [x])[1][0]
        return B.value_and_grad(f, [x])[1][0], curve(x)[0], third

    t = torch.tensor(x, requires_grad=True)
    differentiate = lambda y: torch.autograd.grad(y, t, create_graph=True)[0]  # noqa: E731
    first = differentiate((t.var(0, correction=0) ** 2).sum())
    second = torch.autograd.grad(first, t, t, create_graph=True)[0]
    wanted = [first, second, differentiate((second * t).sum())]
    # The products above are differentiated with the direction x moving too, in both frameworks.
    for got, expected in zip(how(run, x), wanted, strict=True):
        close(got, expected.detach().numpy(), rtol=1e-10)


def test_a_trace_that_stops_the_mean_is_refused_at_second_order():
    variance = tf.function(lambda x: tf.nn.moments(x, [0])[1], autograph=False)
    x = tf.constant(X)
    variance(x)
    f = lambda x: (variance(x),)  # noqa: E731
    close(B.value_and_grad(f, [x])[1][0], [-0.5, 0.5])
    with pytest.raises(HigherOrderError, match="traced before"):
        B.hvp(f, [x], [x], "reverse_over_reverse")


@everywhere
def test_an_op_whose_second_derivative_tensorflow_drops_is_refused(how):
    def run(x):
        f = lambda x: (tf.reduce_sum(tf.image.resize(x, [3, 3]) ** 2),)  # noqa: E731
        gradient = B.value_and_grad(f, [x])[1][0]
        with pytest.raises(HigherOrderError, match="ResizeBilinearGrad"):
            B.hvp(f, [x], [x], "reverse_over_reverse")
        with pytest.raises(HigherOrderError, match="ResizeBilinearGrad"):
            B.jvp(f, [x], [x])
        return (gradient,)

    assert how(run, np.ones((1, 2, 2, 1), np.float32))[0].shape == (1, 2, 2, 1)


# ------------------------------------------------------------------ complex numbers (S14)


@everywhere
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda z: tf.reduce_sum(tf.abs(z) ** 2), lambda z: (z.abs() ** 2).sum()),
        (lambda z: tf.reduce_sum(tf.math.real(z**3)), lambda z: (z**3).real.sum()),
        (lambda z: tf.reduce_sum(tf.math.imag(tf.exp(z))), lambda z: torch.exp(z).imag.sum()),
        (
            lambda z: tf.math.real(tf.reduce_sum(z * tf.math.conj(z) * z)),
            lambda z: (z * z.conj() * z).sum().real,
        ),
    ],
)
def test_complex_gradients_are_those_of_torch(how, ours, theirs):
    points = np.array([1.0 + 2.0j, -0.5 + 0.3j])
    gradient, tangent = how(
        lambda z: (
            B.value_and_grad(lambda z: (ours(z),), [z])[1][0],
            B.jvp(lambda z: (ours(z),), [z], [z])[1][0],
        ),
        points,
    )
    z = torch.tensor(points, requires_grad=True)
    (wanted,) = torch.autograd.grad(theirs(z), z)
    close(gradient, wanted.numpy(), rtol=1e-10)
    close(tangent, np.sum(np.real(np.conj(wanted.numpy()) * points)), rtol=1e-10)


# ------------------------------------------------------------------ arrays


def test_array_glue():
    source = np.array([1.0, 2.0])
    x = B.asarray(source)
    source[0] = 9.0
    assert x.numpy()[0] == 1.0
    copy = B.to_numpy(x)
    copy[0] = 9.0
    assert x.numpy()[0] == 1.0
    assert B.dtype(x) == "float64"
    assert B.dtype(B.asarray(x, dtype="float32")) == "float32"
    assert B.dtype(B.asarray(1.5, dtype="float32", like=x)) == "float32"
    assert B.shape(x) == (2,)
    assert B.zeros_like(x).numpy().tolist() == [0, 0]
    assert float(B.inner([x, tf.constant([1j])], [x, tf.constant([2j])])) == 7.0
    assert all(map(B.is_concrete, [x, tf.Variable(1.0)]))


def test_symbolic_tensors_tell_what_they_lack():
    with tf.Graph().as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 3])
        unknown = tf.compat.v1.placeholder(tf.float32)
        assert not B.is_concrete(x)
        assert not B.is_scalar(x)
        with pytest.raises(UnsupportedError, match=r"session\.run"):
            B.to_numpy(x)
        with pytest.raises(UnsupportedError, match=r"\(None, 3\).*ensure_shape"):
            B.shape(x)
        with pytest.raises(UnsupportedError, match="unknown rank"):
            B.is_scalar(unknown)


def test_stop_gradient_is_constant_at_every_level():
    x = tf.constant(3.0)
    once = gradient_of(lambda x: (x * x * B.stop_gradient(x),))
    assert float(once(x)[0]) == 18.0
    assert float(gradient_of(once)(x)[0]) == 6.0


def test_jit_traces_once_for_each_signature_and_can_be_nested():
    traced = []

    def f(x):
        traced.append(1)
        return (tf.reduce_sum(x**3),)

    gradient = B.jit(lambda x: (B.value_and_grad(f, [x])[1][0],))
    for _ in range(3):
        close(gradient(tf.constant(X))[0], 3 * X**2)
    gradient(tf.constant([1.0, 2.0, 3.0]))
    assert len(traced) == 2
    total = lambda x: (tf.reduce_sum(gradient(x)[0]),)  # noqa: E731
    product = B.jit(lambda x, v: B.hvp(total, [x], [v], "reverse_over_reverse")[2])
    close(product(tf.constant(X), tf.constant(V))[0], 6 * V)
    close(in_function(lambda x: gradient(x), X)[0], 3 * X**2)
    close(in_v1_graph(lambda x: gradient(x), X)[0], 3 * X**2)


@everywhere
@pytest.mark.parametrize(("stride", "padding"), [((1, 1), (0, 0)), ((2, 1), (1, 2))])
def test_conv2d_is_that_of_torch_to_second_order(how, stride, padding):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(2, 3, 6, 5)), rng.normal(size=(4, 3, 3, 2))
    dx, dw = rng.normal(size=x.shape), rng.normal(size=w.shape)
    conv2d = B.ops["conv2d"]

    def run(x, w, dx, dw):
        x, dx = tf.ensure_shape(x, [2, 3, 6, 5]), tf.ensure_shape(dx, [2, 3, 6, 5])
        w, dw = tf.ensure_shape(w, [4, 3, 3, 2]), tf.ensure_shape(dw, [4, 3, 3, 2])
        f = lambda x, w: (tf.reduce_sum(tf.tanh(conv2d(x, w, stride, padding))),)  # noqa: E731
        outputs, grads, products = B.hvp(f, [x, w], [dx, dw], "reverse_over_reverse")
        return *outputs, *grads, *products

    found = how(run, x, w, dx, dw)
    xs = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    y = torch.tanh(torch.nn.functional.conv2d(*xs, stride=stride, padding=padding)).sum()
    grads = torch.autograd.grad(y, xs, create_graph=True)
    dot = sum((g * torch.tensor(d)).sum() for g, d in zip(grads, (dx, dw), strict=True))
    for got, wanted in zip(found, [y, *grads, *torch.autograd.grad(dot, xs)], strict=True):
        close(got, wanted.detach().numpy(), rtol=1e-9)
