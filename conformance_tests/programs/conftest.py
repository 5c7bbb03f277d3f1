"""What the programs are checked with: the plain function itself, run on plain numbers.

Three oracles that know no derivative rule: a closed form that the program's own science gives;
the complex step of it, exact where the code is holomorphic; and Richardson's differences.
"""

import numpy as np
import optree
import pytest

import unigrad as ug


def slope(f, x, v, step=1e-2):
    """d/dt f(x + t v) at t = 0, by differences of sixth order; for arrays too."""
    h = step / max(1.0, float(np.max(np.abs(v))))

    def central(k):
        return (f(x + k * h * v) - f(x - k * h * v)) / (2 * k * h)

    return 1.5 * central(1) - 0.6 * central(2) + 0.1 * central(3)


def complex_slope(f, x, v, step=None):
    """The same by a complex step, exact to rounding where ``f`` is holomorphic."""
    return np.imag(f(x + 1e-30j * v)) / 1e-30


def confirm(f, x, gradient=None, rtol=1e-7, holomorphic=False, step=1e-2, branches=False):
    """Check `ug.grad` and `ug.hvp` of a program at a point, a tree of arrays, and `ug.jit` of it.

    Args:
        f: the program.
        x: the point.
        gradient: a closed form of it, which is then differentiated for the second order.
        rtol: for what differences are compared with; the closed form is held to 1e-9.
        holomorphic: that closed form, or ``f`` without one, runs on complex numbers.
        step: of the differences, smaller where ``f`` has kinks that it must not pass.
        branches: the program asks for values, in an ``if`` say, which `ug.jit` must refuse.
    """
    leaves, treedef = optree.tree_flatten(x)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    shapes = [np.shape(leaf) for leaf in leaves]

    def tree(flat):
        parts = np.split(flat, ends)
        return optree.tree_unflatten(
            treedef, [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
        )

    def flat(tree):
        return np.concatenate([np.ravel(leaf) for leaf in optree.tree_leaves(tree)])

    def plain(flat_x):
        return f(tree(flat_x))

    def differentiated(flat_x):
        return flat(ug.grad(f)(tree(flat_x)))

    point = flat(x).astype(float)
    rng = np.random.default_rng(11)
    v, u = rng.normal(size=(2, point.size)) / np.sqrt(point.size)
    g = differentiated(point)
    Hv = flat(ug.hvp(f, tree(point), tree(v), method="reverse_over_reverse"))
    forward = flat(ug.hvp(f, tree(point), tree(v), method="forward_over_reverse"))
    np.testing.assert_allclose(forward, Hv, 1e-9, 1e-10 * np.linalg.norm(Hv))
    assert g.dtype == Hv.dtype == np.float64
    assert np.linalg.norm(g) > 0.0

    derivative = complex_slope if holomorphic else slope
    tight = 1e-9 if holomorphic else rtol
    if gradient is None:
        for w in (u, v):
            scale = np.linalg.norm(g) * np.linalg.norm(w)
            np.testing.assert_allclose(
                g @ w, derivative(plain, point, w, step), tight, tight * scale
            )
        expected = slope(differentiated, point, v, step)
        tight = rtol
    else:
        closed = flat(gradient(tree(point)))
        np.testing.assert_allclose(g, closed, 1e-9, 1e-9 * np.max(np.abs(closed)))
        expected = derivative(lambda y: flat(gradient(tree(y))), point, v, step)
    np.testing.assert_allclose(Hv, expected, tight, tight * np.max(np.abs(expected)))
    bend = slope(lambda y: slope(plain, y, v, step), point, v, step)
    np.testing.assert_allclose(Hv @ v, bend, 100 * rtol, 100 * rtol * np.linalg.norm(Hv))

    if ug.get_backend("numpy").capabilities.jit:
        jitted = ug.jit(ug.grad(f))
        if branches:
            with pytest.raises(ug.errors.TracingError):
                jitted(tree(point))
            return
        for y in (point, point + 1e-3 * u, point):
            expected = differentiated(y)
            scale = np.max(np.abs(expected))
            np.testing.assert_allclose(flat(jitted(tree(y))), expected, 1e-11, 1e-12 * scale)


@pytest.fixture(name="confirm")
def _confirm():
    return confirm
