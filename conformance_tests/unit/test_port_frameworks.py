"""Weights between the frameworks' own layers: what lies otherwise there, or computes another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ArgumentError, ShapeError, StructureError
from unigrad.models import port

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")

jnp, nn = jax.numpy, torch.nn
RNGS = nnx.Rngs(0)


def moved(source: Any, target: Any, **options: Any) -> dict[str, Any]:
    """All of the one model's parameters and state as the other's."""
    apply, params = ug.functional(source)
    ported = port({**params, **apply.state}, source, target, **options)
    return {name: ug.to_numpy(x) for name, x in ported.items()}


class Own(nnx.Module):
    """Arrays of length 3, which nnx sorts by name."""

    def __init__(self, *names: str, shape: tuple[int, ...] = (3,)) -> None:
        for name in names:
            setattr(self, name, nnx.Param(jnp.zeros(shape)))

    def __call__(self, x: Any) -> Any:
        return x


def filled(module: Any) -> Any:
    """A norm whose weight is 2, bias 3, mean 4 and variance 5."""
    with torch.no_grad():
        for name, number in {"weight": 2, "bias": 3, "running_mean": 4, "running_var": 5}.items():
            array = getattr(module, name, None)
            if array is not None:
                array.fill_(number)
    return module


def first(arrays: dict[str, Any]) -> dict[str, float]:
    return {name: float(x[0]) for name, x in arrays.items()}


def test_an_instance_norm_is_a_layer():
    ours = filled(nn.InstanceNorm2d(3, eps=1e-6, affine=True))
    assert first(moved(ours, nnx.InstanceNorm(3, rngs=RNGS))) == {"bias": 3, "scale": 2}


def test_alike_arrays_of_no_layer_are_told_apart_by_their_names():
    assert first(moved(filled(nn.LayerNorm(3)), Own("scale", "bias"))) == {"bias": 3, "scale": 2}
    own = Own("gamma", "beta", "moving_mean", "moving_variance")
    wanted = {"beta": 3, "gamma": 2, "moving_mean": 4, "moving_variance": 5}
    assert first(moved(filled(nn.BatchNorm1d(3)), own)) == wanted


def test_alike_arrays_whose_names_say_nothing_need_a_mapping():
    ours = nn.Module()
    ours.norm = filled(nn.LayerNorm(3))
    own = Own("a", "z")
    with pytest.raises(StructureError, match="say which is which, type mapping="):
        moved(ours, own)
    mapping = {"norm.scale": "z", "norm.offset": "a"}
    assert first(moved(ours, own, mapping=mapping)) == {"a": 3, "z": 2}
    with pytest.raises(StructureError, match="say which is which"):
        moved(nn.LayerNorm(3, bias=False), Own("bias"))


def test_a_square_array_of_no_layer_needs_a_mapping_between_frameworks():
    ours = nn.Module()
    ours.w = nn.Parameter(torch.arange(9.0).reshape(3, 3))
    with pytest.raises(StructureError, match=r"mapping=\{'w': 'w'"):
        moved(ours, Own("w", shape=(3, 3)))
    assert moved(ours, Own("w", shape=(3, 3)), mapping={"w": "w"})["w"][0, 1] == 1
    assert moved(ours, ours)["w"][0, 1] == 1
    ours.w = nn.Parameter(torch.ones(1, 1, 3))
    assert moved(ours, Own("w", shape=(1, 1, 3)))["w"].shape == (1, 1, 3)


# ------------------------------------------------------------------ orders that were sorted


class Named(linen.Module):
    names: tuple[str | None, str | None]

    @linen.compact
    def __call__(self, x: Any) -> Any:
        for name in self.names:
            x = linen.Dense(4, name=name)(x)
        return x


def two() -> Any:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))


def test_a_sorted_dict_of_linen_needs_a_mapping():
    net = Named(("encoder", "decoder"))
    fresh = net.init(jax.random.key(0), jnp.ones((1, 4)))
    last = jax.tree.map(lambda x: x, fresh)
    ours = two()
    wanted = ours[0].weight.detach().numpy().T
    np.testing.assert_array_equal(moved(ours, (net, fresh))["encoder/kernel"], wanted)
    with pytest.raises(StructureError, match="say which is which"):
        moved(ours, (net, last))
    mapping = {"0": "encoder"}
    got = moved(ours, (net, last), mapping=mapping)
    np.testing.assert_array_equal(got["encoder/kernel"], wanted)
    same = moved((net, fresh), (net, last))
    np.testing.assert_array_equal(same["encoder/kernel"], fresh["params"]["encoder"]["kernel"])


@pytest.mark.parametrize("names", [(None, None), ("fc1", "fc2")])
def test_numbered_layers_of_linen_have_an_order(names):
    net = Named(names)
    variables = jax.tree.map(lambda x: x, net.init(jax.random.key(0), jnp.ones((1, 4))))
    ours, (one, _) = two(), variables["params"]
    got = moved(ours, (net, variables))[f"{one}/kernel"]
    np.testing.assert_array_equal(got, ours[0].weight.detach().numpy().T)


class Pair(nnx.Module):
    def __init__(self) -> None:
        self.encoder = nnx.Linear(4, 4, rngs=RNGS)
        self.decoder = nnx.Linear(4, 4, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        return self.decoder(self.encoder(x))


def test_a_clone_of_nnx_is_sorted():
    ours, net = two(), Pair()
    wanted = ours[0].weight.detach().numpy().T
    np.testing.assert_array_equal(moved(ours, net)["encoder/kernel"], wanted)
    copy = nnx.clone(net)
    with pytest.raises(StructureError, match="say which is which"):
        moved(ours, copy)
    np.testing.assert_array_equal(moved(net, copy)["encoder/kernel"], net.encoder.kernel[...])


# ------------------------------------------------------------------ recurrent layers


@pytest.mark.parametrize(
    ("cell", "fact"),
    [
        ({"activation_fn": nnx.relu}, "activation is 'tanh' and 'relu'"),
        ({"gate_fn": nnx.hard_sigmoid}, "gate_activation is 'sigmoid' and .*hard_sigmoid"),
    ],
)
@pytest.mark.parametrize("kind", [nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell])
def test_other_functions_within_a_cell_are_refused(kind, cell, fact):
    usual = kind(3, 5, rngs=RNGS)
    ours = usual if kind is nnx.GRUCell else nn.LSTM(3, 5)
    assert moved(ours, usual)
    with pytest.raises(StructureError, match=fact):
        moved(ours, kind(3, 5, **cell, rngs=RNGS))


def test_functions_of_the_users_own_are_compared_by_themselves():
    def sharper(x: Any) -> Any:
        return jnp.tanh(2 * x)

    def cell(function: Any) -> Any:
        return nnx.SimpleCell(3, 5, activation_fn=function, rngs=RNGS)

    assert moved(cell(sharper), cell(sharper))
    with pytest.raises(StructureError, match="activation"):
        moved(cell(lambda x: x), cell(lambda x: -x))
    sharper.__name__ = "tanh"
    with pytest.raises(StructureError, match="activation"):
        moved(nn.RNN(3, 5), cell(sharper))


def test_another_direction_is_refused():
    def rnn(reverse: bool) -> Any:
        return nnx.RNN(nnx.LSTMCell(3, 5, rngs=RNGS), reverse=reverse)

    ours = nn.LSTM(3, 5)
    assert moved(ours, rnn(False))
    with pytest.raises(StructureError, match=r"direction is 'forward' and 'backward'"):
        moved(ours, rnn(True))
    both = moved(nn.LSTM(3, 5, bidirectional=True), nnx.Bidirectional(rnn(False), rnn(False)))
    assert both["backward_rnn/cell/hi/kernel"].shape == (5, 5)


# ------------------------------------------------------------------ Keras and Gluon


def keras_net(shape: tuple[int, ...], kind: str, *args: Any, **options: Any) -> Any:
    keras = pytest.importorskip("keras")
    layer = getattr(keras.layers, kind)(*args, **options)
    return keras.Sequential([keras.layers.Input(shape), layer])


@pytest.mark.parametrize(
    ("kind", "options", "fact"),
    [
        ("LSTM", {"go_backwards": True}, "direction"),
        ("GRU", {"go_backwards": True}, "direction"),
        ("SimpleRNN", {"go_backwards": True}, "direction"),
        ("LSTM", {"activation": "relu"}, "activation"),
        ("GRU", {"recurrent_activation": "hard_sigmoid"}, "gate_activation"),
        ("SimpleRNN", {"activation": "relu"}, "activation"),
    ],
)
def test_recurrent_layers_of_keras_that_compute_another_thing(kind, options, fact):
    ours = getattr(nn, kind.removeprefix("Simple"))(3, 5)
    assert moved(keras_net((4, 3), kind, 5), ours)
    with pytest.raises(StructureError, match=f"{fact} is"):
        moved(keras_net((4, 3), kind, 5, **options), ours)
    assert moved(keras_net((4, 3), kind, 5, **options), keras_net((4, 3), kind, 5, **options))


@pytest.mark.parametrize("kind", ["SeparableConv1D", "SeparableConv2D"])
def test_separable_convolutions_go_to_their_like(kind):
    shape = (6, 3) if kind.endswith("1D") else (6, 6, 3)
    one, other = (keras_net(shape, kind, 5, 3, depth_multiplier=2) for _ in range(2))
    weights = [v.numpy() for v in one.trainable_variables]
    for got, wanted in zip(moved(one, other).values(), weights, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_activation_of_gluon():
    rnn = pytest.importorskip("unigrad_mxnet.framework", exc_type=ImportError).mx.gluon.rnn

    def built(layer: Any) -> Any:
        layer.initialize()
        return layer

    assert moved(nn.RNN(3, 5, nonlinearity="relu"), built(rnn.RNN(5, input_size=3)))
    with pytest.raises(StructureError, match="activation is 'tanh' and 'relu'"):
        moved(nn.RNN(3, 5), built(rnn.RNN(5, input_size=3)))
    with pytest.raises(StructureError, match="activation is 'relu' and 'tanh'"):
        moved(nn.RNNCell(3, 5, nonlinearity="relu"), built(rnn.RNNCell(5, input_size=3)))
    cell = rnn.LSTMCell(5, input_size=3, recurrent_activation="tanh")
    with pytest.raises(StructureError, match="gate_activation is 'sigmoid' and 'tanh'"):
        moved(nn.LSTMCell(3, 5), built(cell))


# ------------------------------------------------------------------ a flattened image alone


class Flat(nnx.Module):
    def __init__(self) -> None:
        self.fc = nnx.Linear(108, 5, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        return self.fc(x.reshape(x.shape[0], -1))


def test_a_flattened_image_without_a_convolution_can_be_said():
    ours, net = nn.Sequential(nn.Flatten(), nn.Linear(108, 5)), Flat()
    got = moved(ours, net, flatten={"1": (3, 6, 6)})
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype("float32")
    wanted = ours(torch.tensor(x)).detach().numpy()
    last = x.transpose(0, 2, 3, 1).reshape(2, -1)
    np.testing.assert_allclose(last @ got["fc/kernel"] + got["fc/bias"], wanted, atol=1e-5)
    back = moved(net, ours, flatten={"fc": (3, 6, 6)})["1.weight"]
    there = last @ np.asarray(net.fc.kernel[...])
    np.testing.assert_allclose(x.reshape(2, -1) @ back.T, there, atol=1e-5)
    with pytest.raises(ShapeError, match="makes 126 features"):
        moved(ours, net, flatten={"1": (3, 6, 7)})
    with pytest.raises(ArgumentError, match="same place"):
        moved(ours, ours, flatten={"1": (3, 6, 6)})
