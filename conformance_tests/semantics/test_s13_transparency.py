"""S13: the framework's own transforms work on unigrad code and differentiate through it."""

import numpy as np
import pytest

import unigrad as ug

pytestmark = [  # what torch's compiler imports, and what it looks at
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]


def cubes(x):
    return ug.array_namespace(x).sum(x * x * x)


# ---------------------------------------------------------------- JAX


def test_s13_jax_jit_vmap_and_grad(need):
    """S13: jax.jit, jax.vmap, jax.grad, jax.jacfwd and jax.hessian of unigrad code."""
    need("jax")
    import jax
    import jax.numpy as jnp

    x = jnp.array([1.0, 2.0])
    gradient = ug.grad(cubes)
    np.testing.assert_allclose(jax.jit(gradient)(x), [3.0, 12.0])
    np.testing.assert_allclose(jax.vmap(gradient)(jnp.stack([x, 2 * x])), [[3, 12], [12, 48]])
    np.testing.assert_allclose(jax.grad(lambda x: gradient(x).sum())(x), [6.0, 12.0])
    np.testing.assert_allclose(jax.jacfwd(gradient)(x), [[6.0, 0.0], [0.0, 12.0]])
    np.testing.assert_allclose(jax.jvp(gradient, (x,), (x,))[1], [6.0, 24.0])
    third = jax.hessian(lambda x: gradient(x).sum())(x)
    np.testing.assert_allclose(third, [[6.0, 0.0], [0.0, 6.0]])
    product = jax.jit(lambda x, v: ug.hvp(cubes, x, v))
    np.testing.assert_allclose(product(x, x), [6.0, 24.0])
    np.testing.assert_allclose(jax.jit(ug.hessian(cubes))(x), [[6.0, 0.0], [0.0, 12.0]])
    rows = jax.jit(ug.grad(lambda x: x * x, per_example=True))
    np.testing.assert_allclose(rows(x), [2.0, 4.0])
    mapped = jax.vmap(lambda x, v: ug.jvp(cubes, x, v)[1])
    np.testing.assert_allclose(mapped(jnp.stack([x, x]), jnp.stack([x, x])), [27.0, 27.0])


def test_s13_jax_errors_survive_a_trace(need):
    """S13: the checks of S2, S3 and S4 work on tracers."""
    need("jax")
    import jax
    import jax.numpy as jnp

    x = jnp.array([1.0, 2.0])
    with pytest.raises(ug.errors.ScalarOutputError):
        jax.jit(ug.grad(lambda x: x))(x)
    with pytest.raises(ug.errors.UnconnectedError, match="y"):
        jax.jit(ug.grad(lambda x, y: cubes(x), 1, unconnected="error"))(x, x)
    with pytest.raises(ug.errors.NotDifferentiableError):
        jax.jit(ug.grad(cubes))(jnp.array([1, 2]))


def test_s13_jax_custom_rules_under_transforms(need):
    """S13: ug.custom_vjp under jit, vmap, and with an integer argument that is traced."""
    need("jax")
    import jax
    import jax.numpy as jnp

    rule = ug.custom_vjp(lambda x, n: x * n)
    rule.defvjp(lambda x, n: (x * n, n), lambda n, u: (10.0 * n * u, None))
    gradient = ug.grad(rule)
    np.testing.assert_allclose(jax.jit(gradient)(2.0, jnp.array(3)), 30.0)
    got = jax.vmap(gradient)(jnp.array([1.0, 2.0]), jnp.array([3, 4]))
    np.testing.assert_allclose(got, [30.0, 40.0])


# ---------------------------------------------------------------- TensorFlow


def test_s13_tf_function(need):
    """S13: tf.function of unigrad code, first and second order."""
    kit = need("tensorflow")
    import tensorflow as tf

    x = kit.array([1.0, 2.0])
    kit.same(tf.function(ug.grad(cubes))(x), [3.0, 12.0])
    kit.same(tf.function(lambda x: ug.hvp(cubes, x, x))(x), [6.0, 24.0])
    kit.same(tf.function(ug.hessian(cubes))(x), [[6.0, 0.0], [0.0, 12.0]])
    kit.same(tf.function(ug.jacobian(lambda x: x * x))(x), [[2.0, 0.0], [0.0, 4.0]])
    kit.same(tf.function(lambda x: ug.jvp(cubes, x, x)[1])(x), 27.0)
    with pytest.raises(ug.errors.ScalarOutputError):
        tf.function(ug.grad(lambda x: x))(x)


def test_s13_tf_an_outer_tape(need):
    """S13: a GradientTape around unigrad code, for its input and for a closed-over variable."""
    kit = need("tensorflow")
    import tensorflow as tf

    x, v = tf.constant([1.0, 2.0], tf.float64), tf.Variable([3.0, 4.0], dtype=tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        gradient = ug.grad(lambda x: tf.reduce_sum(v * x * x * x))(x)
        total = tf.reduce_sum(gradient * gradient)
    kit.same(tape.gradient(total, x), 36.0 * np.array([9.0, 16.0]) * np.array([1.0, 8.0]))
    kit.same(tape.gradient(total, v), 18.0 * np.array([3.0, 4.0]) * np.array([1.0, 16.0]))

    @tf.function
    def step():
        with tf.GradientTape() as inner:
            gradient = ug.grad(lambda x: tf.reduce_sum(v * x * x * x))(x)
            total = tf.reduce_sum(gradient)
        return inner.gradient(total, v)

    kit.same(step(), [3.0, 12.0])


# ---------------------------------------------------------------- torch


def test_s13_torch_func_transforms(need):
    """S13: torch.func.vmap, grad, jacrev, jacfwd and hessian of unigrad code."""
    kit = need("torch")
    import torch

    x = kit.array([1.0, 2.0])
    rows = torch.stack([x, 2 * x])
    kit.same(torch.func.vmap(ug.grad(cubes))(rows), [[3.0, 12.0], [12.0, 48.0]])
    kit.same(torch.func.grad(lambda x: ug.grad(cubes)(x).sum())(x), [6.0, 12.0])
    kit.same(torch.func.jacrev(ug.grad(cubes))(x), [[6.0, 0.0], [0.0, 12.0]])
    kit.same(torch.func.jacfwd(ug.grad(cubes))(x), [[6.0, 0.0], [0.0, 12.0]])
    kit.same(torch.func.vmap(lambda x: ug.hvp(cubes, x, x))(rows), [[6.0, 24.0], [24.0, 96.0]])
    kit.same(torch.func.vmap(lambda x: ug.jvp(cubes, x, x)[1])(rows), [27.0, 216.0])
    kit.same(torch.func.vmap(ug.jacobian(lambda x: x * x))(rows)[1], [[4.0, 0.0], [0.0, 8.0]])
    third = torch.func.grad(lambda x: ug.hessian(cubes)(x).sum())
    kit.same(third(x), [6.0, 6.0])
    kit.same(ug.grad(lambda x: torch.func.grad(cubes)(x).sum())(x), [6.0, 12.0])
    kit.same(
        ug.hessian(lambda x: torch.func.vmap(torch.sin)(x).sum())(x), -np.diag(np.sin([1.0, 2.0]))
    )


def test_s13_torch_custom_rules_under_functorch(need):
    """S13: ug.custom_vjp inside torch.func.vmap, grad and jvp."""
    kit = need("torch")
    import torch

    cube = ug.custom_vjp(lambda x: x * x * x)
    cube.defvjp(lambda x: (x * x * x, x * x), lambda squared, u: (u * 3.0 * squared,))
    x = kit.array([1.0, 2.0])
    kit.same(torch.func.vmap(ug.grad(cube))(x), [3.0, 12.0])
    kit.same(torch.func.vmap(torch.func.grad(torch.func.grad(cube)))(x), [6.0, 12.0])
    kit.same(torch.func.jvp(cube, (x,), (x,))[1], [3.0, 24.0])
    kit.same(torch.func.jvp(torch.func.grad(lambda x: cube(x).sum()), (x,), (x,))[1], [6.0, 24.0])


def test_s13_torch_an_outer_graph(need):
    """S13: the result of a tensor that requires grad is part of its graph."""
    kit = need("torch")
    import torch

    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    for make, expected in (
        (lambda: ug.grad(cubes)(x).sum(), [6.0, 12.0]),
        (lambda: ug.hvp(cubes, x, torch.ones_like(x)).sum(), [6.0, 6.0]),
        (lambda: ug.hessian(cubes)(x).sum(), [6.0, 6.0]),
        (lambda: ug.jvp(cubes, x, torch.ones_like(x))[1], [6.0, 12.0]),
        (lambda: ug.vjp(cubes, x)[1](torch.ones((), dtype=x.dtype))[0].sum(), [6.0, 12.0]),
        (lambda: ug.jacobian(lambda x: x * x)(x).sum(), [2.0, 2.0]),
        (lambda: ug.value_and_grad(cubes)(x)[0], [3.0, 12.0]),
        (lambda: ug.grad(lambda x: (cubes(x), cubes(x)), has_aux=True)(x)[1], [3.0, 12.0]),
    ):
        (g,) = torch.autograd.grad(make(), x)
        kit.same(g, expected)
    assert x.grad is None
    with torch.no_grad():
        assert not ug.grad(cubes)(x).requires_grad


def test_s13_torch_a_gradient_penalty(need):
    """S13: inner gradient by a constant input, outer backward() by closed-over weights."""
    kit = need("torch")
    import torch

    w = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    x = kit.array([1.0, 2.0])

    def critic(x):
        return (w * x * x).sum()

    penalty = (ug.grad(critic)(x) ** 2).sum()  # Σ (2 w x)²
    penalty.backward()
    kit.same(w.grad, [24.0, 128.0])
    assert not x.requires_grad
    w.grad = None
    ug.hvp(critic, x, torch.ones_like(x)).sum().backward()  # Σ 2 w
    kit.same(w.grad, [2.0, 2.0])
    w.grad = None
    (ug.jvp(critic, x, torch.ones_like(x))[1]).backward()  # Σ 2 w x
    kit.same(w.grad, [2.0, 4.0])
    w.grad = None
    ug.jacobian(lambda x: w * x * x)(x).sum().backward()
    kit.same(w.grad, [2.0, 4.0])
    w.grad = None
    ug.hessian(critic)(x).sum().backward()
    kit.same(w.grad, [2.0, 2.0])


def test_s13_torch_modes_of_the_caller(need):
    """S13: under no_grad and inference_mode derivatives are right and carry no graph."""
    kit = need("torch")
    import torch

    x = kit.array([1.0, 2.0])
    p = torch.nn.Parameter(x.clone())
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            for leaf in (x, p, x * 1.0):
                kit.same(ug.grad(cubes)(leaf), [3.0, 12.0])
                kit.same(ug.hvp(cubes, leaf, torch.ones_like(leaf)), [6.0, 12.0])
                kit.same(ug.jvp(cubes, leaf, torch.ones_like(leaf))[1], 15.0)
                kit.same(ug.hessian(cubes)(leaf), [[6.0, 0.0], [0.0, 12.0]])
                assert not ug.grad(cubes)(leaf).requires_grad


def test_s13_torch_hooks_functions_and_checkpoints(need):
    """S13: the user's own autograd.Function, tensor hooks and checkpoints inside f."""
    kit = need("torch")
    import torch
    from torch.utils.checkpoint import checkpoint

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, u):
            return 2.0 * u

    x = kit.array([1.0, 2.0])
    kit.same(ug.grad(lambda x: cubes(Doubled.apply(x)))(x), [6.0, 24.0])

    def hooked(x):
        y = x * x
        y.register_hook(lambda g: 10.0 * g)
        return y.sum()

    kit.same(ug.grad(hooked)(x), [20.0, 40.0])
    wrapped = ug.grad(lambda x: checkpoint(cubes, x, use_reentrant=False))
    kit.same(wrapped(x), [3.0, 12.0])
    kit.same(ug.hvp(lambda x: checkpoint(cubes, x, use_reentrant=False), x, x), [6.0, 24.0])

    def in_place(x):
        y = x.clone()
        y[0] = x[1] * x[0]
        y.mul_(x)
        return y.sum()  # x0² x1 + x1²

    kit.same(ug.grad(in_place)(x), [4.0, 5.0])
    kit.same(ug.hessian(in_place)(x), [[4.0, 2.0], [2.0, 2.0]])


def test_s13_torch_compile(need):
    """S13: torch.compile of a gradient, in one graph."""
    kit = need("torch")
    import torch

    torch.compiler.reset()  # what other tests compiled and failed to compile is remembered
    x = kit.array([1.0, 2.0])
    kit.same(torch.compile(ug.grad(cubes), backend="eager", fullgraph=True)(x), [3.0, 12.0])


# ---------------------------------------------------------------- ug.jit


def test_s13_jit_is_the_function(kit):
    """S13: ug.jit changes no value, on backends without a compiler either."""
    x, v = kit.array([1.0, 2.0]), kit.array([1.0, -1.0])
    kit.same(ug.jit(ug.grad(cubes))(x), [3.0, 12.0])
    if kit.capabilities.second_order:
        kit.same(ug.jit(lambda x, v: ug.hvp(cubes, x, v))(x, v), [6.0, -12.0])
    kit.same(ug.grad(ug.jit(cubes))(x), [3.0, 12.0])


def test_s13_jit_signatures(kit):
    """S13: every shape, structure and constant is a signature of its own."""

    def f(x, scale=1.0, flag=True, extra=None):
        total = x * scale if flag else x
        return {"y": total, "n": x.shape[0], "extra": extra}

    compiled = ug.jit(f)
    short, long = kit.array([1.0, 2.0]), kit.array([1.0, 2.0, 3.0])
    assert [compiled(x)["n"] for x in (short, long, short)] == [2, 3, 2]
    kit.same(compiled(long, 2.0)["y"], [2.0, 4.0, 6.0])
    kit.same(compiled(long, 3.0)["y"], [3.0, 6.0, 9.0])
    kit.same(compiled(long, scale=3.0, flag=False)["y"], [1.0, 2.0, 3.0])
    assert compiled(short, extra="text")["extra"] == "text"
    if kit.name != "torch":  # torch.compile itself takes -0.0 for 0.0
        signed = ug.jit(_signed)
        assert [kit.numpy(signed(short, s))[0] for s in (0.0, -0.0, 0.0)] == [1.0, -1.0, 1.0]


def _signed(x, s):
    import math

    return x * math.copysign(1.0, s)


def test_s13_jit_refuses_what_it_cannot_key(need):
    """S13: a leaf that is no array and has no hash is refused with a reason."""
    kit = need("torch")
    with pytest.raises(ug.errors.ArgumentError, match="cannot be hashed"):
        ug.jit(lambda x, s: x)(kit.array(1.0), {1, 2})
