"""S3: an input that the output does not depend on has a zero derivative, never None or a crash."""

import pytest

import unigrad as ug


def only_first(x, y):
    return ug.array_namespace(x).sum(x * x)


def linear(x, y):
    return ug.array_namespace(x).sum(3.0 * x)


def test_s3_zeros_for_grad(kit):
    """S3: zeros of the leaf's own shape and dtype."""
    x, y = kit.array([1.0, 2.0]), kit.array([[1.0], [2.0]], "float32")
    gx, gy = ug.grad(only_first, argnums=(0, 1))(x, y)
    kit.same(gx, [2.0, 4.0])
    kit.same(gy, [[0.0], [0.0]])
    assert kit.dtype(gy) == "float32"
    assert kit.dtype(ug.grad(only_first, argnums=1)(x, y)) == "float32"


def test_s3_zeros_for_every_first_order_operator(kit):
    """S3: vjp, jvp, jacobian and per_example give zeros too."""
    x, y = kit.array([1.0, 2.0]), kit.array([3.0, 4.0])
    _, pullback = ug.vjp(lambda x, y: x * x, x, y)
    kit.same(pullback(x)[1], [0.0, 0.0])
    _, tangent = ug.jvp(lambda x, y: x * x, (x, y), (kit.array([0.0, 0.0]), y))
    kit.same(tangent, [0.0, 0.0])
    kit.same(ug.jacobian(lambda x, y: x * x, argnums=1)(x, y), [[0.0, 0.0], [0.0, 0.0]])
    rows = ug.grad(lambda x, y: x * x, argnums=1, per_example=True)(x, y)
    kit.same(rows, [0.0, 0.0])


def test_s3_a_constant_function(kit):
    """S3: a function of nothing has zero derivatives, as an array or as a Python number."""
    x = kit.array([1.0, 2.0])
    one = kit.array(1.0)
    for constant in (lambda x: 3.0, lambda x: one):
        kit.same(ug.grad(constant)(x), [0.0, 0.0])
        value, gradient = ug.value_and_grad(constant)(x)
        assert kit.owns(value)
        kit.same(gradient, [0.0, 0.0])
        kit.same(ug.jacobian(constant)(x), [0.0, 0.0])
        kit.same(ug.jvp(constant, x, x)[1], 0.0)
        kit.same(ug.vjp(constant, x)[1](one)[0], [0.0, 0.0])


def test_s3_a_constant_function_at_second_order(exact_kit):
    """S3: and zero second derivatives."""
    kit = exact_kit
    x = kit.array([1.0, 2.0])
    for method in ("auto", "forward_over_reverse", "reverse_over_reverse"):
        kit.same(ug.hvp(lambda x: 3.0, x, x, method=method), [0.0, 0.0])
    kit.same(ug.hessian(lambda x: 3.0)(x), [[0.0, 0.0], [0.0, 0.0]])


def test_s3_second_derivative_of_a_linear_function(exact_kit):
    """S3: zeros everywhere, for every operator and method."""
    kit = exact_kit
    x, y = kit.array([1.0, 2.0]), kit.array([3.0, 4.0])
    for method in ("auto", "forward_over_reverse", "reverse_over_reverse"):
        product = ug.hvp(linear, (x, y), (x, y), argnums=(0, 1), method=method)
        for leaf in product:
            kit.same(leaf, [0.0, 0.0])
    for row in ug.hessian(linear, argnums=(0, 1))(x, y):
        for block in row:
            kit.same(block, [[0.0, 0.0], [0.0, 0.0]])
    kit.same(ug.jacobian(ug.grad(linear))(x, y), [[0.0, 0.0], [0.0, 0.0]])
    kit.same(ug.jacobian(ug.jacobian(linear))(x, y), [[0.0, 0.0], [0.0, 0.0]])
    third = ug.jacobian(ug.hessian(lambda x: ug.array_namespace(x).sum(x * x)))(x)
    assert kit.shape(third) == (2, 2, 2)
    assert not kit.numpy(third).any()


def test_s3_mixed_second_derivatives_of_a_sum(exact_kit):
    """S3: no connection between the variables of a sum of functions, in either order."""
    kit = exact_kit
    x, y = kit.array([1.0]), kit.array([2.0, 3.0])

    def f(x, y):
        xp = ug.array_namespace(x)
        return xp.sum(x * x * x) + xp.sum(y * y)

    (xx, xy), (yx, yy) = ug.hessian(f, argnums=(0, 1))(x, y)
    kit.same(xx, [[6.0]])
    kit.same(xy, [[0.0, 0.0]])
    kit.same(yx, [[0.0], [0.0]])
    kit.same(yy, [[2.0, 0.0], [0.0, 2.0]])


def test_s3_unconnected_error_names_the_leaf(kit):
    """S3: unconnected="error" raises, with the path of the leaf."""
    params = {"used": kit.array([1.0]), "unused": [kit.array([2.0])]}

    def f(params):
        return ug.array_namespace(params["used"]).sum(params["used"] * params["used"])

    for operator in (ug.grad, ug.value_and_grad):
        with pytest.raises(ug.errors.UnconnectedError, match=r"params\['unused'\]\[0\]"):
            operator(f, unconnected="error")(params)
    with pytest.raises(ug.errors.UnconnectedError, match="unconnected='zeros'"):
        ug.grad(only_first, 1, unconnected="error")(params["used"], params["used"])


def test_s3_connected_with_zero_slope_is_no_error(kit):
    """S3: a derivative that is zero is not a missing connection."""
    x = kit.array([0.0, 0.0])
    gradient = ug.grad(lambda x: ug.array_namespace(x).sum(x * x), unconnected="error")(x)
    kit.same(gradient, [0.0, 0.0])


def test_s3_per_example_can_ask_for_connections(kit):
    """S3: unconnected="error" and per_example=True go together."""
    x = kit.array([1.0, 2.0])
    with pytest.raises(ug.errors.UnconnectedError, match="y"):
        ug.grad(lambda x, y: x * x, 1, per_example=True, unconnected="error")(x, x)


def test_s3_stop_gradient_disconnects(kit):
    """S3: what only passes through stop_gradient is unconnected."""
    x = kit.array([1.0, 2.0])

    def stopped(x):
        return ug.array_namespace(x).sum(ug.stop_gradient(x * x))

    kit.same(ug.grad(stopped)(x), [0.0, 0.0])
    with pytest.raises(ug.errors.UnconnectedError):
        ug.grad(stopped, unconnected="error")(x)


def test_s3_jax_scan_is_followed_through_its_steps(need):
    """S3: a leaf that reaches the output only after several steps of a scan is connected."""
    need("jax")
    import jax

    def f(y):
        def step(carry, _):
            _, second, third = carry
            return (second, third, third), None

        zero = jax.numpy.zeros(())
        (first, _, _), _ = jax.lax.scan(step, (zero, zero, y), None, length=3)
        return first

    assert float(ug.grad(f, unconnected="error")(jax.numpy.ones(()))) == 1.0


def test_s3_empty_arrays(kit):
    """S3: leaves without entries have derivatives without entries."""
    if not kit.capabilities.zero_size:
        pytest.skip(f"{kit.name} has no empty arrays")
    x = kit.array([])
    assert kit.shape(ug.grad(lambda x: ug.array_namespace(x).sum(x * x))(x)) == (0,)
    assert kit.shape(ug.jacobian(lambda x: x * x)(x)) == (0, 0)
    assert kit.shape(ug.jvp(lambda x: x * x, x, x)[1]) == (0,)
    assert kit.shape(ug.vjp(lambda x: x * x, x)[1](x)[0]) == (0,)


def test_s3_an_argument_without_leaves(kit):
    """S3: an empty tree has an empty gradient."""
    x = kit.array([1.0])
    assert ug.grad(lambda p, x: ug.array_namespace(x).sum(x))({}, x) == {}
    assert ug.grad(lambda p, x: ug.array_namespace(x).sum(x))(None, x) is None
