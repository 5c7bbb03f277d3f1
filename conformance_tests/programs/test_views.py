"""Random programs of views and in-place writes: memory is shared as NumPy shares it, or refused.

Each program runs on plain arrays for its value, on complex ones for its derivative, traced, and
recorded; the same seed draws the same statements every time.
"""

import random

import numpy as np
import pytest

import unigrad as ug

X = np.linspace(-1.0, 1.3, 12)


def some_index(draw, a):
    """A basic index that leaves an array."""
    parts = [
        draw.choice(
            [
                slice(None),
                slice(None, None, -1),
                slice(draw.randrange(max(n, 1)), None),
                slice(None, None, 2),
                draw.randrange(n) if n else slice(None),
            ]
        )
        for n in a.shape
    ]
    if parts and all(isinstance(part, int) for part in parts):
        parts[0] = slice(0, 1)
    return draw.choice([tuple(parts), tuple(parts), (..., *parts), (*parts, None)])


def reads(draw, a):
    """New arrays, views and copies, made of one."""
    kind = draw.choice(["view", "view", "view", "copy", "new", "split", "T", "reshape", "rows"])
    if kind == "view":
        return [a[some_index(draw, a)]]
    if kind == "copy":
        return [a.copy()]
    if kind == "new":
        return [0.7 * np.tanh(a)]
    if kind == "split":
        return np.array_split(a, 2)
    if kind == "T":
        return [a.T]
    if kind == "reshape":
        return [a.reshape(-1)]
    return [a, *a]


def writes(draw, a, arrays):
    """One write into an array, which others may share memory with."""
    kind = draw.choice(
        ["scale", "add", "other", "set", "set", "shift", "swap", "fancy", "at", "out", "rows"]
    )
    other = draw.choice([b for b in arrays if b.shape == a.shape])
    if kind == "scale":
        a *= draw.choice([0.5, -1.5])
    elif kind == "add":
        a += draw.choice([0.5, -1.0])
    elif kind == "other":
        a += other
    elif kind == "set":
        a[some_index(draw, a)] = 0.1 * draw.choice(arrays).sum()
    elif kind == "shift":
        a[1:] = a[:-1]
    elif kind == "swap":
        a[0], a[-1] = a[-1], a[0]
    elif kind == "fancy":
        a[[0, -1, 0]] = a[[-1, 0, -1]]
    elif kind == "at":
        np.add.at(a, [0, -1, 0], 0.5)
    elif kind == "out":
        np.multiply(a, 0.5, out=other)
    else:
        for row in a.reshape(1, -1) if a.ndim == 1 else a:
            row *= 1.0 + 0.1 * row.sum()


def program(seed):
    """A function of twelve numbers; the same statements at every call."""

    def f(x):
        draw = random.Random(seed)
        arrays = [x**2, 1.5 * np.reshape(x, (3, 4)), x[::2] * x[1::2]]
        total = 0.0
        for _ in range(draw.randrange(4, 14)):
            a = draw.choice([b for b in arrays if b.size and b.shape[0] > 1])
            if draw.random() < 0.5:
                writes(draw, a, arrays)
            else:
                arrays += [b for b in reads(draw, a) if b.ndim]
            if draw.random() < 0.3:
                total = total + np.sum(0.1 * a * a + a)
        weights = [1.0 + np.arange(a.size).reshape(a.shape) for a in arrays]
        return total + sum(np.sum(w * np.cos(a)) for w, a in zip(weights, arrays, strict=True))

    return f


def agrees(seed):
    """Whether a program is followed; wrong numbers fail.

    Plain NumPy and its complex step are the reference, at this point and, recorded, at another.
    """
    f, v = program(seed), np.cos(np.arange(12.0) + seed)
    try:
        value, gradient = ug.value_and_grad(f)(X)
    except ug.errors.TracingError:
        return False
    where = f"program({seed})"
    np.testing.assert_allclose(value, f(X), 1e-9, 1e-9, err_msg=where)
    expected = np.imag(f(X + 1e-30j * v)) / 1e-30
    np.testing.assert_allclose(gradient @ v, expected, 1e-8, 1e-8, err_msg=where)
    _, moved = ug.jvp(f, X, v)
    np.testing.assert_allclose(moved, expected, 1e-8, 1e-8, err_msg=where)
    if ug.get_backend("numpy").capabilities.jit:
        jitted = ug.jit(ug.value_and_grad(f))
        for x in (X, X, 1.1 * X):
            np.testing.assert_allclose(jitted(x)[0], f(x), 1e-9, 1e-9, err_msg=where)
            np.testing.assert_allclose(
                jitted(x)[1], ug.grad(f)(x), 1e-8, 1e-8, err_msg=f"jitted {where}"
            )
    return True


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_views(start):
    followed = [agrees(seed) for seed in range(start, start + 20)]
    assert sum(followed) >= 5


def test_views_of_a_view():
    """Reading one view of a view brings that view up to date, and the other must notice."""

    def f(x):
        y = x**2
        whole = y[:]
        a, b = whole[:6], whole[6:]
        y *= 2.0
        return np.sum(a**2) + np.sum(b**2)

    np.testing.assert_allclose(ug.grad(f)(X), 16 * X**3, rtol=1e-14)


def test_split_is_a_view():
    def f(x):
        y = x**2
        a, b = np.split(y, 2)
        a *= 3.0
        y += 1.0
        return np.sum(y * np.arange(12.0)) + np.sum(b**2)

    expected = 2 * X * np.where(np.arange(12) < 6, 3.0, 1.0) * np.arange(12)
    expected += np.where(np.arange(12) < 6, 0.0, 4 * X * (X**2 + 1))
    np.testing.assert_allclose(ug.grad(f)(X), expected, rtol=1e-13)
    np.testing.assert_allclose(ug.jit(ug.grad(f))(X), expected, rtol=1e-13)
    np.testing.assert_allclose(ug.jit(f)(X), f(X), rtol=1e-13)


@pytest.mark.parametrize("convert", [np.asarray, np.ascontiguousarray, np.require])
def test_conversions_are_no_copies(convert):
    """What NumPy would write through, is written through or refused."""

    def f(x):
        y = x**2
        z = convert(y)
        z += 1.0
        return np.sum(y**2)

    try:
        gradient = ug.grad(f)(X)
    except (ug.errors.TracingError, ValueError):
        return
    np.testing.assert_allclose(gradient, 4 * X * (X**2 + 1), rtol=1e-13)


def test_an_accumulator_with_two_names():
    """`plain += traced` gives one name a new array; another name shows it, or it is refused."""

    def f(x):
        sums = [np.zeros(12), np.zeros(12)]
        for s, part in zip(sums, (x**2, x), strict=True):
            s += part
        return np.sum(sums[0] * np.arange(12.0))

    try:
        gradient = ug.grad(f)(X)
    except ug.errors.TracingError:
        return
    np.testing.assert_allclose(gradient, 2 * X * np.arange(12.0), rtol=1e-13)


def test_a_long_chain_of_views():
    """Views of views of views, deeper than Python's recursion goes."""

    def f(x):
        total = 0.0
        while len(x):
            total = total + x[0] ** 2
            x = x[1:]
        return total

    x = np.linspace(0.0, 1.0, 1500)
    np.testing.assert_array_equal(ug.grad(f)(x), 2 * x)
