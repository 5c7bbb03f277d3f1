"""The rules of scipy.special's ufuncs, to second order and in both modes, against differences.

Where torch.special or jax.scipy.special has the function, also against it; at the ends of the
range, where differences of nearly equal numbers could creep in, against series.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.engine import jvp, vjp
from unigrad.engine.replaying import replayed
from unigrad.engine.rules import special
from unigrad.engine.table import UFUNCS
from unigrad.errors import TracingError

sp = pytest.importorskip("scipy.special")
special.register()

X = np.array([0.3, 0.8, 2.4, 7.9])
S = np.array([-2.1, -0.4, 0.25, 0.6, 1.9])
P = np.array([0.07, 0.35, 0.64, 0.92])
M = np.array([-6.0, -0.3, 0.2, 0.7, 0.95])
UNIT = np.array([-0.8, -0.15, 0.4, 0.77])
Z = np.array([0.3 + 0.4j, -0.2 + 0.9j, 1.65 - 0.3j])
FAR = np.array([-40.0, -11.0, -6.3, 3.1, 12.0, 45.0])
WIDE = np.array([0.7, 9.0, 49.0, 51.0, 110.0, 900.0])
N = np.array([0, 1, 2, 5])


def names(line: str) -> list[str]:
    return line.split()


def on(line: str, x: Any) -> dict[str, Any]:
    return dict.fromkeys(names(line), x)


def of_x(name: str, x: Any, *before: Any, after: tuple[Any, ...] = ()) -> tuple[Any, Any]:
    """A ufunc as a function of the argument behind ``before``."""
    fn = getattr(sp, name)
    return (lambda y: fn(*before, y, *after)), x


def stacked(name: str, x: Any, *after: Any) -> tuple[Any, Any]:
    fn = getattr(sp, name)
    return (lambda y: np.stack(fn(y, *after))), x


UNARY: dict[str, Any] = {
    **dict.fromkeys(
        ["exp2", "exp10", "expm1", "cosm1", "exprel", "expit", "log_expit", "sindg", "cosdg"], S
    ),
    **dict.fromkeys(
        [
            "tandg",
            "cotdg",
            "erf",
            "erfc",
            "erfi",
            "erfcx",
            "dawsn",
            "ndtr",
            "log_ndtr",
            "wrightomega",
        ],
        S,
    ),
    **dict.fromkeys(
        ["log1p", "cbrt", "gammaln", "loggamma", "gamma", "rgamma", "digamma", "psi"], X
    ),
    **dict.fromkeys(
        [
            "entr",
            "j0",
            "j1",
            "y0",
            "y1",
            "i0",
            "i1",
            "k0",
            "k1",
            "i0e",
            "i1e",
            "k0e",
            "k1e",
            "exp1",
            "expi",
        ],
        X,
    ),
    **on("ber bei ker kei berp beip kerp keip spence", X),
    **on("logit ndtri erfcinv ellipkm1", P),
    **on("ellipk ellipe", M),
    "erfinv": UNIT,
    "ndtri_exp": np.log(P),
    "wofz": Z,
}
NEEDS_ORDER: dict[str, Any] = {
    **dict.fromkeys(
        ["jv", "yv", "iv", "kv", "jve", "yve", "ive", "kve", "struve", "modstruve"], 1.3
    ),
    **on("yn kn", 2),
}
CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    **{name: of_x(name, x) for name, x in UNARY.items()},
    **{name: of_x(name, X, order) for name, order in NEEDS_ORDER.items()},
    **{
        f"{name} complex": of_x(name, Z)
        for name in ("erf", "erfc", "erfi", "erfcx", "dawsn", "expm1", "log1p", "expi", "exp1")
    },
    **{f"{name} complex": of_x(name, Z, 1.3) for name in ("jv", "yv", "iv", "kv", "kve", "hyp0f1")},
    **{name: of_x(name, Z, 1.3) for name in ("hankel1", "hankel2", "hankel1e", "hankel2e")},
    **{
        f"{name} real": of_x(name, X, 1.3)
        for name in ("hankel1", "hankel2", "hankel1e", "hankel2e")
    },
    **{f"{name} far": of_x(name, WIDE) for name in ("i0e", "i1e", "k0e", "k1e")},
    **{f"{name} far": of_x(name, WIDE, np.array([[0.0], [1.3], [7.0]])) for name in ("ive", "kve")},
    "dawsn far": of_x("dawsn", FAR),
    "erfcx far": of_x("erfcx", FAR[1:]),
    "log_ndtr far": of_x("log_ndtr", FAR),
    "ndtri_exp far": of_x("ndtri_exp", -np.array([1e-3, 30.0, 400.0])),
    "gammaln below 0": of_x("gammaln", S),
    "gamma below 0": of_x("gamma", S),
    "round": of_x("round", X),
    "gammasgn": of_x("gammasgn", S),
    "radian": (lambda x: sp.radian(x, 2 * x, x * x), X),
    # entropies
    "xlogy": (lambda x: sp.xlogy(x, x + 1) + sp.xlogy(0.0, x), X),
    "xlog1py": (lambda x: sp.xlog1py(x, 2 * x), X),
    "rel_entr": (lambda x: sp.rel_entr(x, x * x + 0.1) + sp.rel_entr(0.0, x), X),
    "kl_div": (lambda x: sp.kl_div(x, x * x + 0.1) + sp.kl_div(0.0, x), X),
    "huber": (lambda x: sp.huber(x + 0.1, 1.5 * x) * sp.huber(1.0, x) + sp.huber(9.0, x), X),
    "pseudo_huber": (lambda x: sp.pseudo_huber(x * x + 0.3, x), X),
    "powm1": (lambda x: sp.powm1(x, 2 * x), X),
    "boxcox": (lambda x: sp.boxcox(x[:, None], x[:3] - 0.8) + sp.boxcox(3.0, x[:3]), X),
    "boxcox1p": (lambda x: sp.boxcox1p(x[:, None], x[:3] - 0.8), X),
    "inv_boxcox": (lambda x: sp.inv_boxcox(x[:, None], x[:3] - 0.1), X / 4),
    "inv_boxcox at 0": (lambda x: sp.inv_boxcox(1.7, x), np.array([-0.2, 0.0, 1e-9, 0.4])),
    "boxcox at 0": (lambda x: sp.boxcox(1.7, x), np.array([-0.2, 0.0, 1e-9, 0.4])),
    "inv_boxcox1p": (lambda x: sp.inv_boxcox1p(x[:, None], x[:3] + 0.1), X / 4),
    # gamma and beta
    "zeta": (lambda q: sp.zeta(2.5, q) + sp.zeta(3.0, q), X),
    "poch": (lambda x: sp.poch(x, x / 3 + 1), X),
    "binom": (lambda x: sp.binom(x + 3, x / 2 + 0.1), X),
    "beta": (lambda x: sp.beta(x, x * x), X),
    "betaln": (lambda x: sp.betaln(x, x * x), X),
    "gammainc": of_x("gammainc", X, 1.7),
    "gammaincc": of_x("gammaincc", X, 1.7),
    "gammaincinv": of_x("gammaincinv", P, 1.7),
    "gammainccinv": of_x("gammainccinv", P, 1.7),
    "betainc": of_x("betainc", P, 1.7, 2.2),
    "betaincc": of_x("betaincc", P, 1.7, 2.2),
    "betaincinv": of_x("betaincinv", P, 1.7, 2.2),
    "betainccinv": of_x("betainccinv", P, 1.7, 2.2),
    "chdtr": of_x("chdtr", X, 3.2),
    "chdtrc": of_x("chdtrc", X, 3.2),
    "gdtr": (lambda x: sp.gdtr(x, 1.7, x + 1), X / 4),
    "gdtrc": (lambda x: sp.gdtrc(x, 1.7, x + 1), X / 4),
    "pdtr": of_x("pdtr", X, 3),
    "pdtrc": of_x("pdtrc", X, 3),
    "stdtr": of_x("stdtr", S, 3.5),
    "stdtrit": of_x("stdtrit", P, 3.5),
    "owens_t": (lambda x: sp.owens_t(x, x * x + 0.2), S),
    # Bessel of order 0, 1: the argument 0 is regular
    "jv at 0": of_x("jv", np.array([-0.5, 0.0, 0.5]), N[:3, None]),
    "iv at 0": of_x("iv", np.array([-0.5, 0.0, 0.5]), N[:3, None]),
    "airy": stacked("airy", S),
    "airy complex": stacked("airy", Z),
    "sici": stacked("sici", X),
    "shichi": stacked("shichi", X),
    "fresnel": stacked("fresnel", S),
    "ellipj": stacked("ellipj", X, 0.4),
    "expn": of_x("expn", X, N[:, None]),
    "lambertw": (lambda z: sp.lambertw(z) * sp.lambertw(z, 1), Z),
    "lambertw real": (lambda x: np.real(sp.lambertw(x)), X),
    "ellipkinc": of_x("ellipkinc", S / 2, after=(0.4,)),
    "ellipeinc": of_x("ellipeinc", S / 2, after=(0.4,)),
    "hyp2f1": of_x("hyp2f1", UNIT, 0.7, 1.3, 2.1),
    "hyp1f1": of_x("hyp1f1", S, 0.7, 1.3),
    "hyp0f1": of_x("hyp0f1", S, 1.3),
    "hyperu": of_x("hyperu", X, 0.7, 1.3),
    **{
        f"eval_{name}": of_x(f"eval_{name}", UNIT, N[:, None], *more)
        for name, more in {
            "legendre": (),
            "chebyt": (),
            "chebyu": (),
            "gegenbauer": (0.7,),
            "jacobi": (0.7, -0.2),
            "hermite": (),
            "hermitenorm": (),
            "laguerre": (),
            "genlaguerre": (0.7,),
        }.items()
    },
    "eval_legendre at 1": of_x("eval_legendre", np.array([-1.0, 1.0]), 5.0),
}


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
def test_rule_to_second_order(name: str) -> None:
    f, x = CASES[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def direction(like: Any) -> Any:
        v = rng.uniform(-0.5, 0.5, np.shape(like))
        return v + 1j * rng.uniform(-0.5, 0.5, np.shape(like)) if np.iscomplexobj(like) else v

    (value,), _ = vjp(lambda y: (f(y),), [x])
    expected = f(x)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-15)
    v, u = direction(x) * np.minimum(1, np.abs(x) + 0.1), direction(x)
    # Weights that make every entry count alike, however large it is.
    w = direction(expected) / (1 + np.abs(expected))

    def scalar(y: Any) -> Any:
        return real_inner(w, f(y))

    def along_v(y: Any) -> Any:
        return real_inner(v, gradient(scalar, y))

    g = gradient(scalar, x)
    assert abs(real_inner(g, v) - slope(scalar, x, v)) < 1e-7 * max(1.0, np.max(np.abs(g)))
    (_,), (moved,) = jvp(lambda y: (scalar(y),), [x], [v])
    moved = 0.0 if moved is None else moved
    np.testing.assert_allclose(moved, real_inner(g, v), rtol=1e-10, atol=1e-12)
    h = gradient(along_v, x)
    scale = max(1.0, np.max(np.abs(h)))
    assert abs(real_inner(h, u) - slope(along_v, x, u)) < 1e-7 * scale


@pytest.mark.parametrize("name", CASES)
def test_recorded_once_and_replayed(name: str) -> None:
    """No rule branches on values: a recording at one point holds at another."""
    f, x = CASES[name]

    def slopes(y: Any) -> Any:
        return [
            gradient(lambda z: real_inner(gradient(lambda q: real_inner(1.0, f(q)), z), 1.0), y)
        ]

    run = replayed(slopes)
    run(x)
    y = x * 0.97
    np.testing.assert_allclose(run(y)[0], slopes(y)[0], rtol=1e-12, atol=1e-14)


def test_every_rule_has_a_case() -> None:
    rules = {r.name.removeprefix(special.PREFIX) for r in UFUNCS.values() if "scipy" in r.name}
    assert rules - {name.split()[0] for name in CASES} == set()
    assert len(rules) > 120


REAL = [n for n in CASES if CASES[n][1].dtype == np.float64]


@pytest.mark.parametrize("name", REAL)
def test_dtype_is_kept(name: str) -> None:
    f, x = CASES[name]
    g = gradient(lambda y: np.sum(np.abs(f(y))), x.astype(np.float32))
    assert g.dtype == np.float32
    assert g.shape == x.shape


def test_scalars_and_empty_arrays() -> None:
    assert ug.grad(sp.erf)(0.0) == pytest.approx(2 / math.sqrt(math.pi), rel=1e-15)
    assert ug.grad(lambda x: np.sum(sp.erfcx(x)))(np.zeros(0)).shape == (0,)


# ------------------------------------------------------------------------- ends of the range


def test_far_tails_do_not_cancel() -> None:
    big = 1e8
    assert ug.grad(sp.erfcx)(big) == pytest.approx(-1 / math.sqrt(math.pi) / big**2, rel=1e-14)
    assert ug.grad(ug.grad(sp.erfcx))(big) == pytest.approx(
        2 / math.sqrt(math.pi) / big**3, rel=1e-13
    )
    assert ug.grad(sp.dawsn)(big) == pytest.approx(-0.5 / big**2, rel=1e-14)
    for fn, front in ((sp.i0e, 1 / math.sqrt(2 * math.pi)), (sp.k0e, math.sqrt(math.pi / 2))):
        assert ug.grad(ug.grad(fn))(big) == pytest.approx(0.75 * front * big**-2.5, rel=1e-7)
    # The ratio of density to distribution at -x is x + 1/x - 2/x^3 ...
    assert ug.grad(sp.log_ndtr)(-1e6) == pytest.approx(1e6 + 1e-6, rel=1e-14)
    assert ug.grad(ug.grad(sp.log_ndtr))(-1e6) == pytest.approx(-1 + 1e-12, rel=1e-14)
    assert ug.grad(ug.grad(sp.log_ndtr))(60.0) == 0.0
    assert ug.grad(ug.grad(ug.grad(sp.log_ndtr)))(-30.0) == pytest.approx(
        2 / 30.0**3 * (1 - 12 / 30.0**2 + 150 / 30.0**4), rel=1e-3
    )


def test_regular_points_of_singular_formulas() -> None:
    assert ug.grad(sp.ellipk)(0.0) == pytest.approx(math.pi / 8, rel=1e-15)
    assert ug.grad(ug.grad(sp.ellipk))(0.0) == pytest.approx(9 * math.pi / 64, rel=1e-15)
    assert ug.grad(sp.ellipe)(0.0) == pytest.approx(-math.pi / 8, rel=1e-15)
    assert ug.grad(sp.spence)(1.0) == -1.0
    assert ug.grad(ug.grad(sp.spence))(1.0) == pytest.approx(0.5, rel=1e-15)
    assert ug.grad(sp.exprel)(0.0) == 0.5
    assert ug.grad(lambda p: sp.boxcox(3.0, p))(0.0) == pytest.approx(
        math.log(3.0) ** 2 / 2, rel=1e-15
    )
    assert ug.grad(ug.grad(lambda p: sp.boxcox(3.0, p)))(0.0) == pytest.approx(
        math.log(3.0) ** 3 / 3, rel=1e-15
    )
    assert ug.grad(lambda x: sp.gammainc(1.0, x))(0.0) == 1.0
    assert ug.grad(lambda x: sp.xlogy(0.0, x))(0.0) == 0.0
    assert ug.grad(lambda x: sp.sici(x)[0])(0.0) == 1.0
    assert ug.grad(lambda x: sp.shichi(x)[0])(0.0) == 1.0


STEPPED = names("erf erfc erfcx erfi dawsn loggamma digamma rgamma gamma exp1 expm1 log1p")


@pytest.mark.parametrize("name", STEPPED)
def test_complex_step(name: str) -> None:
    """The real rules, against the imaginary part of the complex function: to all digits."""
    fn = getattr(sp, name)
    expected = np.imag(fn(X + 1e-12j)) / 1e-12
    np.testing.assert_allclose(gradient(lambda y: np.sum(fn(y)), X), expected, rtol=1e-13)


@pytest.mark.parametrize("name", ["iv", "kv", "hyp0f1"])
def test_complex_step_in_an_order(name: str) -> None:
    fn = getattr(sp, name)
    expected = np.imag(fn(1.3, X + 1e-12j)) / 1e-12
    np.testing.assert_allclose(gradient(lambda y: np.sum(fn(1.3, y)), X), expected, rtol=1e-12)


# ------------------------------------------------------------------------- refusals


def test_a_ufunc_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(TracingError, match="ufunc kolmogorov has no derivative rule"):
        ug.grad(sp.kolmogorov)(0.5)


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("jv", lambda x: sp.jv(x, 1.0)),
        ("gammainc", lambda x: sp.gammainc(x, 1.0)),
        ("betainc", lambda x: sp.betainc(1.0, x, 0.5)),
        ("stdtr", lambda x: sp.stdtr(x, 0.5)),
        ("zeta", lambda x: sp.zeta(x, 2.0)),
        ("ellipj", lambda x: sp.ellipj(0.3, x)[0]),
        ("hyp2f1", lambda x: sp.hyp2f1(x, 1.0, 1.0, 0.5)),
    ],
)
def test_a_partial_derivative_without_a_rule_is_refused(name: str, f: Any) -> None:
    for derivative in (ug.grad(f), lambda x: ug.jvp(f, x, 1.0)):
        with pytest.raises(TracingError, match=rf"scipy\.special\.{name} has no derivative"):
            derivative(1.5)


def test_complex_numbers_without_a_rule_are_refused() -> None:
    with pytest.raises(TracingError, match=r"scipy\.special\.ive of complex numbers"):
        gradient(lambda z: np.real(np.sum(sp.ive(1, z))), Z)
    assert np.all(np.isfinite(gradient(lambda z: np.real(np.sum(sp.loggamma(z))), Z)))
    with pytest.raises(TracingError, match="second derivative"):
        gradient(
            lambda z: real_inner(1.0, gradient(lambda y: np.real(np.sum(sp.loggamma(y))), z)), Z
        )


# ------------------------------------------------------------------------- other libraries

TORCH = names("erf erfc erfcx expit logit log_ndtr ndtr ndtri gammaln digamma i0 i0e i1 i1e entr")


def second(f: Any, x: Any) -> tuple[Any, Any]:
    v = np.linspace(0.5, 1.5, x.size)
    return ug.grad(f)(x), ug.hvp(f, x, v)


@pytest.mark.parametrize("name", [*TORCH, "erfinv", "xlogy", "xlog1py", "zeta"])
def test_agrees_with_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    other = getattr(torch.special, name)
    fn = getattr(sp, name)
    x = P if name in ("logit", "ndtri", "erfinv") else X
    if name in ("xlogy", "xlog1py"):
        f, t = (lambda y: np.sum(fn(y, y + 1))), (lambda y: torch.sum(other(y, y + 1)))
    elif name == "zeta":
        two = torch.tensor(2.0, dtype=torch.float64)
        f, t = (lambda y: np.sum(fn(2.0, y))), (lambda y: torch.sum(other(two, y)))
    else:
        f, t = (lambda y: np.sum(fn(y))), (lambda y: torch.sum(other(y)))
    tensor = torch.tensor(x, requires_grad=True)
    (g,) = torch.autograd.grad(t(tensor), tensor, create_graph=True)
    (h,) = torch.autograd.grad(torch.sum(g * torch.linspace(0.5, 1.5, x.size)), tensor)
    mine = second(f, x)
    np.testing.assert_allclose(mine[0], g.detach().numpy(), rtol=1e-9)
    # torch's trigamma has nine digits, and its second derivative of log_ndtr cancels.
    np.testing.assert_allclose(mine[1], h.numpy(), rtol=1e-6, atol=1e-9)


JAX = names("erf erfc expit logit log_ndtr ndtr ndtri gammaln digamma i0 i0e i1 i1e entr exp1 expi")


@pytest.mark.parametrize(
    "name", [*JAX, "erfinv", "betaln", "rel_entr", "kl_div", "spence", "sici", "hyp1f1"]
)
def test_agrees_with_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    special_of_jax = pytest.importorskip("jax.scipy.special")
    other = getattr(special_of_jax, name, None)
    if other is None:
        pytest.skip(f"this JAX has no {name}")
    fn = getattr(sp, name)
    x = P if name in ("logit", "ndtri", "erfinv") else X

    def called(g: Any) -> Any:
        if name in ("betaln", "rel_entr", "kl_div"):
            return lambda y: (g(y, y * y + 0.1)).sum()
        if name == "hyp1f1":
            return lambda y: g(0.7, 1.3, y).sum()
        if name == "sici":
            return lambda y: (g(y)[0] + 2.0 * g(y)[1]).sum()
        return lambda y: g(y).sum()

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        theirs = called(other)
        g = jax.grad(theirs)(jax.numpy.asarray(x))
        mine = ug.grad(called(fn))(x)
        np.testing.assert_allclose(mine, np.asarray(g), rtol=1e-9)
