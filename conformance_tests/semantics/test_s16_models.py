"""S16: differentiating a model's weights leaves the model bit-identical."""

import numpy as np
import pytest

import unigrad as ug

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # for a scripted module
    pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning"),  # MXNet in SciPy
]


class Planned(Exception):
    """What the loss of these tests raises."""


def _loss(apply, xp, inputs):
    def loss(params):
        y = apply(params, inputs)
        return xp.sum(y * y)

    def raising(params):
        apply(params, inputs)
        raise Planned

    return loss, raising


def _exercise(loss, raising, params, exact):
    gradient = ug.grad(loss)(params)
    ug.value_and_grad(loss)(params)
    ug.jvp(loss, params, {name: ug.get_backend(_of(p)).zeros_like(p) for name, p in params.items()})
    if exact:
        ug.hvp(loss, params, gradient)
    with pytest.raises(Planned):
        ug.grad(raising)(params)
    return gradient


def _of(leaf):
    return next(
        name
        for name, info in ug.backends().items()
        if info.installed and isinstance(leaf, ug.get_backend(name).array_types)
    )


# ---------------------------------------------------------------- torch


def _torch_model(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4),
        torch.nn.BatchNorm1d(4),
        torch.nn.Dropout(0.5),
        torch.nn.Tanh(),
        torch.nn.Linear(4, 1),
    ).double()


def _torch_state(model):
    return {
        "state": {k: v.detach().numpy().tobytes() for k, v in model.state_dict().items()},
        "identity": {k: id(p) for k, p in (*model.named_parameters(), *model.named_buffers())},
        "grad": {k: p.grad for k, p in model.named_parameters()},
        "requires": {k: p.requires_grad for k, p in model.named_parameters()},
        "mode": [m.training for m in model.modules()],
        "hooks": [dict(m._forward_hooks) for m in model.modules()],
    }


@pytest.mark.parametrize("mode", ["eval", "train", None])
@pytest.mark.parametrize("training", [True, False])
def test_s16_torch_modules(need, training, mode):
    """S16: parameters, buffers, running statistics, mode, hooks and .grad of an nn.Module."""
    need("torch")
    import torch

    model = _torch_model(torch).train(training)
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    inputs = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    apply, params = ug.functional(model, mode=mode)
    assert set(params) == {k for k, _ in model.named_parameters()}
    before = _torch_state(model)
    gradient = _exercise(*_loss(apply, torch, inputs), params, exact=True)
    assert _torch_state(model) == before
    assert len(calls) == 5  # one for each derivative of _exercise (S9)
    assert set(gradient) == set(params)


def test_s16_torch_gradients_are_those_of_backward(need):
    """S16: the same numbers as loss.backward(), which does write into the model."""
    need("torch")
    import torch

    model = _torch_model(torch).train()  # the default mode is "eval", whatever the model's
    inputs = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    apply, params = ug.functional(model)
    gradient = ug.grad(lambda p: (apply(p, inputs) ** 2).sum())(params)
    (model.eval()(inputs) ** 2).sum().backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(gradient[name], p.grad, rtol=1e-14)


def test_s16_torch_shared_frozen_and_scripted(need):
    """S16: tied weights are one parameter, frozen ones are none, scripted modules are refused."""
    need("torch")
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).double()
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    apply, params = ug.functional(model)
    assert set(params) == {"0.weight", "1.bias"}
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    gradient = ug.grad(lambda p: (apply(p, x) ** 2).sum())(params)
    (model(x) ** 2).sum().backward()
    np.testing.assert_allclose(gradient["0.weight"], model[0].weight.grad, rtol=1e-14)
    with pytest.raises(ug.errors.UnsupportedError, match="ScriptModule"):
        ug.functional(torch.jit.script(torch.nn.Linear(2, 2)))


# ---------------------------------------------------------------- Keras


@pytest.mark.parametrize("training", [True, False])
def test_s16_keras_models(need, training):
    """S16: variables, moving statistics and the seed generator of a Keras model."""
    need("tensorflow")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(1),
        ]
    )
    inputs = tf.reshape(tf.linspace(-1.0, 1.0, 15), (5, 3))
    apply, params = ug.functional(model, mode="train" if training else "eval")

    def state():
        values = [(v.path, v.numpy().tobytes()) for v in model.variables]
        seeds = [
            np.asarray(s.state).tobytes()
            for layer in model.layers
            for s in getattr(layer, "_seed_generators", [])
        ]
        return values, seeds, [v.trainable for v in model.variables], keras.config.floatx()

    before = state()
    loss, raising = _loss(apply, tf.experimental.numpy, inputs)
    gradient = _exercise(loss, raising, params, exact=True)
    assert state() == before
    if not training:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(model(inputs, training=False) ** 2)
        expected = tape.gradient(value, model.trainable_variables)
        got = ug.trees.flatten(gradient)[0]
        total = sum(float(tf.reduce_sum(g * g)) for g in got)
        wanted = sum(float(tf.reduce_sum(g * g)) for g in expected)
        np.testing.assert_allclose(total, wanted, rtol=1e-5)


# ---------------------------------------------------------------- Gluon


@pytest.mark.parametrize("hybrid", [False, True])
def test_s16_gluon_blocks(need, hybrid):
    """S16: parameters, gradient buffers, grad_req and running statistics of a Gluon block."""
    kit = need("mxnet")
    del kit
    import mxnet as mx

    mx.random.seed(0)
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(4, in_units=3))
    net.add(mx.gluon.nn.BatchNorm(in_channels=4))
    net.add(mx.gluon.nn.Dropout(0.5))
    net.add(mx.gluon.nn.Dense(1, in_units=4))
    net.initialize()
    if hybrid:
        net.hybridize()
    inputs = mx.nd.array(np.linspace(-1, 1, 15).reshape(5, 3))
    net(inputs)
    apply, params = ug.functional(net)

    def state():
        found = net.collect_params()
        return {
            name: (
                p.data().asnumpy().tobytes(),
                p.grad_req,
                None if p.grad_req == "null" else p.grad().asnumpy().tobytes(),
            )
            for name, p in found.items()
        }

    before = state()
    loss, raising = _loss(apply, mx.nd, inputs)
    gradient = ug.grad(loss)(params)
    ug.value_and_grad(loss)(params)
    with pytest.raises(Planned):
        ug.grad(raising)(params)
    assert state() == before
    assert not mx.autograd.is_recording()
    with mx.autograd.record(train_mode=False):
        value = mx.nd.sum(net(inputs) * net(inputs))
    value.backward()
    by_name = {p.name: p for p in net.collect_params().values()}
    names = [name for name in gradient if name in by_name or name in net.collect_params()]
    assert names


# ---------------------------------------------------------------- Flax


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_s16_flax_nnx_modules(need, mode):
    """S16: variables, flags, running statistics and random streams of an nnx module."""
    need("jax")
    nnx = pytest.importorskip("flax.nnx")
    import jax

    rngs = nnx.Rngs(0, dropout=1)
    model = nnx.Sequential(
        nnx.Linear(3, 4, rngs=rngs),
        nnx.BatchNorm(4, rngs=rngs),
        nnx.Dropout(0.5, rngs=rngs),
        nnx.Linear(4, 1, rngs=rngs),
    )
    inputs = jax.numpy.linspace(-1, 1, 15).reshape(5, 3)
    apply, params = ug.functional(model, mode=mode)

    def state():
        graph, leaves = nnx.split(model)
        found = [(id(x), x.dtype, str(np.asarray(_bits(x)))) for x in jax.tree.leaves(leaves)]
        return graph, found

    def _bits(x):
        return jax.random.key_data(x) if "key" in str(x.dtype) else x

    before = state()
    gradient = _exercise(*_loss(apply, jax.numpy, inputs), params, exact=True)
    assert state() == before
    twin = nnx.clone(model)
    getattr(twin, mode)()
    expected = nnx.grad(lambda m: (m(inputs) ** 2).sum())(twin)
    for path, g in nnx.to_flat_state(expected):
        name = "/".join(map(str, path))
        np.testing.assert_allclose(gradient[name], g[...], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_s16_flax_linen_modules(need, mode):
    """S16: the variables of a linen module, which are the user's own dict."""
    need("jax")
    nn = pytest.importorskip("flax.linen")
    import jax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
            return nn.Dense(1)(nn.Dropout(0.5, deterministic=not train)(x))

    inputs = jax.numpy.linspace(-1, 1, 15).reshape(5, 3)
    variables = Net().init(jax.random.key(0), inputs, train=False)
    apply, params = ug.functional((Net(), variables), mode=mode)
    before = [id(x) for x in jax.tree.leaves(variables)]
    gradient = _exercise(*_loss(lambda p, x: apply(p, x, seed=0), jax.numpy, inputs), params, True)
    assert [id(x) for x in jax.tree.leaves(variables)] == before

    def native(p):
        y, _ = Net().apply(
            {**variables, "params": p},
            inputs,
            train=mode == "train",
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return (y**2).sum()

    for layer, of in jax.grad(native)(variables["params"]).items():
        for name, g in of.items():
            np.testing.assert_allclose(gradient[f"{layer}/{name}"], g, rtol=1e-5, atol=1e-5)


def test_s16_what_is_no_model(kit):
    """S16: is refused with the list of what is; a pair (apply, params) is itself."""
    pair = (lambda p, x: p * x, kit.array(1.0))
    assert ug.functional(pair) is pair
    with pytest.raises(ug.errors.UnsupportedError, match="torch"):
        ug.functional(object())
