"""The torch adapter where torch has traps of its own."""

import numpy as np
import pytest

import unigrad as ug

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def cubes(x):
    return (x**3).sum()


def test_results_can_be_written():
    """No result is one number broadcast by strides of 0, and no two share memory."""
    ga, gb = ug.grad(lambda a, b: (a + b).sum(), (0, 1))(t(1.0, 2.0), t(3.0, 4.0))
    ga.add_(1.0)
    assert gb.tolist() == [1.0, 1.0]
    assert ug.grad(torch.sum)(t(1.0, 2.0)).mul_(3.0).tolist() == [3.0, 3.0]


def test_parameters_come_back_as_tensors():
    """The gradient of a Parameter is a tensor in its graph, and .grad is untouched."""
    p = torch.nn.Parameter(t(1.0, 2.0))
    gradient = ug.grad(cubes)(p)
    assert type(gradient) is torch.Tensor
    assert gradient.requires_grad
    assert p.grad is None


def test_low_precision():
    """float16 and bfloat16 stay what they are, also in a finite difference."""
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.ones(2, dtype=dtype)
        assert ug.grad(lambda x: (x * x).sum())(x).dtype is dtype
        assert ug.hvp(lambda x: (x * x).sum(), x, x).tolist() == [2.0, 2.0]
        rough = ug.hvp(lambda x: (x * x).sum(), x, x, method="finite_difference")
        assert rough.dtype is dtype
        np.testing.assert_allclose(rough.float(), [2.0, 2.0], rtol=0.1)


def test_views_and_non_contiguous_arguments():
    """Transposed, sliced and expanded leaves have gradients of their own shape."""
    base = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    for x in (base.T, base[:, 1:], t(1.0).expand(3)):
        np.testing.assert_allclose(ug.grad(cubes)(x), 3 * x**2)
        np.testing.assert_allclose(ug.hvp(cubes, x, torch.ones_like(x)), 6 * x)


def test_writing_into_an_argument_is_an_error_or_f_s_own():
    """An in-place write into the differentiated leaf cannot go wrong in silence."""
    x = t(1.0, 2.0)
    with pytest.raises(RuntimeError, match="in-place"):
        ug.grad(lambda x: x.mul_(2.0).sum())(x)
    assert x.tolist() == [1.0, 2.0]


def test_conjugate_and_negative_views():
    """Lazy conjugates are values like any other."""
    z = torch.tensor([1.0 + 2.0j], dtype=torch.complex128)
    np.testing.assert_allclose(ug.to_numpy(z.conj()), [1.0 - 2.0j])
    np.testing.assert_allclose(ug.to_numpy(z.conj().imag), [-2.0])
    gradient = ug.grad(lambda z: (z.conj() * z).real.sum())(z.conj())
    np.testing.assert_allclose(ug.to_numpy(gradient), [2.0 - 4.0j])


def test_sparse_gradients_are_dense():
    """An embedding that asks for a sparse gradient."""
    table = torch.ones(3, 2, dtype=torch.float64)
    index = torch.tensor([0, 0])
    gradient = ug.grad(lambda w: torch.nn.functional.embedding(index, w, sparse=True).sum())(table)
    assert gradient.layout is torch.strided
    assert gradient.tolist() == [[2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]


def test_integer_results_beside():
    """aux with integers and booleans through every operator."""

    def f(x):
        return cubes(x), {"n": torch.arange(3), "b": x > 1}

    x = t(1.0, 2.0)
    for aux in (
        ug.grad(f, has_aux=True)(x)[1],
        ug.hvp(f, x, x, has_aux=True)[1],
        ug.jvp(f, x, x, has_aux=True)[2],
        ug.vjp(f, x, has_aux=True)[2],
    ):
        assert aux["n"].tolist() == [0, 1, 2]
        assert aux["b"].tolist() == [False, True]


def test_memory_is_freed_at_once():
    """No reference cycle keeps the leaves or the graph of a finished derivative alive."""
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        seen = []

        def f(x):
            seen.append(weakref.ref(x))
            return cubes(x)

        ug.grad(f)(t(1.0, 2.0))
        ug.value_and_grad(f)(t(1.0, 2.0))
        ug.hvp(f, t(1.0, 2.0), t(1.0, 2.0))
        assert [r() for r in seen] == [None] * len(seen)
    finally:
        gc.enable()


def test_hvp_agrees_with_the_derived_route():
    """The adapter's own hvp against double vjp and against forward over reverse."""
    x, v = t(0.3, -0.7, 1.1), t(1.0, 2.0, -1.0)

    def f(x):
        return torch.exp(torch.sin(x).sum()) * (x[0] * x[1])

    own = ug.hvp(f, x, v)
    np.testing.assert_allclose(own, ug.hvp(f, x, v, method="forward_over_reverse"), rtol=1e-12)
    np.testing.assert_allclose(own, ug.jvp(ug.grad(f), x, v)[1], rtol=1e-12)
    np.testing.assert_allclose(own, ug.hessian(f)(x) @ v, rtol=1e-12)
    value, gradient, product = ug.value_grad_and_hvp(f, x, v)
    np.testing.assert_allclose(gradient, ug.grad(f)(x), rtol=1e-14)
    assert not any(r.requires_grad for r in (value, gradient, product))


def test_hvp_with_partly_linear_arguments():
    """A leaf whose gradient is constant has a zero product; the others do not suffer."""

    def f(p):
        return p["a"].sum() + (p["b"] ** 2).sum() + 0.0 * p["c"].sum()

    p = {"a": t(1.0), "b": t(2.0, 3.0), "c": t(4.0), "d": t(5.0)}
    product = ug.hvp(f, (p,), p)
    assert product["a"].tolist() == [0.0]
    assert product["b"].tolist() == [4.0, 6.0]
    assert product["c"].tolist() == [0.0]
    assert product["d"].tolist() == [0.0]


def test_an_outer_graph_through_the_tangent():
    """hvp and jvp are differentiable by the direction, too."""
    x = t(1.0, 2.0)
    v = t(3.0, 4.0).requires_grad_()
    ug.hvp(cubes, x, v).sum().backward()
    assert v.grad.tolist() == [6.0, 12.0]
    v.grad = None
    ug.jvp(cubes, x, v)[1].backward()
    assert v.grad.tolist() == [3.0, 12.0]
    v.grad = None
    ug.vjp(lambda x: x**3, x)[1](v)[0].sum().backward()
    assert v.grad.tolist() == [3.0, 12.0]
