"""S1: every result has the framework, dtype, device and tree position of its input leaf."""

import numpy as np
import pytest

import unigrad as ug


def cubed(x):
    return ug.array_namespace(x).sum(x * x * x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_s1_dtype_in_is_dtype_out(kit, dtype):
    """S1: float64 in is float64 out, float32 in is float32 out, for first-order operators."""
    x, v = kit.array([1.0, 2.0], dtype), kit.array([1.0, -1.0], dtype)
    value, gradient = ug.value_and_grad(cubed)(x)
    out, pullback = ug.vjp(lambda x: x * x, x)
    results = [value, gradient, ug.grad(cubed)(x), out, pullback(v)[0], *ug.jvp(cubed, x, v)]
    results.append(ug.jacobian(lambda x: x * x)(x))
    for result in results:
        assert kit.owns(result)
        assert kit.dtype(result) == dtype
    kit.same(gradient, [3.0, 12.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_s1_dtype_of_second_order(exact_kit, dtype):
    """S1: the same for second order."""
    kit = exact_kit
    x, v = kit.array([1.0, 2.0], dtype), kit.array([1.0, -1.0], dtype)
    results = [ug.hvp(cubed, x, v), ug.hessian(cubed)(x), *ug.value_grad_and_hvp(cubed, x, v)]
    for result in results:
        assert kit.owns(result)
        assert kit.dtype(result) == dtype
    kit.same(results[0], [6.0, -12.0], rtol=1e-6)


def test_s1_each_leaf_keeps_its_own_dtype(kit):
    """S1: leaves of two precisions in one call keep theirs."""
    if not kit.capabilities.float32:
        pytest.skip(f"{kit.name} has one precision")
    p = {"half": kit.array([1.0, 2.0], "float32"), "full": kit.array([1.0, 2.0], "float64")}

    def f(p):
        xp = ug.array_namespace(p["full"])
        return xp.sum(xp.astype(p["half"], xp.float64) * p["full"])

    gradient = ug.grad(f)(p)
    assert kit.dtype(gradient["half"]) == "float32"
    assert kit.dtype(gradient["full"]) == "float64"


def test_s1_scalar_array_stays_a_scalar_array(kit):
    """S1: a 0-d leaf has a 0-d gradient of its framework."""
    gradient = ug.grad(lambda x: x * x)(kit.array(3.0))
    kit.same(gradient, 6.0)


def test_s1_python_float_is_moved_to_the_backend(kit):
    """S1, S10: a Python float comes back as the backend's own, in double precision."""
    gradient = ug.grad(lambda x: x * x, backend=kit.name)(3.0)
    assert kit.dtype(gradient) == "float64"
    kit.same(gradient, 6.0)


def test_s1_python_float_takes_the_precision_beside_it(kit):
    """S1: a Python float beside float32 arrays is float32; it does not widen the result."""
    x = kit.array([1.0, 2.0], "float32")
    gx, gs = ug.grad(lambda x, s: ug.array_namespace(x).sum(x) * s, argnums=(0, 1))(x, 2.0)
    assert kit.dtype(gx) == "float32"
    assert kit.dtype(gs) == "float32"


def test_s1_tree_position_is_kept(kit):
    """S1, S15: results sit where their leaves sat."""
    params = {"a": [kit.array([1.0]), (kit.array([2.0]),)], "b": None}

    def f(p):
        return ug.array_namespace(p["a"][0]).sum(p["a"][0] * p["a"][0] * p["a"][1][0])

    gradient = ug.grad(f)(params)
    kit.same(gradient["a"][0], [4.0])
    kit.same(gradient["a"][1][0], [1.0])
    assert isinstance(gradient["a"][1], tuple)
    assert gradient["b"] is None


def test_s1_asarray_and_to_numpy_keep_dtypes(kit):
    """S1: the round trip through a backend changes no dtype, JAX's 64-bit integers included."""
    kinds = ["float32", "float64", "int32", "int64", "bool"]
    kinds += ["complex64", "complex128"] if kit.capabilities.complex else []
    for kind in kinds:
        there = ug.asarray(np.array([0, 1], dtype=kind), backend=kit.name)
        assert kit.dtype(there) == kind
        assert ug.to_numpy(there).dtype == kind


def test_s1_numpy_strides_and_byte_order_are_accepted(kit):
    """S1: reversed, transposed and big-endian NumPy data mean their values."""
    for data in (np.arange(3.0)[::-1], np.arange(6.0).reshape(2, 3).T, np.arange(3.0, dtype=">f8")):
        np.testing.assert_array_equal(kit.numpy(ug.asarray(data, backend=kit.name)), data)


def test_s1_jax_double_precision_is_local(need):
    """S1: x64 is off before and after, and the results are float64 to the last digit."""
    need("jax")
    import jax

    assert not jax.config.jax_enable_x64
    x = ug.asarray(np.array([1.0, 2.0]), backend="jax")
    seen = []

    def f(x):
        seen.append(jax.config.jax_enable_x64)
        return jax.numpy.sum(jax.numpy.sin(x) * x)

    gradient = ug.grad(f)(x)
    product = ug.hvp(f, x, x)
    assert seen == [True, True]
    assert not jax.config.jax_enable_x64
    assert gradient.dtype == product.dtype == np.float64
    point = np.array([1.0, 2.0])
    np.testing.assert_allclose(gradient, np.sin(point) + point * np.cos(point), rtol=1e-15)


def test_s1_jax_single_precision_is_left_alone(need):
    """S1: without a float64 leaf the x64 context is not entered, 64-bit labels notwithstanding."""
    need("jax")
    import jax

    x, labels = jax.numpy.ones(3, dtype="float32"), np.array([0, 2])
    seen = []

    def f(x, labels):
        seen.append((jax.config.jax_enable_x64, str(labels.dtype)))
        return jax.numpy.sum(x[labels])

    gradient = ug.grad(f)(x, labels)
    assert seen == [(False, "int32")]
    assert gradient.dtype == np.float32


def test_s1_jax_refuses_to_narrow_inside_a_narrow_trace(need):
    """S1: float64 inside a jax.jit that was entered with x64 off is an error that says so."""
    need("jax")
    import jax

    x = ug.asarray(np.array([1.0, 2.0]), backend="jax")
    with pytest.raises(
        ug.errors.UnsupportedError, match=r"switch x64 on around it, or use ug\.jit"
    ):
        jax.jit(ug.grad(lambda x: jax.numpy.sum(x * x)))(x)


def test_s1_device_is_kept(need):
    """S1: torch's meta device stands for a device that is not the default."""
    need("torch")
    import torch

    x = torch.zeros(3, device="meta")
    results = [ug.grad(cubed)(x), ug.hvp(cubed, x, x), ug.hessian(cubed)(x), *ug.jvp(cubed, x, x)]
    results.append(ug.grad(lambda x, y: cubed(y), argnums=0)(x, x))
    assert all(r.device.type == "meta" for r in results)
