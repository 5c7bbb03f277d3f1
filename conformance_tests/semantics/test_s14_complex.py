"""S14: the gradient of a real scalar by a complex leaf points to steepest ascent."""

import numpy as np
import pytest

import unigrad as ug

Z = np.array([1.0 + 2.0j, -0.5 + 0.25j])


def modulus(z):
    xp = ug.array_namespace(z)
    return xp.sum(xp.real(z * xp.conj(z)))


def cubic(z):
    xp = ug.array_namespace(z)
    return xp.sum(xp.real(z * z * z))


@pytest.fixture
def complex_kit(kit):
    if not kit.capabilities.complex:
        pytest.skip(f"{kit.name} has no complex arrays (S14); see the refusal below")
    return kit


def test_s14_steepest_ascent(complex_kit):
    """S14: the gradient of |z|² is 2z, that of Re z³ is 3 conj(z)²."""
    kit = complex_kit
    z = kit.array(Z, "complex128")
    kit.same(ug.grad(modulus)(z), 2 * Z)
    kit.same(ug.grad(cubic)(z), 3 * np.conj(Z) ** 2)
    kit.same(ug.value_and_grad(cubic)(z)[1], 3 * np.conj(Z) ** 2)
    kit.same(ug.grad(cubic, unconnected="error")(z), 3 * np.conj(Z) ** 2)


def test_s14_a_step_along_the_gradient_ascends(complex_kit):
    """S14: d/dt f(z + t d) is the real inner product of gradient and d (independent oracle)."""
    kit = complex_kit
    d = np.array([0.3 - 0.7j, 0.2 + 0.9j])
    gradient = kit.numpy(ug.grad(cubic)(kit.array(Z, "complex128")))
    slope = np.real(np.vdot(gradient, d))
    t = 1e-6
    numeric = (np.sum(np.real((Z + t * d) ** 3)) - np.sum(np.real((Z - t * d) ** 3))) / (2 * t)
    np.testing.assert_allclose(slope, numeric, rtol=1e-8)
    kit.same(ug.jvp(cubic, kit.array(Z, "complex128"), kit.array(d, "complex128"))[1], slope)


def test_s14_hvp(complex_kit):
    """S14: the Hessian product is the derivative of the gradient along the direction."""
    kit = complex_kit
    d = np.array([0.3 - 0.7j, 0.2 + 0.9j])
    z, v = kit.array(Z, "complex128"), kit.array(d, "complex128")
    for method in ("auto", "forward_over_reverse", "reverse_over_reverse"):
        kit.same(ug.hvp(cubic, z, v, method=method), 6 * np.conj(Z) * np.conj(d))
        kit.same(ug.hvp(modulus, z, v, method=method), 2 * d)
    kit.same(
        ug.hvp(cubic, z, v, method="finite_difference"), 6 * np.conj(Z) * np.conj(d), rtol=1e-7
    )


def test_s14_complex_outputs_have_vjp_and_jvp(complex_kit):
    """S14: for z² the pushforward is 2zv and the pullback conj(2z)u."""
    kit = complex_kit
    z, u = kit.array(Z, "complex128"), kit.array(Z[::-1], "complex128")
    kit.same(ug.jvp(lambda z: z * z, z, u)[1], 2 * Z * Z[::-1])
    kit.same(ug.vjp(lambda z: z * z, z)[1](u)[0], np.conj(2 * Z) * Z[::-1])


def test_s14_precision_and_real_leaves(complex_kit):
    """S14, S1: complex64 stays complex64; the gradient by a real leaf is real."""
    kit = complex_kit
    z, x = kit.array(Z, "complex64"), kit.array([2.0, 3.0], "float32")

    def f(z, x):
        xp = ug.array_namespace(z)
        return xp.sum(xp.real(z * xp.conj(z)) * x)

    gz, gx = ug.grad(f, (0, 1))(z, x)
    assert kit.dtype(gz) == "complex64"
    assert kit.dtype(gx) == "float32"
    kit.same(gz, 2 * Z * np.array([2.0, 3.0]), rtol=1e-6)
    kit.same(gx, np.abs(Z) ** 2, rtol=1e-6)


def test_s14_nested(complex_kit):
    """S14: the convention survives nesting: the gradient of |∇ Re z³|² = 9|z|⁴ is 36 |z|² z."""
    kit = complex_kit

    def f(z):
        return modulus(ug.grad(cubic)(z))

    kit.same(ug.grad(f)(kit.array(Z, "complex128")), 36 * np.abs(Z) ** 2 * Z)


def test_s14_no_complex_matrix_is_pretended(complex_kit):
    """S14: a Jacobian or Hessian by complex leaves is refused with the ways out."""
    kit = complex_kit
    z = kit.array(Z, "complex128")
    with pytest.raises(ug.errors.NotDifferentiableError, match=r"ug\.vjp, ug\.jvp or ug\.hvp"):
        ug.hessian(cubic)(z)
    with pytest.raises(ug.errors.NotDifferentiableError, match=r"a Jacobian of complex128"):
        ug.jacobian(lambda z: z * z)(z)


def test_s14_a_backend_without_complex_arrays_says_so(need):
    """S14: MXNet refuses complex data by name."""
    need("mxnet")
    with pytest.raises(ug.errors.UnigradError, match="complex128"):
        ug.asarray(Z, backend="mxnet")
    with pytest.raises(ug.errors.UnigradError, match="complex128"):
        ug.grad(modulus, backend="mxnet")(Z)
