"""S5: nothing of the user's or of the process is changed, by success or by failure."""

import contextlib

import numpy as np
import pytest

import unigrad as ug
from unigrad import trees

pytestmark = [  # what torch's compiler imports, and what it looks at
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]


class Planned(Exception):
    """What the functions of these tests raise."""


def loss(x, y):
    xp = ug.array_namespace(x)
    return xp.sum(x * x * y)


def raising(x, y):
    loss(x, y)
    raise Planned


def aux_loss(x, y):
    return loss(x, y), {"x": x, "y": y, "n": 1}


def nested(x, y):
    return loss(ug.grad(loss)(x, y), y)


def _twice(pulled, *args):
    value, pullback, *rest = pulled
    return pullback(*args), pullback(*args), value, rest


cube = ug.custom_vjp(lambda x: x * x * x)
cube.defvjp(lambda x: (x * x * x, x), lambda x, u: (u * 3.0 * x * x,))

FIRST_ORDER = {
    "grad": lambda x, y: ug.grad(loss)(x, y),
    "grad both": lambda x, y: ug.grad(loss, (0, 1))(x, y),
    "grad by name": lambda x, y: ug.grad(loss, "y")(x, y=y),
    "grad aux": lambda x, y: ug.grad(aux_loss, has_aux=True)(x, y),
    "grad unconnected": lambda x, y: ug.grad(loss, unconnected="error")(x, y),
    "grad reduced": lambda x, y: ug.grad(lambda x, y: x * y, reduce="mean")(x, y),
    "per example": lambda x, y: ug.grad(lambda x, y: x * y, per_example=True)(x, y),
    "interacting examples": lambda x, y: ug.grad(lambda x, y: x * loss(x, y), per_example=True)(
        x, y
    ),
    "value_and_grad": lambda x, y: ug.value_and_grad(loss)(x, y),
    "vjp": lambda x, y: _twice(ug.vjp(lambda x: x * y, x), y),
    "vjp aux": lambda x, y: _twice(ug.vjp(lambda x: (x * y, x), x, has_aux=True), y),
    "vjp identity": lambda x, y: _twice(ug.vjp(lambda x: x, x), y),
    "jvp": lambda x, y: ug.jvp(lambda x: x * y, x, y),
    "jvp identity": lambda x, y: ug.jvp(lambda x: x, x, y),
    "jacobian": lambda x, y: ug.jacobian(lambda x, y: x * y)(x, y),
    "jacobian forward": lambda x, y: ug.jacobian(lambda x, y: x * y, mode="forward")(x, y),
    "stop_gradient": lambda x, y: ug.grad(lambda x: loss(x, ug.stop_gradient(x)))(x),
    "custom_vjp": lambda x, y: ug.grad(lambda x: loss(cube(x), y))(x),
    "jit": lambda x, y: ug.jit(ug.grad(loss))(x, y),
    "explain": lambda x, y: ug.explain(ug.grad, loss, x, y),
    "asarray": lambda x, y: ug.asarray({"x": x, "y": [y]}),
    "to_numpy": lambda x, y: ug.to_numpy({"x": x, "y": [y]}),
    "array_namespace": lambda x, y: ug.array_namespace(x, y),
    "backends": lambda x, y: repr(ug.backends()),
    "finite_difference": lambda x, y: ug.hvp(loss, (x, y), y, method="finite_difference"),
}
SECOND_ORDER = {
    "hvp": lambda x, y: ug.hvp(loss, (x, y), y),
    "hvp forward": lambda x, y: ug.hvp(loss, (x, y), y, method="forward_over_reverse"),
    "hvp reverse": lambda x, y: ug.hvp(loss, (x, y), y, method="reverse_over_reverse"),
    "value_grad_and_hvp": lambda x, y: ug.value_grad_and_hvp(aux_loss, (x, y), y, has_aux=True),
    "hessian": lambda x, y: ug.hessian(loss, (0, 1))(x, y),
    "nested": lambda x, y: ug.grad(nested)(x, y),
    "custom twice": lambda x, y: ug.hvp(lambda x: loss(cube(x), y), x, y),
}
FAILURES = {
    "vector": lambda x, y: ug.grad(lambda x: x)(x),
    "tree": lambda x, y: ug.grad(lambda x: (x, x))(x),
    "integer": lambda x, y: ug.grad(lambda n: n)(3),
    "tangent": lambda x, y: ug.jvp(lambda x: x, x, ug.to_numpy(y)[:1]),
    "cotangent": lambda x, y: ug.vjp(lambda x: x, x)[1]((y, y)),
    "unconnected": lambda x, y: ug.grad(lambda x, y: loss(y, y), unconnected="error")(x, y),
    "argnums": lambda x, y: ug.grad(loss, "z")(x, y),
    "raising grad": lambda x, y: ug.grad(raising)(x, y),
    "raising nested": lambda x, y: ug.grad(lambda x: loss(ug.grad(raising)(x, y), y))(x),
    "raising vjp": lambda x, y: ug.vjp(raising, x, y),
    "raising jvp": lambda x, y: ug.jvp(raising, (x, y), (x, y)),
    "raising jacobian": lambda x, y: ug.jacobian(raising)(x, y),
    "raising hvp": lambda x, y: ug.hvp(raising, (x, y), y),
    "raising hessian": lambda x, y: ug.hessian(raising)(x, y),
    "raising per example": lambda x, y: ug.grad(raising, per_example=True)(x, y),
    "raising jit": lambda x, y: ug.jit(ug.grad(raising))(x, y),
    "raising scope": lambda x, y: _raise_in_scope(x),
}
EVERYTHING = {**FIRST_ORDER, **SECOND_ORDER, **FAILURES}


def _raise_in_scope(x):
    with ug.use("numpy"):
        raise Planned


def _checked(kit, flags, call):
    x, y = kit.array([1.0, 2.0]), kit.array([3.0, -4.0])
    bits = kit.numpy(x).tobytes(), kit.numpy(y).tobytes()
    # A framework may complete its own imports at the first call: filters, cache directories.
    for lazy in ({"environment", "warnings"}, set()):
        before = flags()
        with contextlib.suppress(Planned, ug.errors.UnigradError):
            call(x, y)
        after = flags()
        for key in before.keys() - lazy:
            assert after[key] == before[key], f"{key} changed"
    assert (kit.numpy(x).tobytes(), kit.numpy(y).tobytes()) == bits
    return x, y


@pytest.mark.parametrize("operator", EVERYTHING)
def test_s5_no_flag_and_no_input_is_changed(kit, flags, operator):
    """S5: every operator, exceptions included, leaves flags, inputs and buffers alone."""
    call = EVERYTHING[operator]
    if operator in SECOND_ORDER and not kit.capabilities.second_order:
        with pytest.raises(ug.errors.HigherOrderError):
            call(kit.array([1.0, 2.0]), kit.array([1.0, 2.0]))
    _checked(kit, flags, call)


@pytest.mark.parametrize("operator", EVERYTHING)
def test_s5_torch_tensors_are_left_alone(need, flags, operator):
    """S5: .grad stays None, requires_grad as it was, no hook and no graph on the user's tensor."""
    kit = need("torch")
    import torch

    x, y = _checked(kit, flags, EVERYTHING[operator])
    for tensor in (x, y):
        assert tensor.grad is None
        assert not tensor.requires_grad
        assert tensor.grad_fn is None
        assert tensor._backward_hooks is None
        assert not _written(tensor)
    p = torch.nn.Parameter(x.clone())
    with contextlib.suppress(Planned, ug.errors.UnigradError):
        EVERYTHING[operator](p, y)
    assert p.grad is None
    assert p.requires_grad
    assert p.is_leaf
    assert not _written(p)


def _written(tensor):
    """Attributes of the tensor, but for the note that torch.compile itself leaves on its inputs."""
    return set(vars(tensor)) - {"_dynamo_static_input_type"}


@pytest.mark.parametrize("flavour", ["np", "nd"])
@pytest.mark.parametrize("operator", EVERYTHING)
def test_s5_mxnet_arrays_get_no_gradient_buffer(need, flags, operator, flavour):
    """S5: no gradient buffer is attached, and NumPy mode is not switched, for either class."""
    kit = need("mxnet")
    x, y = kit.array([1.0, 2.0], "float32"), kit.array([3.0, -4.0], "float32")
    if flavour == "nd":
        x, y = x.as_nd_ndarray(), y.as_nd_ndarray()
    before = flags()
    with contextlib.suppress(Planned, ug.errors.UnigradError):
        EVERYTHING[operator](x, y)
    assert flags()["mxnet"] == before["mxnet"]
    assert x.grad is None
    assert y.grad is None


def test_s5_tensorflow_variables_are_left_alone(need):
    """S5: a variable that is differentiated is read, not assigned."""
    need("tensorflow")
    import tensorflow as tf

    v = tf.Variable([1.0, 2.0])
    gradient = ug.grad(lambda v: tf.reduce_sum(v * v))(v)
    assert isinstance(gradient, tf.Tensor)
    assert v.numpy().tolist() == [1.0, 2.0]
    assert v.trainable


def _arrays(tree):
    leaves, _ = trees.flatten(tree)
    return [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]


RESULTS = {
    "grad": lambda x, y: ug.grad(lambda x: loss(x, y), backend=None)(x),
    "value": lambda x, y: ug.value_and_grad(lambda x: x * 1.0 if x.shape == () else loss(x, y))(x),
    "aux": lambda x, y: ug.grad(aux_loss, has_aux=True)(x, y),
    "aux of vjp": lambda x, y: ug.vjp(lambda x: (x, {"x": x, "y": y * 1.0}), x, has_aux=True)[::2],
    "aux of jvp": lambda x, y: ug.jvp(lambda x: (x, x), x, y, has_aux=True),
    "identity pullback": lambda x, y: ug.vjp(lambda x: x, x)[1](y),
    "identity value": lambda x, y: ug.vjp(lambda x: x, x)[0],
    "identity jvp": lambda x, y: ug.jvp(lambda x: x, x, y),
    "identity tree": lambda x, y: ug.vjp(lambda x, z: {"x": x, "z": z}, x, x)[1]({"x": y, "z": y}),
    "linear in data": lambda x, y: ug.grad(lambda x, y: ug.array_namespace(x).sum(x * y))(x, y),
    "view": lambda x, y: ug.vjp(lambda x: x[:1], x)[0],
    "asarray": lambda x, y: ug.asarray([x, y]),
    "to_numpy": lambda x, y: ug.to_numpy([x, y]),
}
RESULTS_OF_SECOND_ORDER = {
    "hvp of a square": lambda x, y: ug.hvp(lambda x: ug.array_namespace(x).sum(x * x) * 0.5, x, y),
    "gradient of a square": lambda x, y: ug.value_grad_and_hvp(
        lambda x: ug.array_namespace(x).sum(x * x) * 0.5, x, y
    ),
}


@pytest.mark.parametrize("name", [*RESULTS, *RESULTS_OF_SECOND_ORDER])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_s5_results_never_share_memory_with_inputs(need, backend, name):
    """S5: writing into a result changes no input, and no other result."""
    kit = need(backend)
    x, y = kit.array([1.0, 2.0]), kit.array([3.0, -4.0])
    result = {**RESULTS, **RESULTS_OF_SECOND_ORDER}[name](x, y)
    leaves = [leaf for leaf in trees.flatten(result)[0] if hasattr(leaf, "shape")]
    assert leaves
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, np.generic):
            continue  # cannot be written at all
        others = [np.array(ug.to_numpy(other)) for other in leaves[k + 1 :]]
        leaf[...] = 77.0
        for other, before in zip(leaves[k + 1 :], others, strict=True):
            np.testing.assert_array_equal(ug.to_numpy(other), before)
    assert kit.numpy(x).tolist() == [1.0, 2.0]
    assert kit.numpy(y).tolist() == [3.0, -4.0]


@pytest.mark.parametrize("name", RESULTS)
def test_s5_mxnet_results_never_share_memory_with_inputs(need, name):
    """S5: the same for MXNet, whose arrays can be written too."""
    kit = need("mxnet")
    x, y = kit.array([1.0, 2.0]), kit.array([3.0, -4.0])
    for leaf in trees.flatten(RESULTS[name](x, y))[0]:
        if kit.owns(leaf) and kit.shape(leaf):
            leaf[:] = 77.0
    assert kit.numpy(x).tolist() == [1.0, 2.0]
    assert kit.numpy(y).tolist() == [3.0, -4.0]


def test_s5_a_pullback_keeps_the_point_it_was_made_at(need):
    """S5: writing into the input afterwards cannot change what the pullback says."""
    for name in ("numpy", "mxnet"):
        kit = need(name)
        x = kit.array([1.0, 2.0])
        _, pullback = ug.vjp(lambda x: x * x, x)
        x[:] = 100.0
        kit.same(pullback(kit.array([1.0, 1.0]))[0], [2.0, 4.0])


def test_s5_a_torch_pullback_refuses_a_changed_point(need):
    """S5: torch notices the write; a wrong number it never is."""
    kit = need("torch")
    x = kit.array([1.0, 2.0])
    _, pullback = ug.vjp(lambda x: x * x, x)
    x[:] = 100.0
    with pytest.raises(RuntimeError, match="inplace"):
        pullback(kit.array([1.0, 1.0]))


def test_s5_a_second_call_does_not_accumulate(kit):
    """S5: the classic wrong answer: a second call on the same array doubling the gradient."""
    x = kit.array([1.0, 2.0])
    gradient = ug.grad(lambda x: ug.array_namespace(x).sum(x * x))
    kit.same(gradient(x), [2.0, 4.0])
    kit.same(gradient(x), [2.0, 4.0])
    kit.same(gradient(kit.array([5.0])), [10.0])


def test_s5_random_streams_advance_only_as_f_does(kit, flags):
    """S5: no operator draws from a global stream, not even the check of per_example."""
    x = kit.array([[1.0], [2.0]])
    before = flags()
    ug.grad(lambda x: ug.array_namespace(x).sum(x * x, axis=1), per_example=True)(x)
    after = flags()
    assert before["numpy random"] == after["numpy random"]
    assert before["python random"] == after["python random"]


def test_s5_torch_results_carry_no_graph(need):
    """S5: of plain tensors the results are plain: no graph of ours is left behind."""
    kit = need("torch")
    x, y = kit.array([1.0, 2.0]), kit.array([3.0, -4.0])
    for call in {**RESULTS, **RESULTS_OF_SECOND_ORDER}.values():
        for leaf in trees.flatten(call(x, y))[0]:
            if kit.owns(leaf):
                assert not leaf.requires_grad
