"""The JAX adapter where JAX has traps of its own."""

import subprocess
import sys

import numpy as np
import pytest

import unigrad as ug

jax = pytest.importorskip("jax")
jnp = jax.numpy


def cubes(x):
    return jnp.sum(x**3)


def test_integers_of_64_bits():
    """Data beside is taken as JAX takes it; ug.asarray keeps what was given."""
    x = jnp.array([1.0, 2.0, 3.0])
    assert ug.grad(lambda x, i: jnp.sum(x[i]))(x, np.array([2, 2])).tolist() == [0.0, 0.0, 2.0]
    assert ug.asarray(np.array([2**40]), backend="jax").dtype == np.int64
    assert int(ug.asarray(np.array([2**40]), backend="jax")[0]) == 2**40
    assert not jax.config.jax_enable_x64


def test_scan_over_integer_data():
    """NumPy labels run through lax.scan in single precision."""
    w = jnp.array([1.0, 2.0])

    def f(w, index):
        def step(carry, i):
            return carry + w[i] ** 2, None

        return jax.lax.scan(step, jnp.zeros(()), index)[0]

    assert ug.grad(f)(w, np.array([0, 1, 1])).tolist() == [2.0, 8.0]


def test_keys_and_extended_types_pass_through():
    """Random keys as data and in aux."""
    x = jnp.array([1.0, 2.0])
    key = jax.random.key(0)

    def f(x, key):
        return jnp.sum(x * jax.random.normal(key, (2,))), jax.random.split(key)

    gradient, aux = ug.grad(f, has_aux=True)(x, key)
    np.testing.assert_allclose(gradient, jax.random.normal(key, (2,)))
    assert aux.shape == (2,)
    with pytest.raises(ug.errors.NotDifferentiableError, match="key"):
        ug.grad(f, 1)(x, key)


def test_native_rules_are_followed():
    """custom_jvp and custom_vjp of JAX, checkpoints and conditionals."""
    x = jnp.array([1.0, -2.0])

    @jax.custom_vjp
    def doubled(x):
        return x

    doubled.defvjp(lambda x: (x, None), lambda _, u: (2.0 * u,))
    assert ug.grad(lambda x: jnp.sum(doubled(x)))(x).tolist() == [2.0, 2.0]
    np.testing.assert_allclose(
        ug.hvp(lambda x: jnp.sum(jax.nn.softplus(x)), x, jnp.ones(2)),
        jax.nn.sigmoid(x) * (1 - jax.nn.sigmoid(x)),
        rtol=1e-6,
    )
    np.testing.assert_allclose(ug.grad(jax.checkpoint(cubes))(x), 3 * x**2)
    branch = ug.grad(lambda x: jax.lax.cond(x[0] > 0, cubes, lambda x: jnp.sum(x), x))
    np.testing.assert_allclose(branch(x), 3 * x**2)
    loop = ug.grad(lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y * x[0], x[1]))
    np.testing.assert_allclose(loop(x), [-6.0, 1.0])


def test_connections_through_control_flow():
    """unconnected="error" sees through jit, scan, cond, while and custom rules."""
    x, y = jnp.ones(()), jnp.ones(())
    connected = [
        lambda x, y: jax.jit(lambda x, y: x * y)(x, y),
        lambda x, y: jax.lax.cond(x > 0, lambda: x, lambda: y),
        lambda x, y: jax.checkpoint(lambda x, y: jnp.sin(x) * y)(x, y),
        lambda x, y: jax.lax.scan(lambda c, _: (c * y, None), x, None, length=2)[0],
    ]
    for f in connected:
        ug.grad(f, (0, 1), unconnected="error")(x, y)
    unconnected = [
        lambda x, y: jax.jit(lambda x, y: x)(x, y),
        lambda x, y: jax.lax.scan(lambda c, _: ((c[0] * x, c[1]), c[1]), (x, y), None, 2)[0][0],
    ]
    for f in unconnected:
        with pytest.raises(ug.errors.UnconnectedError, match="y"):
            ug.grad(f, (0, 1), unconnected="error")(x, y)


def test_custom_rules_in_both_modes():
    """jax.custom_vjp has no forward mode; ug.custom_vjp has, nested in any way."""
    cube = ug.custom_vjp(lambda x: x**3)
    cube.defvjp(lambda x: (x**3, x), lambda x, u: (3.0 * u * x**2,))
    x, one = jnp.array(2.0), jnp.array(1.0)
    assert float(ug.jvp(cube, x, one)[1]) == 12.0
    assert float(ug.jvp(lambda x: ug.jvp(cube, x, one)[1], x, one)[1]) == 12.0
    assert float(ug.grad(lambda x: ug.jvp(cube, x, one)[1])(x)) == 12.0
    assert float(ug.jvp(ug.grad(cube), x, one)[1]) == 12.0
    assert float(jax.jit(lambda x: ug.jvp(cube, x, one)[1])(x)) == 12.0


def test_abstract_evaluation():
    """Derivatives of shapes alone."""
    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    assert jax.eval_shape(ug.grad(cubes), shape).shape == (2,)
    assert jax.eval_shape(ug.hessian(cubes), shape).shape == (2, 2)


def test_s1_devices():
    """S1: results are where their leaves are, unconnected ones included."""
    code = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, jax.numpy as jnp, numpy as np, unigrad as ug
there = jax.devices()[1]
x = jax.device_put(jnp.array([1.0, 2.0]), there)
square = lambda x: jnp.sum(x**2)
v = np.ones(2, dtype=np.float32)
for r in (ug.grad(square)(x), ug.grad(lambda x, y: square(y))(x, x), ug.hvp(square, x, v),
          ug.hvp(lambda x: jnp.sum(x), x, v), ug.jacobian(lambda x: x**2)(x),
          ug.jvp(square, x, v)[1], ug.vjp(lambda x: x**2, x)[1](v)[0],
          ug.grad(lambda x: x**2, per_example=True)(x)):
    assert r.devices() == {there}, r.devices()
print("kept")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["kept"], done.stderr[-2000:]
