"""``xp`` on TensorFlow: value, gradient and Hessian product against PyTorch, and promotion.

Each row is a function written once on the array API; ``array_api_compat.torch`` is the oracle.
"""

from __future__ import annotations

import numpy as np
import pytest

import unigrad as ug

tf = pytest.importorskip("tensorflow")
torch = pytest.importorskip("torch")
oracle = pytest.importorskip("array_api_compat.torch")

B = ug.get_backend("tensorflow")
xp = B.xp
RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 4))
P = np.abs(RNG.normal(size=(3, 4))) + 0.5
Q = RNG.uniform(-0.9, 0.9, size=(3, 4))
S = RNG.normal(size=(3, 3))
SPD = S @ S.T + 3 * np.eye(3)
V = RNG.normal(size=4)
Z = np.array([[0.0, 2.0, 3.0, 1.0], [0.0, 0.0, 3.0, -1.0], [1.0, 2.0, -1.0, 2.0]])


def named(name):
    return lambda xp, *xs: getattr(xp, name)(*xs)


SMOOTH = (
    *("abs", "exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asinh", "atan"),
    *("square", "negative", "positive", "sign", "floor", "ceil", "round"),
)
POSITIVE = ("log", "log1p", "log2", "log10", "sqrt", "reciprocal")
BOUNDED = ("asin", "acos", "atanh")
ARITHMETIC = ("add", "subtract", "multiply", "divide")
BINARY = (*ARITHMETIC, "atan2", "maximum", "minimum", "logaddexp")

ROWS = {
    **{name: (named(name), A) for name in SMOOTH},
    **{name: (named(name), P) for name in POSITIVE},
    **{name: (named(name), Q) for name in BOUNDED},
    **{name: (named(name), A, P) for name in BINARY},
    "acosh": (lambda xp, x: xp.acosh(x + 1), P),
    "pow": (named("pow"), P, A),
    "pow 5": (lambda xp, x: xp.pow(x, 5), A),
    "pow 2 at 0": (lambda xp, x: xp.pow(x, 2), Z),
    "operators": (lambda xp, x: x**3 - 2 * x / (1 + x * x), A),
    "indexing": (lambda xp, x: x[1:, None, ::2] * x[..., 0][:2, None, None], A),
    "where": (lambda xp, x: xp.where(x > 0, x * x * x, 0 * x), A),
    "clip": (lambda xp, x: xp.clip(x * x, 0.1, 1.0), A),
    "sum": (lambda xp, x: xp.sum(x**3, axis=1, keepdims=True), A),
    "sum of all": (lambda xp, x: xp.sum(x**3, axis=(0, 1)), A),
    "prod": (lambda xp, x: xp.prod(x, axis=1), A),
    "prod of all": (lambda xp, x: xp.prod(x), A),
    "prod, kept": (lambda xp, x: xp.prod(x, axis=0, keepdims=True), A),
    "prod with zeros": (lambda xp, x: xp.prod(x, axis=1), Z),
    "mean": (lambda xp, x: xp.mean(x * x, axis=0), A),
    "max": (lambda xp, x: xp.max(x * x, axis=0), A),
    "min": (lambda xp, x: xp.min(x * x, axis=1, keepdims=True), A),
    "var": (lambda xp, x: xp.var(x, axis=1, correction=1), A),
    "var of all": (lambda xp, x: xp.var(x), A),
    "std": (lambda xp, x: xp.std(x, axis=1, correction=1.0, keepdims=True), A),
    "cumulative_sum": (lambda xp, x: xp.cumulative_sum(x * x, axis=1), A),
    "reshape": (lambda xp, x: xp.reshape(x * x, (2, -1)), A),
    "permute_dims": (lambda xp, x: xp.permute_dims(x * x, (1, 0)), A),
    "matrix_transpose": (lambda xp, x: xp.matrix_transpose(x * x), A),
    "moveaxis": (lambda xp, x: xp.moveaxis(x * x, 0, 1), A),
    "concat": (lambda xp, x, y: xp.concat([x * y, y], axis=1), A, P),
    "stack": (lambda xp, x, y: xp.stack([x * y, y], axis=1), A, P),
    "expand_dims": (lambda xp, x: xp.expand_dims(x * x, axis=1), A),
    "squeeze": (lambda xp, x: xp.squeeze(xp.reshape(x * x, (3, 1, 4)), 1), A),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x * x, (2, 3, 4)), A),
    "flip": (lambda xp, x: xp.flip(x * x, axis=1), A),
    "flip of all": (lambda xp, x: xp.flip(x * x), A),
    "roll": (lambda xp, x: xp.roll(x * x, 1, axis=1), A),
    "roll of all": (lambda xp, x: xp.roll(x * x, 2), A),
    "tile": (lambda xp, x: xp.tile(x * x, (2, 1, 3)), A),
    "repeat": (lambda xp, x: xp.repeat(x * x, 2, axis=1), A),
    "sort": (lambda xp, x: xp.sort(x * x, axis=1), A),
    "sort, descending": (lambda xp, x: xp.sort(x**3, axis=0, descending=True), A),
    "tril": (lambda xp, x: xp.tril(x * x, k=1), A),
    "triu": (lambda xp, x: xp.triu(x * x, k=-1), A),
    "matmul": (lambda xp, x, y: xp.matmul(x, xp.matrix_transpose(y)), A, P),
    "matrix by vector": (named("matmul"), A, V),
    "vector by matrix": (lambda xp, v, y: xp.matmul(v, xp.matrix_transpose(y)), V, P),
    "vector by vector": (named("matmul"), V, V + 1),
    "tensordot": (lambda xp, x, y: xp.tensordot(x, y, axes=([1], [1])), A, P),
    "vecdot": (lambda xp, x, y: xp.vecdot(x, y, axis=0), A, P),
    "einsum": (lambda xp, x, y: xp.einsum("ij,kj->ik", x, y), A, P),
    "einsum of one": (lambda xp, x: xp.einsum("ii", x @ x), S),
    "einsum of three": (lambda xp, x, y: xp.einsum("ij,kj,il->kl", x, y, x), A, P),
    "solve": (lambda xp, x, y: xp.linalg.solve(x, y), SPD, A),
    "solve one": (lambda xp, x, y: xp.linalg.solve(x, y), SPD, V[:3]),
    "inv": (lambda xp, x: xp.linalg.inv(x), SPD),
    "det": (lambda xp, x: xp.linalg.det(x), SPD),
    "slogdet": (lambda xp, x: xp.linalg.slogdet(x)[1], SPD),
    "cholesky": (lambda xp, x: xp.linalg.cholesky(x), SPD),
    "eigenvalues": (lambda xp, x: xp.linalg.eigh(x)[0], SPD),
    "eigenvectors": (lambda xp, x: xp.linalg.eigh(x)[1] ** 2, SPD),
    "svd U": (lambda xp, x: xp.linalg.svd(x, full_matrices=False)[0] ** 2, A),
    "svd S": (lambda xp, x: xp.linalg.svd(x, full_matrices=False)[1], A),
    "svd Vh": (lambda xp, x: xp.linalg.svd(x, full_matrices=False)[2] ** 2, A),
    "qr Q": (lambda xp, x: xp.linalg.qr(x)[0] ** 2, SPD),
    "qr R": (lambda xp, x: xp.linalg.qr(x)[1] ** 2, A.T),
    "vector_norm": (lambda xp, x: xp.linalg.vector_norm(x, axis=1), A),
    "vector_norm 3": (lambda xp, x: xp.linalg.vector_norm(x, ord=3), A),
    "vector_norm inf": (lambda xp, x: xp.linalg.vector_norm(x, ord=np.inf, axis=0), A),
    "matrix_norm": (lambda xp, x: xp.linalg.matrix_norm(x), A),
    "matrix_norm nuc": (lambda xp, x: xp.linalg.matrix_norm(x, ord="nuc"), A),
    "matrix_norm 2": (lambda xp, x: xp.linalg.matrix_norm(x, ord=2), A),
    "matrix_norm 1": (lambda xp, x: xp.linalg.matrix_norm(x, ord=1), A),
    "trace": (lambda xp, x: xp.linalg.trace(x * x, offset=1), A),
    "diagonal": (lambda xp, x: xp.linalg.diagonal(x * x, offset=-1), A),
    "outer": (lambda xp, x, y: xp.linalg.outer(x * y, y), V, V + 2),
}


def weights(shape):
    return np.cos(1.3 * np.arange(int(np.prod(shape))) + 0.2).reshape(shape)


def by_tensorflow(f, points, directions, dtype):
    def loss(*xs):
        y = xp.sin(f(xp, *xs))
        return (xp.sum(y * xp.asarray(weights(y.shape), dtype=y.dtype)),)

    xs, vs = ([B.asarray(a, dtype=dtype) for a in arrays] for arrays in (points, directions))
    outputs, grads, products = B.hvp(loss, xs, vs, "reverse_over_reverse")
    assert outputs[0].dtype.name == dtype
    return outputs, grads, products


def by_torch(f, points, directions):
    xs = [torch.tensor(a, requires_grad=True) for a in points]
    y = torch.sin(f(oracle, *xs))
    loss = (y * torch.tensor(weights(y.shape))).sum()
    if not loss.requires_grad:
        return [loss], [None] * len(xs), [None] * len(xs)
    grads = torch.autograd.grad(loss, xs, create_graph=True, allow_unused=True)
    pairs = zip(grads, directions, strict=True)
    dot = sum((g * torch.tensor(v)).sum() for g, v in pairs if g is not None)
    products = torch.autograd.grad(dot, xs, allow_unused=True) if dot.requires_grad else grads
    if not dot.requires_grad:
        products = [None] * len(xs)
    return [loss], grads, products


def compare(found, wanted, points, rtol):
    for got, expected in zip(found, wanted, strict=True):
        for g, w, x in zip(got, expected, points, strict=False):
            g = np.zeros(np.shape(x)) if g is None else g.numpy()
            w = np.zeros(np.shape(x)) if w is None else w.detach().numpy()
            np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * (1 + np.max(np.abs(w))))


@pytest.mark.parametrize("name", ROWS)
def test_value_gradient_and_curvature(name):
    f, *points = ROWS[name]
    directions = [np.sin(np.arange(a.size) + 1.0).reshape(a.shape) for a in points]
    wanted = by_torch(f, points, directions)
    compare(by_tensorflow(f, points, directions, "float64"), wanted, points, 1e-10)
    # Second derivatives of decompositions lose most of float32.
    compare(by_tensorflow(f, points, directions, "float32"), wanted, points, 2e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_take_and_take_along_axis(axis):
    index = np.array([[1, 0, 2, 0], [0, 0, 1, 2], [2, -1, 0, 1]])

    def ours(xp, x):
        along = xp.take_along_axis(x * x, index, axis=axis)
        return along * xp.take(x, np.array([0, 2, -1, 1])[: x.shape[axis]], axis=axis)

    def theirs(xp, x):
        positive = torch.tensor(np.where(index < 0, index + x.shape[axis], index))
        along = torch.take_along_dim(x * x, positive, axis)
        order = np.array([0, 2, -1, 1])[: x.shape[axis]]
        return along * (x[order] if axis == 0 else x[:, order])

    directions = [P]
    found = by_tensorflow(ours, [A], directions, "float64")
    compare(found, by_torch(theirs, [A], directions), [A], 1e-12)


@pytest.mark.parametrize("name", ["prod", "pow"])
def test_third_derivatives_exist_at_zero(name):
    f = {"prod": lambda x: xp.prod(x), "pow": lambda x: xp.sum(xp.pow(x, 2)) * x[0]}[name]
    x = tf.constant([0.0, 0.0, 2.0], tf.float64)
    ones = tf.ones_like(x)
    curve = lambda x: B.hvp(lambda x: (f(x),), [x], [ones], "reverse_over_reverse")[2]  # noqa: E731
    third = B.value_and_grad(lambda x: (xp.sum(curve(x)[0]),), [x])[1][0]
    wanted = {"prod": [2.0, 2.0, 2.0], "pow": [10.0, 4.0, 4.0]}[name]
    np.testing.assert_allclose(third, wanted)


def test_python_numbers_take_the_dtype_of_the_array():
    for dtype in ("float32", "float64"):
        x = xp.asarray([1.0, 2.0], dtype=dtype)
        results = [
            xp.maximum(x, 1.5), xp.where(x > 1, x, 0.5), xp.where(x > 1, 0, x), xp.clip(x, 0, 1),
            xp.full_like(x, 2), xp.add(1, x), xp.pow(x, 2), xp.pow(2.0, x), xp.divide(x, 3),
            xp.logaddexp(0.0, x), xp.atan2(x, 1.0), xp.stack([x, [0.1, 0.2]]), xp.mean(x),
        ]  # fmt: skip
        assert {y.dtype.name for y in results} == {dtype}
    whole = xp.asarray([1, 2])
    assert whole.dtype == xp.int64
    assert xp.add(whole, 1.5).dtype == xp.float32
    assert xp.clip(whole, 1.5).numpy().tolist() == [1.5, 2.0]
    assert xp.mean(whole).numpy() == 1.5
    assert xp.result_type(xp.float32, xp.float64) == xp.float64
    assert xp.add(x, np.ones(2, np.float32)).dtype == xp.float64
    assert xp.equal(whole, 1).numpy().tolist() == [True, False]


def test_ties_nan_and_infinities():
    assert int(xp.argmax(xp.asarray([1.0, 3.0, 3.0]))) == 1
    assert xp.argsort(xp.asarray([2, 1, 2, 1])).numpy().tolist() == [1, 3, 0, 2]
    assert xp.argsort(xp.asarray([2, 1, 2, 1]), descending=True).numpy().tolist() == [0, 2, 1, 3]
    lost = xp.asarray([1.0, float("nan")])
    assert np.isnan(xp.max(lost))
    assert np.isnan(xp.maximum(lost, 0)[1])
    low = xp.asarray(-np.inf)
    assert float(xp.logaddexp(low, low)) == -np.inf
    assert float(xp.logaddexp(xp.asarray(np.inf), low)) == np.inf
    slopes = B.value_and_grad(lambda x, y: (xp.logaddexp(x, y),), [xp.asarray(1.0)] * 2)[1]
    assert [float(s) for s in slopes] == [0.5, 0.5]
    zeros = xp.zeros(2, dtype=xp.float64)
    norm = lambda x: (xp.linalg.vector_norm(x),)  # noqa: E731
    assert B.value_and_grad(norm, [zeros])[1][0].numpy().tolist() == [0, 0]
    assert xp.isfinite(xp.asarray([1, 2])).numpy().all()


def test_zero_size():
    empty = xp.zeros((0, 3), dtype=xp.float64)
    assert xp.sum(empty, axis=0).numpy().tolist() == [0, 0, 0]
    assert xp.prod(empty, axis=0).numpy().tolist() == [1, 1, 1]
    assert xp.sort(empty, axis=0).shape == (0, 3)
    gradient = B.value_and_grad(lambda x: (xp.sum(xp.exp(x)),), [empty])[1][0]
    assert gradient.shape == (0, 3)


def test_creation():
    assert xp.arange(3).dtype == xp.int64
    assert xp.arange(0, 1, 0.25).numpy().tolist() == [0, 0.25, 0.5, 0.75]
    assert xp.linspace(0, 1, 5, dtype=xp.float64).numpy().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert xp.eye(2, 3, k=1).numpy().tolist() == [[0, 1, 0], [0, 0, 1]]
    assert xp.full((2,), 7).dtype == xp.int64
    assert xp.asarray([[tf.constant(2.0, tf.float64), 1], [0, 3]]).dtype == xp.float64
    assert xp.isdtype(xp.float32, ("integral", "real floating"))
    assert not xp.isdtype(xp.float32, "integral")
    assert xp.finfo(xp.float32).eps == np.finfo(np.float32).eps
