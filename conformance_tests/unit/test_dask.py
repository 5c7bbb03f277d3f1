"""Derivatives of plain NumPy code on Dask arrays: lazy until they are asked for, and the same.

Nothing may run while a derivative is built: the scheduler then is one that refuses.
"""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad import engine
from unigrad.engine.core import primal

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")

pytestmark = pytest.mark.filterwarnings("ignore::dask.array.core.PerformanceWarning")

ROWS, COLUMNS = 200, 5
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, COLUMNS))
Y = np.where(X.sum(axis=1) + RNG.normal(size=ROWS) > 0, 1.0, -1.0)
W, V = RNG.normal(size=COLUMNS), RNG.normal(size=COLUMNS)


def loss(w: Any, X: Any, y: Any) -> Any:
    return np.mean(np.logaddexp(0.0, -y * (X @ w))) + 0.05 * np.sum(w**2)


def chunked(x: Any, parts: int = 2) -> Any:
    """A Dask array of these values, in several chunks along every axis."""
    x = np.asarray(x)
    return da.from_array(x, chunks=tuple(max(1, -(-n // parts)) for n in x.shape))


class ComputedEarlyError(Exception):
    """Something was computed while a derivative was built."""


def refuse_to_run(*_: Any, **__: Any) -> Any:
    raise ComputedEarlyError


def building() -> Any:
    return dask.config.set(scheduler=refuse_to_run)


def computed(results: Any) -> Any:
    return dask.compute(results, scheduler="synchronous")[0]


def close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


LAZY = chunked(X, 4), chunked(Y, 3)
WEIGHTS = {"plain": W, "lazy": chunked(W), "one_chunk": da.from_array(W)}


@pytest.mark.parametrize("w", WEIGHTS.values(), ids=WEIGHTS)
def test_logistic_regression(w: Any) -> None:
    v = V if isinstance(w, np.ndarray) else da.from_array(V)
    with building():
        value, gradient, product = ug.value_grad_and_hvp(loss, (w, *LAZY), v)
        forward = ug.hvp(loss, (w, *LAZY), v, method="forward_over_reverse")
        slope = ug.jvp(lambda w: loss(w, *LAZY), w, v)[1]
        by_data = ug.grad(loss, argnums=1)(w, *LAZY)
        curvature = ug.hessian(lambda w: loss(w, *LAZY))(w)
    lazy = (value, gradient, product, forward, slope, by_data, curvature)
    assert all(isinstance(r, da.Array) for r in lazy)
    assert by_data.chunks == LAZY[0].chunks
    s = 1 / (1 + np.exp(Y * (X @ W)))
    g = -X.T @ (Y * s) / ROWS + 0.1 * W
    H = (X.T * (s * (1 - s))) @ X / ROWS + 0.1 * np.eye(COLUMNS)
    expected = (loss(W, X, Y), g, H @ V, H @ V, g @ V, -np.outer(Y * s, W) / ROWS, H)
    for got, want in zip(computed(lazy), expected, strict=True):
        close(got, want)


def test_trees_and_dtypes() -> None:
    """S1, S3, S15: the structure and the dtype of the leaves; zeros are lazy too."""
    tree = {"a": LAZY[0].astype("float32"), "b": 2.0, "c": LAZY[1]}
    with building():
        got = ug.grad(lambda t: np.sum(np.sin(t["a"]) * t["b"]))(tree)
    assert all(isinstance(g, da.Array) for g in got.values())
    assert got["a"].dtype == np.float32
    assert got["c"].chunks == LAZY[1].chunks
    got = computed(got)
    close(got["a"], 2 * np.cos(X.astype("float32")), 1e-6)
    close(got["b"], np.sin(X).sum(), 1e-6)
    assert not got["c"].any()


def test_pullbacks_take_plain_and_lazy_cotangents() -> None:
    u = np.cos(np.arange(1.0, ROWS + 1))
    with building():
        _, pullback = ug.vjp(lambda w: LAZY[0] @ w, W)
        pulled = pullback(u)[0], pullback(chunked(u, 7))[0]
        jacobian = ug.jacobian(lambda w: LAZY[0][:6] @ w)(W)
    for got in computed(pulled):
        close(got, X.T @ u)
    close(computed(jacobian), X[:6])


def test_other_operators() -> None:
    with building():
        rows = ug.grad(lambda x: np.sum(x**2, axis=1), per_example=True)(LAZY[0])
        mean = ug.grad(lambda w: LAZY[0] @ w, reduce="mean")(W)
        _, aux = ug.grad(lambda w: (loss(w, *LAZY), {"z": LAZY[0] @ w}), has_aux=True)(W)
        again = ug.grad(ug.checkpoint(lambda w: loss(w, *LAZY)))(W)
    close(computed(rows), 2 * X)
    close(computed(mean), X.mean(axis=0))
    close(computed(aux["z"]), X @ W)
    close(computed(again), ug.grad(loss)(W, X, Y))


def test_arrays() -> None:
    with building():
        copy = ug.asarray(LAZY[0])
        xp = ug.array_namespace(LAZY[0])
        clipped = xp.clip(xp.asarray(LAZY[0]), 0.0, 1.0)
    assert isinstance(copy, da.Array)
    assert copy is not LAZY[0]
    close(computed(clipped), np.clip(X, 0, 1))
    close(ug.to_numpy(LAZY[0]), X)


def test_the_gradient_of_a_sum_keeps_the_chunks() -> None:
    with building():
        got = ug.grad(np.sum)(LAZY[0])
    assert got.chunks == LAZY[0].chunks
    close(computed(got), np.ones_like(X))


def test_results_and_arguments_are_apart() -> None:
    """S5: Dask's ``x[i] = v`` changes the object ``x``; results are other objects."""
    x, y = da.zeros(4, chunks=2), da.ones(4, chunks=2)
    value, pullback = ug.vjp(lambda x: x * x, y)
    y[:] = 5.0
    close(computed(pullback(np.ones(4))[0]), 2 * np.ones(4))
    got = ug.grad(lambda x: np.sum(x * y))(x)
    got[:] = 0.0
    close(computed(y), 5 * np.ones(4))
    close(computed(value), np.ones(4))


def test_what_the_function_reuses_is_kept() -> None:
    def objective(w: Any, X: Any, mask: Any) -> Any:
        total = 0.0
        for i in range(3):
            mask[:] = 0.0
            mask[i] = 1.0
            total = total + ((X @ w) @ mask) ** 2
        return total

    with building():
        got = ug.grad(lambda w: objective(w, LAZY[0], da.zeros(ROWS, chunks=50)))(W)
    close(computed(got), ug.grad(lambda w: objective(w, X, np.zeros(ROWS)))(W))


# ------------------------------------------------------------------------- reading and writing


def written(x: Any) -> Any:
    out = np.zeros_like(x)
    out[:, 0] = x[:, 1] ** 2
    out[2:] += x[:-2]
    out[1] = 3.0
    return out * x


INDEXED: dict[str, Any] = {
    "slices": lambda x: x[1:, ::2] * x[:-1, ::-2],
    "numbers": lambda x: x[3] * x[-1, 2] + x[:, 1].sum(),
    "newaxis": lambda x: x[:, np.newaxis, 1:] * x[..., None, :-1],
    "list": lambda x: x[[3, 0, 3, -1]] ** 2,
    "places": lambda x: x[1:, np.array([1, 1, 4])] ** 3,
    "mask": lambda x: x[np.arange(ROWS) % 3 == 0] ** 2,
    "take": lambda x: np.take(x, [2, 2, 0], axis=1) ** 2,
    "written": written,
    "add_at": lambda x: added(x) * x,
}


def added(x: Any) -> Any:
    out = np.zeros_like(x)
    np.add.at(out, [1, 1, 5], x[:3] ** 2)
    return out


@pytest.mark.parametrize("name", INDEXED)
def test_indexing(name: str) -> None:
    f = INDEXED[name]

    def objective(x: Any) -> Any:
        return np.sum(np.sin(f(x)))

    v = np.cos(X)
    with building():
        got = ug.grad(objective)(LAZY[0]), ug.hvp(objective, LAZY[0], chunked(v, 3))
    close(computed(got)[0], ug.grad(objective)(X))
    close(computed(got)[1], ug.hvp(objective, X, v))


def test_lazy_values_written_into_plain_weights() -> None:
    def objective(w: Any, X: Any) -> Any:
        out = np.zeros_like(w)
        out[0] = np.sum(np.tanh(X @ w))
        out[1:] += w[:-1]
        return np.sum(out**2 * w)

    with building():
        got = ug.grad(objective)(W, LAZY[0])
    close(computed(got), ug.grad(objective)(W, X))


REFUSED: dict[str, tuple[Any, str]] = {
    "lazy_mask": (lambda x: np.sum(x[x > 0]), "numpy.where"),
    "full_mask": (lambda x: np.sum(x[X > 0]), "numpy.where"),
    "two_arrays": (lambda x: np.sum(x[[0, 1], [1, 2]]), "one axis after the other"),
    "array_and_number": (lambda x: np.sum(x[0, [1, 2]]), "one axis after the other"),
    "function_of_dask": (lambda x: da.sum(x**2), r"numpy\.sum"),
    "method_of_dask": (lambda x: np.sum(LAZY[0].T.dot(x)), "X @ w"),
    "plain_number": (lambda x: float(np.sum(x)), "plain number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    f, advice = REFUSED[name]
    with building(), pytest.raises(ug.errors.TracingError, match=advice):
        ug.grad(f)(LAZY[0])


def test_refused_arguments() -> None:
    f = np.sum
    with building():
        with pytest.raises(ug.errors.ShapeError, match="compute_chunk_sizes"):
            ug.grad(f)(LAZY[0][LAZY[0][:, 0] > 0])
        with pytest.raises(ug.errors.NotDifferentiableError, match="MaskedArray"):
            ug.grad(f)(da.ma.masked_greater(LAZY[0], 0.0))
        with pytest.raises(ug.errors.NotDifferentiableError, match="int64"):
            ug.grad(f)(LAZY[0].astype("int64"))
        with pytest.raises(ug.errors.ScalarOutputError, match="reduce"):
            ug.grad(lambda w: LAZY[0] @ w)(W)


# ------------------------------------------------------------------------- every case


TABLES = {"rules": 1, "elementwise": 7, "reductions": 7, "shaping": 9, "products": 17}
"""Of each table, one case in so many."""

NOT_IN_DASK = """
    cholesky complex_cholesky complex_det complex_eigh complex_inv complex_qr complex_slogdet
    complex_solve complex_svd complex_svd_tall convolve det det_rank_one det_singular diag_make
    diag_tall diagonal_batch diagonals eigh eigh_values einsum_1 einsum_11 einsum_14 einsum_2
    index_boolean index_mixed index_repeated inv matrix_power median median_axis norm_-2 norm_2
    norm_nuc pad_reflect pinv prod_axis qr qr_tall qr_wide reshape slogdet solve solve_batch
    sort sort_axis svd svd_full svd_tall svd_wide take take_along take_along_broadcast written
"""
"""Cases of the first table that are an error: Dask has no such function, option, or chunking."""

BY_VALUE = frozenset(
    f"{table}: {name}"
    for table, name in (
        ("elementwise", "piecewise"),
        ("elementwise", "real_if_close"),
        ("reductions", "quantile_both"),
        ("reductions", "quantile_traced"),
    )
)
"""What looks at values, as plain Python conditions do: Dask computes them there and then."""


def _table(name: str) -> dict[str, tuple[Any, Any]]:
    path = Path(__file__).with_name(f"test_engine_{name}.py")
    spec = importlib.util.spec_from_file_location(f"dask_cases_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return dict(module.CASES)


CASES = {
    f"{table}: {name}": case
    for table, step in TABLES.items()
    for name, case in list(_table(table).items())[::step]
    if isinstance(case[1], np.ndarray)
}


def drawn(shape: tuple[int, ...], dtype: Any) -> Any:
    w = np.cos(np.arange(1.0, 1 + np.prod(shape, dtype=int))).reshape(shape)
    return (w + 1j * np.sin(w) if dtype.kind == "c" else w).astype(dtype)


def derivatives(f: Any, x: Any, v: Any) -> list[Any]:
    """Value, gradient along fixed cotangents, tangent, and second derivative."""

    def first(x: Any) -> Any:
        outputs, pullback = engine.vjp(lambda x: (f(x),), [x])
        y = outputs[0]
        u = drawn(y.shape, y.dtype)
        like = primal(y)
        if isinstance(like, da.Array):
            u = da.from_array(u, chunks=like.chunks)
        (g,) = pullback([u, *[None] * (len(outputs) - 1)])
        return y, np.zeros_like(x) if g is None else g

    _, (t,) = engine.jvp(lambda x: (f(x),), [x], [v])
    _, pullback = engine.vjp(lambda x: (first(x)[1],), [x])
    (h,) = pullback([v])
    y, g = first(x)
    return [y, g, np.zeros_like(y) if t is None else t, np.zeros_like(x) if h is None else h]


def told_by_dask(error: BaseException) -> bool:
    """Whether it is Dask that says what it does not do, or NumPy of a Dask array."""
    frames = traceback.extract_tb(error.__traceback__)
    named = any(word in str(error) for word in ("dask", "chunk", "__array_ufunc__"))
    return named or any("dask" in Path(frame.filename).parts for frame in frames)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    """Lazy and the same numbers, or an error of ours or of Dask's: never another number."""
    f, x = CASES[name]
    v = drawn(x.shape, x.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = derivatives(f, x, v)
        try:
            with building():
                got = derivatives(f, chunked(x), chunked(v))
            values = computed(got)
        except ComputedEarlyError:
            assert name in BY_VALUE
            return
        except Exception as error:
            table, _, case = name.partition(": ")
            known = table != "rules" or case in NOT_IN_DASK.split()
            if known and (isinstance(error, ug.errors.UnigradError) or told_by_dask(error)):
                return
            raise
    assert isinstance(got[1], da.Array)
    for a, b in zip(values, expected, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    assert b"TracedArray" not in pickle.dumps([g.__dask_graph__() for g in got])


# ------------------------------------------------------------------------- two worker processes


def test_two_worker_processes() -> None:
    """A scheduler of the distributed kind; what the processes hold stays well under the data."""
    pytest.importorskip("distributed")
    script = Path(__file__).parents[1] / "benchmarks" / "dask_cluster.py"
    done = subprocess.run(
        [sys.executable, str(script), "0.2", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
