"""The rules of numpy.fft: adjoints, differences, and torch and JAX beside them."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.engine_cases import drawn, gradient, real_inner, slope
from unigrad.engine import jvp, vjp
from unigrad.errors import TracingError

NORMS = (None, "backward", "ortho", "forward")
ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
MANY = ("fftn", "ifftn", "rfftn", "irfftn")
TWO = ("fft2", "ifft2", "rfft2", "irfft2")
FROM_REAL = ("rfft", "ihfft", "rfftn", "rfft2")


def numbers(name: str, shape: tuple[int, ...], kind: str = "complex") -> Any:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x = rng.standard_normal(shape)
    real = kind == "real" or name in FROM_REAL
    return x if real else x + 1j * rng.standard_normal(shape)


def transform(name: str, *args: Any, **options: Any) -> Any:
    return lambda x: getattr(np.fft, name)(x, *args, **options)


CASES: dict[str, tuple[Any, Any]] = {
    **{
        f"{name}_{m}_{n}_{norm}": (transform(name, n, norm=norm), numbers(name, (2, m)))
        for name in ONE
        for (m, n), norm in itertools.product(
            ((5, None), (6, None), (5, 3), (5, 4), (6, 9), (5, 8)), NORMS[1:]
        )
    },
    **{
        f"{name}_real": (transform(name), numbers(name, (2, 6), "real"))
        for name in (*ONE, *MANY, *TWO)
    },
    **{f"{name}_axis": (transform(name, 5, axis=0), numbers(name, (4, 3))) for name in ONE},
    **{f"{name}_axis_1": (transform(name, axis=-2), numbers(name, (4, 3))) for name in ONE},
    **{f"{name}_short": (transform(name, 1), numbers(name, (3,))) for name in ONE},
    **{
        f"{name}_{s}_{axes}_{norm}": (
            transform(name, s=s, axes=axes, norm=norm),
            numbers(name, (3, 4, 5)),
        )
        for name in MANY
        for s, axes in ((None, None), ((4, 3), (0, 2)), (None, (2, 0)), ((7, 2, 4), (1, 0, -1)))
        for norm in (None, "ortho", "forward")
    },
    **{
        f"{name}_{s}_{axes}": (transform(name, s, axes), numbers(name, (3, 4, 5)))
        for name in TWO
        for s, axes in ((None, (-2, -1)), ((5, 3), (-2, -1)), (None, (2, 0)))
    },
    **{f"{name}_twice": (transform(name, axes=(1, 1)), numbers(name, (3, 4))) for name in MANY[:2]},
    **{
        f"{name}_{axes}": (transform(name, axes), numbers(name, (3, 4, 5)))
        for name in ("fftshift", "ifftshift")
        for axes in (None, 1, (0, -1))
    },
    "spacing": (lambda x: np.fft.fftfreq(4, x[0]) + np.fft.rfftfreq(6, x[1]), np.array([2.0, 3.0])),
    "spectrum": (
        lambda x: np.abs(np.fft.fftshift(np.fft.fft(x))) ** 2 * np.fft.fftfreq(6),
        np.arange(1.0, 7.0) ** 0.5,
    ),
    "low_pass": (
        lambda x: np.fft.irfft(np.fft.rfft(x) * (np.arange(4) < 3), 6) ** 3,
        np.arange(1.0, 7.0) ** 0.5,
    ),
    "product": (
        lambda x: np.fft.ifft2(np.fft.fft2(x) * np.conj(np.fft.fft2(x[::-1]))),
        numbers("product", (3, 4)),
    ),
}


@pytest.mark.filterwarnings("ignore:`axes` should not be `None`:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_rule_to_second_order(name: str) -> None:
    f, x = CASES[name]
    rng = np.random.default_rng(0)
    expected = f(x)
    w, v, u = drawn(rng, expected), drawn(rng, x), drawn(rng, x)
    (value,), pullback = vjp(lambda y: (f(y),), [x])
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
    assert value.dtype == expected.dtype
    (moved,) = jvp(lambda y: (f(y),), [x], [v])[1]
    (back,) = pullback([w])
    assert real_inner(w, moved) == pytest.approx(real_inner(back, v), rel=1e-11, abs=1e-12)
    np.testing.assert_allclose(moved, slope(f, x, v), atol=1e-7 * max(1, np.max(np.abs(moved))))

    def along_v(y: Any) -> Any:
        return real_inner(v, gradient(lambda t: np.sum(np.real(w * f(t) ** 3)), y))

    h = gradient(along_v, x)
    assert abs(real_inner(h, u) - slope(along_v, x, u)) < 1e-6 * max(1.0, np.max(np.abs(h)))


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("shape", [(0, 4), (3, 1), (2, 5)])
def test_single_precision_and_no_rows(name: str, shape: tuple[int, ...]) -> None:
    x = numbers(name, shape).astype("complex64" if name not in FROM_REAL else "float32")
    n = 2 if shape[1] == 1 else None
    (value,), _ = vjp(lambda y: (getattr(np.fft, name)(y, n),), [x])
    expected = getattr(np.fft, name)(x, n)
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)
    g = gradient(lambda y: np.sum(np.abs(getattr(np.fft, name)(y, n)) ** 2), x)
    assert g.dtype == x.dtype
    assert g.shape == shape


def test_steepest_ascent() -> None:
    """|fft(z)|^2 summed is n |z|^2 (Parseval), whose gradient is 2 n z (S14)."""
    z = numbers("fft", (5,))
    np.testing.assert_allclose(gradient(lambda z: np.sum(np.abs(np.fft.fft(z)) ** 2), z), 10 * z)


def test_refused() -> None:
    with pytest.raises((TracingError, TypeError), match="out"):
        gradient(lambda x: np.sum(np.abs(np.fft.fftn(x, out=np.zeros(4, complex)))), np.ones(4))
    with pytest.raises(TracingError, match=r"ug\.stop_gradient"):
        gradient(lambda x: np.sum(np.abs(np.fft.fft(np.ones(4) * x, n=x[0]))), np.ones(4))
    with pytest.raises(ValueError, match="different lengths"):
        gradient(lambda x: np.sum(np.abs(np.fft.fftn(x, (2, 2), (0,)))), np.ones((4, 4)))


# ------------------------------------------------------------------------- torch and JAX

BESIDE = [
    *((f, {"n": n, "norm": norm}) for f in ONE for n in (None, 4, 7) for norm in NORMS[1:]),
    *((f, {"axes": a, "norm": norm}) for f in MANY for a in ((0, 1), (1,)) for norm in NORMS[2:]),
    *((f, {"s": s}) for f in TWO for s in (None, (4, 6))),
]


def ours(name: str, options: dict[str, Any], x: Any, w: Any, v: Any) -> Any:
    def loss(y: Any) -> Any:
        out = getattr(np.fft, name)(y, **options)
        return np.sum(np.real(w * out**2))

    return gradient(loss, x), gradient(lambda y: real_inner(v, gradient(loss, y)), x)


@pytest.mark.parametrize(("name", "options"), BESIDE)
def test_agrees_with_torch(name: str, options: dict[str, Any]) -> None:
    torch: Any = pytest.importorskip("torch")
    x = numbers(name, (3, 5))
    rng = np.random.default_rng(0)
    w, v = drawn(rng, getattr(np.fft, name)(x, **options)), drawn(rng, x)
    g, h = ours(name, options, x, w, v)
    theirs = {"dim" if k == "axes" else k: o for k, o in options.items()}
    y = torch.tensor(x, requires_grad=True)
    total = torch.tensor(w) * getattr(torch.fft, name)(y, **theirs) ** 2
    loss = (total.real if total.is_complex() else total).sum()
    (first,) = torch.autograd.grad(loss, y, create_graph=True)
    along = torch.tensor(v).conj() * first
    (second,) = torch.autograd.grad((along.real if along.is_complex() else along).sum(), y)
    for got, want in ((g, first), (h, second)):
        want = want.detach().resolve_conj().numpy()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.max(np.abs(want)))


@pytest.mark.parametrize(("name", "options"), BESIDE[::5])
def test_agrees_with_jax(name: str, options: dict[str, Any]) -> None:
    jax: Any = pytest.importorskip("jax")
    x = numbers(name, (3, 5))
    rng = np.random.default_rng(0)
    w, v = drawn(rng, getattr(np.fft, name)(x, **options)), drawn(rng, x)
    g, _ = ours(name, options, x, w, v)

    def loss(y: Any) -> Any:
        return jax.numpy.sum(jax.numpy.real(w * getattr(jax.numpy.fft, name)(y, **options) ** 2))

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        want = np.conj(np.asarray(jax.grad(loss)(x)))
    np.testing.assert_allclose(g, want, rtol=0, atol=1e-12 * np.max(np.abs(want)))
