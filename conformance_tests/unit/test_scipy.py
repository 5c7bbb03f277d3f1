"""unigrad.scipy: SciPy's values, and derivatives to second order against differences."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.engine import jvp, vjp
from unigrad.engine.replaying import replayed
from unigrad.errors import TracingError, UnsupportedError

if importlib.util.find_spec("scipy") is None:
    pytest.skip("SciPy is not installed", allow_module_level=True)

import scipy
import scipy.integrate
import scipy.linalg
import scipy.signal
import scipy.stats

import unigrad.scipy as us

X = np.array([0.3, 0.8, 2.4, 1.7])
A = np.array([[1.2, 0.5, 0.3], [0.4, 1.5, -0.2], [0.1, 0.35, 2.0]])
S = A @ A.T
B = np.array([[0.5, -1.2], [1.7, 0.3], [0.2, 0.9]])
C = A + 1j * np.array([[0.2, -0.3, 0.1], [0.5, 0.4, -0.2], [-0.6, 0.3, 0.7]])
R = np.array([[0.5, -1.2, 0.8], [1.7, 0.3, -0.4]])
K = np.array([[0.3, -0.7], [1.1, 0.2]])
P = np.array([0.07, 0.35, 0.64, 0.92])
SQUARE = {"rtol": 1e-8, "atol": 1e-8}

Case = tuple[Callable[[Any, Any], Any], Any]
"""``f(module, x)``: the same program on unigrad.scipy, traced, and on scipy, plain."""


def herm(a: Any) -> Any:
    return a @ np.conj(np.swapaxes(a, -1, -2))


SPECIAL: dict[str, Case] = {
    "logsumexp": (lambda m, x: m.special.logsumexp(x) * m.special.logsumexp(x, axis=0), R),
    "logsumexp axis": (lambda m, x: m.special.logsumexp(x, axis=(0, 1), keepdims=True), R),
    "logsumexp b": (lambda m, x: m.special.logsumexp(x, axis=1, b=R.T.T**2), R),
    "logsumexp in b": (lambda m, b: m.special.logsumexp(R, axis=1, b=b), R**2),
    "logsumexp sign": (lambda m, x: m.special.logsumexp(x, b=R, return_sign=True)[0], R),
    "logsumexp complex": (lambda m, x: m.special.logsumexp(x, axis=0), C),
    "softmax": (lambda m, x: m.special.softmax(x, axis=1) * m.special.softmax(x), R),
    "log_softmax": (lambda m, x: m.special.log_softmax(x, axis=0) * m.special.log_softmax(x), R),
    "polygamma": (lambda m, x: m.special.polygamma(0, x) + m.special.polygamma(3, x), X),
    "multigammaln": (lambda m, x: m.special.multigammaln(x + 1.5, 3), X),
    "passed through": (lambda m, x: m.special.gammaln(x) * m.special.erf(x), X),
    **{
        f"spherical_{k}": (
            lambda m, x, k=k: (
                np.stack([getattr(m.special, f"spherical_{k}")(n, x) for n in range(4)])
                + getattr(m.special, f"spherical_{k}")(2, x, derivative=True)
            ),
            X,
        )
        for k in ("jn", "yn", "in", "kn")
    },
}
LINALG: dict[str, Case] = {
    "solve": (lambda m, a: m.linalg.solve(a, B) @ m.linalg.solve(a, a[0])[:2], A),
    "solve b": (lambda m, b: m.linalg.solve(A, b) * m.linalg.solve(A, b[:, 0])[:, None], B),
    "solve transposed": (lambda m, a: m.linalg.solve(a, B, transposed=True), A),
    "solve pos": (lambda m, a: m.linalg.solve(herm(a), B, assume_a="pos"), A),
    "solve sym lower": (lambda m, a: m.linalg.solve(a + a.T, B, lower=True, assume_a="sym"), A),
    "solve her": (lambda m, a: m.linalg.solve(herm(a), B, assume_a="her"), C),
    "solve complex": (lambda m, a: m.linalg.solve(a, B), C),
    **{
        f"solve_triangular {t} {low} {unit}": (
            lambda m, a, t=t, low=low, unit=unit: m.linalg.solve_triangular(
                a, a[:, :2], trans=t, lower=low, unit_diagonal=unit
            ),
            C if t == "C" else A,
        )
        for t in (0, 1, "C")
        for low in (True, False)
        for unit in (True, False)
    },
    "solve_triangular vector": (lambda m, a: m.linalg.solve_triangular(a, a[0]), A),
    "cholesky": (lambda m, a: m.linalg.cholesky(herm(a)), A),
    "cholesky lower": (lambda m, a: m.linalg.cholesky(herm(a), lower=True), C),
    "cho_solve": (lambda m, a: m.linalg.cho_solve(m.linalg.cho_factor(herm(a)), B), A),
    "cho_solve lower": (
        lambda m, a: m.linalg.cho_solve(m.linalg.cho_factor(herm(a), lower=True), a[0]),
        C,
    ),
    "lu_factor": (lambda m, a: m.linalg.lu_factor(a[::-1])[0], A),
    "lu_factor complex": (lambda m, a: m.linalg.lu_factor(a[::-1])[0], C),
    **{
        f"lu_solve {t}": (
            lambda m, a, t=t: m.linalg.lu_solve(
                m.linalg.lu_factor(a[[2, 0, 1]]), a[:, :2], trans=t
            ),
            C,
        )
        for t in (0, 1, 2)
    },
    "expm": (lambda m, a: m.linalg.expm(a), A),
    "expm stack": (lambda m, a: m.linalg.expm(np.stack([a, a @ a / 4])), A),
    "expm complex": (lambda m, a: m.linalg.expm(a / 2), C),
    "logm": (lambda m, a: m.linalg.logm(a), A),
    "sqrtm": (lambda m, a: m.linalg.sqrtm(a), A),
    "inv": (lambda m, a: m.linalg.inv(a), C),
    "det": (lambda m, a: m.linalg.det(a), A),
    "solve_sylvester": (lambda m, a: m.linalg.solve_sylvester(a, a[:2, :2] + K, a[:, :2]), C),
    "lyapunov": (lambda m, a: m.linalg.solve_continuous_lyapunov(a, a @ a), C),
    "discrete lyapunov": (lambda m, a: m.linalg.solve_discrete_lyapunov(a / 4, a @ a), C),
    "block_diag": (lambda m, a: herm(m.linalg.block_diag(a, a[0], 2.0, a[:, :1])), A),
    "toeplitz": (lambda m, x: m.linalg.toeplitz(x) @ m.linalg.toeplitz(x, x[:3] ** 2), X),
    "toeplitz complex": (lambda m, a: m.linalg.toeplitz(a[0]), C),
    "circulant": (lambda m, x: m.linalg.circulant(x) @ x, X),
}
SIGNAL: dict[str, Case] = {
    **{
        f"convolve {mode} {method}": (
            lambda m, x, mode=mode, method=method: (
                m.signal.convolve(x, x[:2, :2] + 1, mode, method)
                + m.signal.convolve(K, x[:2, :2], "same")[0, 0]
            ),
            np.outer(X, X),
        )
        for mode in ("full", "same", "valid")
        for method in ("auto", "direct", "fft")
    },
    "convolve short first": (lambda m, x: m.signal.convolve(x[:2], x, "same"), X),
    "convolve valid swapped": (lambda m, x: m.signal.convolve(x[:2], x, "valid"), X),
    "convolve complex": (lambda m, a: m.signal.convolve(a, a[:2]), C),
    **{
        f"correlate {mode}": (
            lambda m, a, mode=mode: m.signal.correlate(a, a[:2, :2] * 1j, mode),
            C,
        )
        for mode in ("full", "same", "valid")
    },
    "correlate swapped": (lambda m, x: m.signal.correlate(x[:2], x**2, "valid"), X),
    "fftconvolve axes": (lambda m, a: m.signal.fftconvolve(a, a[:1], "same", axes=1), C),
    "lfilter": (lambda m, x: m.signal.lfilter(x[:3], x[1:] + 1.0, np.outer(x, x)), X),
    "lfilter axis": (lambda m, a: m.signal.lfilter([0.5, 0.2j], a[0, :2], a, axis=0), C),
    "lfilter long": (lambda m, x: m.signal.lfilter(x, [1.0], x[:2]), X),
}


def decay(t: Any, y: Any, k: Any) -> Any:
    return [-k[0] * y[0] + t * y[1], k[1] * y[0] * y[1] - np.sin(t) * y[1]]


INTEGRATE: dict[str, Case] = {
    "trapezoid": (lambda m, x: m.integrate.trapezoid(np.outer(x, x), x**2, axis=0), X),
    "trapezoid dx": (lambda m, x: m.integrate.trapezoid(x**2, dx=x[0]), X),
    "cumulative": (lambda m, x: m.integrate.cumulative_trapezoid(x**2, x, initial=0), X),
    "cumulative axis": (lambda m, a: m.integrate.cumulative_trapezoid(a, dx=0.3, axis=0), A),
    **{
        f"simpson {n}": (
            lambda m, x, n=n: m.integrate.simpson(x[:n] ** 3, x=x[:n]),
            np.r_[X, X + 3],
        )
        for n in (2, 3, 4, 5, 6, 7)
    },
    **{
        f"simpson dx {n}": (lambda m, x, n=n: m.integrate.simpson(np.outer(x, x)[:n], axis=0), X)
        for n in (2, 3, 4)
    },
    **{
        f"solve_ivp adaptive {method}": (
            lambda m, x, method=method: m.integrate.solve_ivp(
                decay, (0, 1.5), x[:2], method=method, args=(x[2:],), max_step=0.2, **SQUARE
            ).y[:, -1],
            X,
        )
        for method in ("RK45", "DOP853")
    },
    **{
        f"solve_ivp adaptive {method} t_eval": (
            lambda m, x, method=method, tol=tol: (
                m.integrate.solve_ivp(
                    decay,
                    (1.0, 0.0),
                    x[:2],
                    method,
                    [1.0, 0.81, 0.8, 0.33, 0.0],
                    args=(x[2:],),
                    rtol=tol,
                ).y
            ),
            X,
        )
        for method, tol in {"RK23": 1e-4, "RK45": 1e-8, "DOP853": 1e-8}.items()
    },
}


FIXED = {"first_step": 0.2, "max_step": 0.2, "rtol": 1e3, "atol": 1e3}
"""Steps that do not adapt: differences see the derivative that holds them fixed."""

INTEGRATE |= {
    f"solve_ivp fixed {method} {times}": (
        lambda m, x, method=method, times=times: (
            m.integrate.solve_ivp(decay, (0.0, 1.0), x[:2], method, times, args=(x[2:],), **FIXED).y
        ),
        X,
    )
    for method in ("RK23", "RK45", "DOP853")
    for times in (None, (0.0, 0.13, 0.17, 0.2, 0.9), (0.5,))
}


def pairs(name: str, *points: float, **shapes: float) -> dict[str, Case]:
    """The functions of a continuous distribution, in ``x``, ``loc``, ``scale``, at some points."""
    order = list(shapes.values())
    cases: dict[str, Case] = {}
    for kind in ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf"):

        def f(m: Any, v: Any, kind: str = kind) -> Any:
            fn = getattr(getattr(m.stats, name), kind)
            free = [v[2 + i] for i in range(len(order))] if "pdf" in kind else order
            return fn(np.asarray(points) + v[0] - 0.4, *free, 0.3 + v[0], np.exp(v[1]))

        cases[f"{name}.{kind}"] = (f, np.array([0.4, 0.2, *order]))
    return cases


STATS: dict[str, Case] = {
    **pairs("norm", -3.0, 0.2, 1.4),
    **pairs("t", -3.0, 0.2, 1.4, df=3.5),
    **pairs("cauchy", -3.0, 0.2, 1.4),
    **pairs("laplace", -3.0, 0.9, 1.4),
    **pairs("expon", -3.0, 1.9, 2.4),
    **pairs("gamma", -3.0, 1.9, 2.4, a=1.7),
    **pairs("chi2", -3.0, 1.9, 2.4, df=3.3),
    **pairs("lognorm", -3.0, 1.9, 2.4, s=0.6),
    **pairs("beta", -3.0, 0.9, 1.2, 4.0, a=1.7, b=2.2),
    **pairs("uniform", -3.0, 0.9, 1.2, 4.0),
    **{
        f"{name}.{kind}": (
            lambda m, p, name=name, kind=kind, before=before: getattr(getattr(m.stats, name), kind)(
                np.arange(-1, 5)[:, None], *before, p
            ),
            P,
        )
        for name, before in {"poisson": (), "binom": (4,), "bernoulli": ()}.items()
        for kind in ("logpmf", "pmf", "cdf", "sf")
    },
    "poisson.logcdf": (lambda m, p: m.stats.poisson.logcdf(np.arange(4)[:, None], p), P),
    "poisson.logsf": (lambda m, p: m.stats.poisson.logsf(np.arange(4)[:, None], p, loc=1), P),
    "frozen": (lambda m, x: m.stats.norm(loc=x[0], scale=x[1]).logpdf(x), X),
    "multivariate_normal": (
        lambda m, a: m.stats.multivariate_normal.logpdf(R * a[0, 0], a[0], herm(a)),
        A,
    ),
    "multivariate_normal.pdf": (
        lambda m, a: m.stats.multivariate_normal.pdf(a[0], cov=herm(a)),
        A,
    ),
    "multivariate_normal diagonal": (
        lambda m, x: m.stats.multivariate_normal.logpdf(np.outer(x, x), x, x),
        X,
    ),
    "multivariate_normal number": (lambda m, x: m.stats.multivariate_normal.logpdf(x, 0.3, 2.0), X),
    "dirichlet": (lambda m, x: m.stats.dirichlet.logpdf([0.2, 0.1, 0.4, 0.3], x), X),
    "dirichlet x": (lambda m, x: m.stats.dirichlet.logpdf(x[:2] / 4, [1.5, 0.7, 2.0]), X),
    "dirichlet columns": (
        lambda m, x: m.stats.dirichlet.pdf(np.array([[0.2, 0.6], [0.8, 0.4]]), x[:2]),
        X,
    ),
}
CASES = {**SPECIAL, **LINALG, **SIGNAL, **INTEGRATE, **STATS}


def real_inner(a: Any, b: Any) -> Any:
    return np.real(np.sum(np.conj(a) * b))


def gradient(f: Any, x: Any) -> Any:
    (g,) = vjp(lambda y: (f(y),), [x])[1]([np.ones(())[()]])
    return np.zeros_like(x) if g is None else g


def slope(f: Any, x: Any, v: Any) -> Any:
    step = 1e-3
    h = [f(x + k * step * v) for k in (1, -1, 2, -2)]
    return (8 * (h[0] - h[1]) - (h[2] - h[3])) / (12 * step)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_value_and_derivatives(name: str) -> None:
    program, x = CASES[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def f(y: Any) -> Any:
        return program(us, y)

    def direction(like: Any) -> Any:
        v = rng.uniform(-0.5, 0.5, np.shape(like))
        return v + 1j * rng.uniform(-0.5, 0.5, np.shape(like)) if np.iscomplexobj(like) else v

    expected = program(scipy, x)
    (value,), _ = vjp(lambda y: (f(y),), [x])
    for got in (value, f(x)):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
        assert np.shape(got) == np.shape(expected)
    kept = np.isfinite(expected)
    w, v, u = np.where(kept, direction(expected), 0.0), direction(x), direction(x)

    def scalar(y: Any) -> Any:
        return real_inner(w, np.where(kept, f(y), 0.0))

    def along_v(y: Any) -> Any:
        return real_inner(v, gradient(scalar, y))

    # The steps of an adaptive solver jump: SciPy's solver has noise of its tolerance.
    noise = 1e-6
    if "adaptive" in name:
        noise = 1e-2 if "RK23" in name else 1e-4
    g = gradient(scalar, x)
    assert abs(real_inner(g, v) - slope(scalar, x, v)) < noise * max(1.0, np.max(np.abs(g)))
    (_,), (moved,) = jvp(lambda y: (scalar(y),), [x], [v])
    moved = 0.0 if moved is None else moved
    np.testing.assert_allclose(moved, real_inner(g, v), rtol=1e-9, atol=1e-11)
    h = gradient(along_v, x)
    scale = max(1.0, np.max(np.abs(h)))
    assert abs(real_inner(h, u) - slope(along_v, x, u)) < noise * scale


# ------------------------------------------------------------------------- initial values


def test_odeint_agrees_to_its_tolerance() -> None:
    t = np.linspace(0.0, 2.0, 5)

    def pendulum(y: Any, t: Any, k: Any) -> Any:
        return [y[1], -k * np.sin(y[0])]

    def f(x: Any) -> Any:
        return us.integrate.odeint(pendulum, x[:2], t, args=(x[2],), rtol=1e-11, atol=1e-11)

    x = np.array([1.0, 0.3, 2.0])
    expected = scipy.integrate.odeint(pendulum, x[:2], t, (2.0,), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(vjp(lambda y: (f(y),), [x])[0][0], expected, atol=1e-9)
    np.testing.assert_array_equal(
        us.integrate.odeint(pendulum, x[:2], t, (2.0,)),
        scipy.integrate.odeint(pendulum, x[:2], t, (2.0,)),
    )
    # The energy is kept: its gradient is the initial one, and so is its Hessian.
    energy = lambda y, k: 0.5 * y[1] ** 2 - k * np.cos(y[0])  # noqa: E731
    np.testing.assert_allclose(
        ug.grad(lambda x: energy(f(x)[-1], x[2]))(x),
        ug.grad(lambda x: energy(x[:2], x[2]))(x),
        atol=1e-8,
    )
    v = np.array([0.3, -0.7, 0.2])
    np.testing.assert_allclose(
        ug.hvp(lambda x: energy(f(x)[-1], x[2]), x, v),
        ug.hvp(lambda x: energy(x[:2], x[2]), x, v),
        atol=1e-7,
    )


def test_solve_ivp_against_the_closed_form() -> None:
    def end(k: Any) -> Any:
        grown = us.integrate.solve_ivp(
            lambda t, y: k * y, (0, 1), [1.0], "DOP853", rtol=1e-12, atol=1e-12
        )
        return grown.y[0, -1]

    for order in range(4):
        assert end(0.7) == pytest.approx(np.exp(0.7), rel=1e-9), order
        end = ug.grad(end)


def test_solve_ivp_of_plain_values_is_scipys() -> None:
    mine = us.integrate.solve_ivp(decay, (0, 1), X[:2], "LSODA", args=(X[2:],), dense_output=True)
    its = scipy.integrate.solve_ivp(decay, (0, 1), X[:2], "LSODA", args=(X[2:],), dense_output=True)
    np.testing.assert_array_equal(mine.y, its.y)
    np.testing.assert_array_equal(mine.sol(0.3), its.sol(0.3))


def test_what_solvers_refuse() -> None:
    ivp = us.integrate.solve_ivp
    with pytest.raises(TracingError, match="t_span is not followed"):
        ug.grad(lambda T: ivp(lambda t, y: -y, (0.0, T), [1.0]).y[0, -1])(1.0)
    with pytest.raises(TracingError, match="scale the time"):
        ug.grad(lambda T: us.integrate.odeint(lambda y, t: -y, 1.0, [0.0, T])[-1, 0])(1.0)
    with pytest.raises(UnsupportedError, match="method='Radau'"):
        ug.grad(lambda y: ivp(lambda t, y: -y, (0.0, 1.0), [y], "Radau").y[0, -1])(1.0)


# ------------------------------------------------------------------------- recording

NOT_RECORDED = ("solve_ivp", "logm")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_recorded_once_and_replayed(name: str) -> None:
    """Nothing here branches on values: a recording at one point holds at another."""
    program, x = CASES[name]

    def f(y: Any) -> Any:
        out = program(us, y)
        return gradient(lambda z: np.sum(np.abs(np.exp(-abs(program(us, z))))), y), out

    run = replayed(f)
    if name.startswith(NOT_RECORDED):
        with pytest.raises(TracingError, match=r"ug\.jit"):
            run(x)
        return
    run(x)
    y = x * 1.03
    for got, expected in zip(run(y), f(y), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-13)


# ------------------------------------------------------------------------- another library


def test_agrees_with_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.scipy as js

    enabled = jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64()
    programs: dict[str, Case] = {
        "expm": (lambda m, a: m.linalg.expm(a).sum(), A),
        "solve": (lambda m, a: m.linalg.solve(a, B).sum(), A),
        "logsumexp": (lambda m, a: m.special.logsumexp(a, axis=1).sum(), R),
        "convolve": (lambda m, x: (m.signal.convolve(x, x[:2], "same") ** 2).sum(), X),
        "t": (lambda m, x: m.stats.t.logpdf(x, 3.0, x[0], x[1]).sum(), X),
        "gamma": (lambda m, x: m.stats.gamma.logpdf(x, x + 1).sum(), X),
        "beta": (lambda m, x: m.stats.beta.logpdf(x, x + 1, 2 * x).sum(), P),
        "multivariate_normal": (
            lambda m, a: m.stats.multivariate_normal.logpdf(a[0], a[1], a @ a.T),
            A,
        ),
        "dirichlet": (lambda m, x: m.stats.dirichlet.logpdf(np.array([0.2, 0.1, 0.4, 0.3]), x), X),
    }
    with enabled:
        for name, (program, x) in programs.items():
            theirs = jax.grad(lambda y, p=program: p(js, y))(jax.numpy.asarray(x))
            mine = ug.grad(lambda y, p=program: p(us, y))(x)
            np.testing.assert_allclose(mine, np.asarray(theirs), rtol=1e-9, err_msg=name)
