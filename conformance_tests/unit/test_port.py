"""Weights between models: what matches what, what is refused, and what the errors say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad import layouts
from unigrad.errors import ArgumentError, ShapeError, StructureError, UnsupportedError
from unigrad.models import Apply, port
from unigrad.stateless import ModelOptions, StatelessModel

NUMPY = ug.get_backend("numpy")


class Listed(StatelessModel):
    """A model that is nothing but a list of its layers and arrays."""

    def __init__(self, layers: Any, params: Any, state: Any = None) -> None:
        self.name, self._layers = "Listed", layers
        self._params, self._state = params, state or {}

    def params(self) -> Any:
        return dict(self._params)

    def state(self) -> Any:
        return dict(self._state)

    def layers(self) -> Any:
        return self._layers

    def call(self, params: Any, state: Any, inputs: Any, options: Any, seed: Any) -> Any:
        raise NotImplementedError

    def assign(self, values: Any) -> None:
        raise NotImplementedError


def listed(layers: Any, state: Any = None, **shapes: tuple[int, ...]) -> Any:
    """An ``apply`` of these layers; the last _ of a name stands for its dot."""
    rng = np.random.default_rng(len(shapes))
    params = {
        ".".join(name.rsplit("_", 1)): rng.normal(size=shape) for name, shape in shapes.items()
    }
    model = Listed(layers, params, state)
    return Apply(model, NUMPY, ModelOptions(), params, False)


def ours(*widths: int, bias: bool = True) -> Any:
    """Dense layers fc0, fc1, ... as torch has them."""
    layers, shapes = [], {}
    for k in range(len(widths) - 1):
        name = f"fc{k}.bias" if bias else None
        layers.append(layouts.dense(f"fc{k}", weight=f"fc{k}.weight", bias=name))
        shapes[f"fc{k}_weight"] = (widths[k + 1], widths[k])
        if bias:
            shapes[f"fc{k}_bias"] = (widths[k + 1],)
    return listed(layers, **shapes)


def theirs(*widths: int, names: Any = None, bias: bool = True) -> Any:
    """Dense layers as Keras has them."""
    layers, shapes = [], {}
    for k in range(len(widths) - 1):
        path = f"dense{k}" if names is None else names[k]
        name = f"{path}.b" if bias else None
        layers.append(layouts.dense(path, weight=f"{path}.k", bias=name, transposed=True))
        shapes[f"{path}_k"] = (widths[k], widths[k + 1])
        if bias:
            shapes[f"{path}_b"] = (widths[k + 1],)
    return listed(layers, **shapes)


def image(last: bool, *tail: Any, window: int = 3, **shapes: tuple[int, ...]) -> Any:
    """A convolution of 2 channels to 4, and layers behind it."""
    name = "w" if last else "weight"
    size = (window, window, 2, 4) if last else (4, 2, window, window)
    order = "HWIO" if last else "OIHW"
    conv = layouts.conv("conv", weight=f"conv.{name}", order=order, channels_last=last)
    return listed([conv, *tail], **{f"conv_{name}": size}, **shapes)


def params_of(apply: Any) -> Any:
    return apply.model.params()


def test_by_order_kind_and_shape():
    a, b = ours(3, 5, 5, 5, 2), theirs(3, 5, 5, 5, 2)
    p = params_of(a)
    moved = port(p, a, b)
    assert list(moved) == list(params_of(b))
    for k in range(4):
        np.testing.assert_array_equal(moved[f"dense{k}.k"], p[f"fc{k}.weight"].T)
        np.testing.assert_array_equal(moved[f"dense{k}.b"], p[f"fc{k}.bias"])
    back = port(moved, b, a)
    assert all(np.array_equal(back[name], p[name]) for name in p)


def test_results_are_copies_of_the_same_dtype():
    a = ours(3, 5)
    p = {name: x.astype(np.float32) for name, x in params_of(a).items()}
    moved = port(p, a, a)
    for name, x in moved.items():
        assert x.dtype == np.float32
        assert not np.shares_memory(x, p[name])


def test_derivatives_go_through_in_numpy():
    a, b = ours(3, 5, 2), theirs(3, 5, 2)
    p = params_of(a)
    _, pull = ug.vjp(lambda p: port(p, a, b, backend="numpy"), p)
    (pulled,) = pull(params_of(b))
    wanted = port(params_of(b), b, a)
    assert all(np.array_equal(pulled[name], wanted[name]) for name in p)


def test_a_derivative_into_another_framework_is_refused():
    torch = pytest.importorskip("torch")
    a, net = ours(3, 5), torch.nn.Linear(3, 5)
    with pytest.raises(UnsupportedError, match="backend='numpy'"):
        ug.grad(lambda p: port(p, a, net)["weight"].sum())(params_of(a))


def test_other_widths_are_shown_in_two_columns():
    with pytest.raises(StructureError) as caught:
        port(params_of(ours(3, 5, 2)), ours(3, 5, 2), theirs(3, 6, 2))
    text = str(caught.value)
    assert "from_model (Listed) has" in text
    assert "to_model (Listed) has" in text
    row = next(line for line in text.splitlines() if "'fc0'" in line)
    assert "dense, weight (5, 3), bias (5,)" in row
    assert "'dense0': dense, weight (6, 3)" in row
    assert "mapping={'fc0': 'dense0', ...}" in text


def test_another_count_of_layers_is_refused():
    with pytest.raises(StructureError, match=r"(?s)fc0.*fc1.*\(nothing\)|fc0"):
        port(params_of(ours(4, 4, 4)), ours(4, 4, 4), theirs(4, 4))


def test_a_missing_bias_is_zeros_only_if_mapped():
    a, b = ours(3, 5, bias=False), theirs(3, 5)
    with pytest.raises(StructureError, match="bias"):
        port(params_of(a), a, b)
    moved = port(params_of(a), a, b, mapping={"fc0": "dense0"})
    assert moved["dense0.b"].tolist() == [0.0] * 5
    with pytest.raises(ShapeError, match="bias"):
        port(params_of(b), b, a, mapping={"dense0": "fc0"})


def test_crossed_names_are_refused():
    a = theirs(4, 4, 4, names=("one", "two"))
    b = theirs(4, 4, 4, names=("two", "one"))
    with pytest.raises(StructureError, match="another order"):
        port(params_of(a), a, b)
    moved = port(params_of(a), a, b, mapping={"one": "one"})
    np.testing.assert_array_equal(moved["one.k"], params_of(a)["one.k"])
    np.testing.assert_array_equal(moved["two.k"], params_of(a)["two.k"])


def test_several_alike_in_another_order_of_shapes_need_a_mapping():
    def net(order: str) -> Any:
        layers, shapes = [], {}
        for k, kind in enumerate(order):
            width = {"a": 3, "b": 2}[kind]
            layers.append(layouts.dense(f"l{order}{k}", weight=f"l{order}{k}.w"))
            shapes[f"l{order}{k}_w"] = (width, 3)
        return listed(layers, **shapes)

    a, b = net("aab"), net("aba")
    with pytest.raises(StructureError, match="say which is which"):
        port(params_of(a), a, b)
    moved = port(params_of(a), a, b, mapping={"laab0": "laba2"})
    np.testing.assert_array_equal(moved["laba0.w"], params_of(a)["laab1.w"])


def test_an_order_that_means_nothing_needs_a_mapping():
    a = ours(4, 4, 4, 4)
    b = theirs(4, 4, 4, 4, names=("Dense_0", "Dense_10", "Dense_2"))
    with pytest.raises(StructureError, match="say which is which"):
        port(params_of(a), a, b)
    mapping = {"fc0": "Dense_0", "fc1": "Dense_2", "fc2": "Dense_10"}
    moved = port(params_of(a), a, b, mapping=mapping)
    np.testing.assert_array_equal(moved["Dense_2.k"], params_of(a)["fc1.weight"].T)
    unordered = [dataclasses.replace(layer, ordered=False) for layer in a.model.layers()]
    c = Apply(Listed(unordered, params_of(a)), NUMPY, ModelOptions(), params_of(a), False)
    with pytest.raises(StructureError, match="say which is which"):
        port(params_of(a), c, theirs(4, 4, 4, 4))


def test_an_epsilon_that_differs_is_refused_unless_mapped():
    def net(path: str, epsilon: float) -> Any:
        norm = layouts.norm("layer_norm", path, scale=f"{path}.g", epsilon=epsilon)
        return listed([norm], **{f"{path}_g": (3,)})

    a, b = net("ln", 1e-5), net("norm", 1e-3)
    with pytest.raises(StructureError, match=r"epsilon is 1e-05 and 0\.001"):
        port(params_of(a), a, b)
    moved = port(params_of(a), a, b, mapping={"ln": "norm"})
    np.testing.assert_array_equal(moved["norm.g"], params_of(a)["ln.g"])


def with_statistics(path: str) -> Any:
    roles = {role: f"{path}.{role}" for role in ("scale", "offset", "mean", "var")}
    state = {
        f"{path}.mean": np.ones(3),
        f"{path}.var": np.full(3, 2.0),
        f"{path}.seen": np.array(7),
    }
    return listed(
        [layouts.norm("batch_norm", path, **roles)],
        state,
        **{f"{path}_scale": (3,), f"{path}_offset": (3,)},
    )


def test_state_goes_along_where_it_is_given():
    a, b = with_statistics("bn"), with_statistics("norm")
    assert sorted(port(params_of(a), a, b)) == ["norm.offset", "norm.scale"]
    moved = port({**params_of(a), **a.state}, a, b)
    assert sorted(moved) == ["norm.mean", "norm.offset", "norm.scale", "norm.var"]
    assert moved["norm.var"].tolist() == [2.0] * 3


def test_a_parameter_that_is_state_on_the_other_side_must_be_given():
    frozen = listed([layouts.embedding("e", weight="e.w")], {"e.w": np.ones((4, 3))})
    free = listed([layouts.embedding("e", weight="e.w")], e_w=(4, 3))
    with pytest.raises(StructureError, match=r"apply\.state"):
        port({}, frozen, free)
    assert port(frozen.state, frozen, free)["e.w"].shape == (4, 3)


# ------------------------------------------------------------------ params and mapping


def test_params_are_checked():
    a, b = ours(3, 5), theirs(3, 5)
    p = params_of(a)
    with pytest.raises(StructureError, match=r"missing .*fc0\.bias"):
        port({"fc0.weight": p["fc0.weight"]}, a, b)
    with pytest.raises(StructureError, match=r"unknown .*other"):
        port({**p, "other": p["fc0.bias"]}, a, b)
    with pytest.raises(ShapeError, match=r"fc0.bias.*\(5,\).*\(4,\)"):
        port({**p, "fc0.bias": np.zeros(4)}, a, b)
    with pytest.raises(StructureError, match="dict by parameter name, got list"):
        port([], a, b)
    with pytest.raises(ArgumentError, match="from_model must be what"):
        port(p, object(), b)


def test_pairs_by_mapping_with_transposes():
    a = ours(4, 4)
    p = params_of(a)
    pair = (lambda p, x: x @ p["W"] + p["b"], {"W": np.zeros((4, 4)), "b": np.zeros(4)})
    with pytest.raises(StructureError, match="'fc0': dense"):  # square: which way round?
        port(p, a, pair)
    moved = port(p, a, pair, mapping={"fc0.weight": ("W", (1, 0))})
    np.testing.assert_array_equal(moved["W"], p["fc0.weight"].T)
    np.testing.assert_array_equal(moved["b"], p["fc0.bias"])
    back = port(moved, pair, a, mapping={("W", (1, 0)): "fc0.weight", "b": "fc0.bias"})
    assert all(np.array_equal(back[name], p[name]) for name in p)


def test_pairs_by_shape_where_it_is_clear():
    a = ours(3, 5)
    pair = (lambda p, x: p["w"] @ x, {"w": np.zeros((5, 3)), "b": np.zeros(5)})
    moved = port(params_of(a), a, pair)
    np.testing.assert_array_equal(moved["w"], params_of(a)["fc0.weight"])
    turned = (pair[0], {"w": np.zeros((3, 5)), "b": np.zeros(5)})
    with pytest.raises(StructureError, match=r"\(1, 0\)"):
        port(params_of(a), a, turned)
    with pytest.raises(ShapeError, match=r"type \('w', \(1, 0\)\)"):
        port(params_of(a), a, turned, mapping={"fc0.weight": "w"})


def test_roles_of_joined_gates_go_to_a_pair():
    lstm = layouts.lstm("r", weight_ih="r.wi", weight_hh="r.wh", bias="r.b", transposed=True)
    a = listed([lstm], r_wi=(3, 8), r_wh=(2, 8), r_b=(8,))
    pair = (len, {"Wx": np.zeros((8, 3)), "Wh": np.zeros((8, 2)), "b": np.zeros(8)})
    mapping = {"r.weight_ih": "Wx", "r.weight_hh": "Wh", "r.bias_ih": "b", "r.bias_hh": None}
    moved = port(params_of(a), a, pair, mapping=mapping)
    np.testing.assert_array_equal(moved["Wx"], params_of(a)["r.wi"].T)
    with pytest.raises(ArgumentError, match=r"no canonical array by itself.*r\.bias_ih"):
        port(params_of(a), a, pair, mapping={"r.b": "b"})


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"nothing": "dense0"}, "has no 'nothing'; its layers are"),
        ({"fc0": "dense0.k"}, "a whole layer on one side"),
        ({"fc0.weight": "dense0.k", "fc0": "dense0"}, "twice"),
        ({3: "dense0"}, "takes names"),
        ({"fc0.weight": ("dense0.k", (1, 0))}, "whose layout is known"),
    ],
)
def test_mappings_that_name_what_is_not_there(mapping, says):
    with pytest.raises(ArgumentError, match=says):
        port(params_of(ours(3, 5)), ours(3, 5), theirs(3, 5), mapping=mapping)


# ------------------------------------------------------------------ flattened images


def head(last: bool, features: int) -> Any:
    if last:
        return layouts.dense("fc", weight="fc.k", transposed=True), {"fc_k": (features, 5)}
    return layouts.dense("fc", weight="fc.weight"), {"fc_weight": (5, features)}


def flattening(last: bool, features: int = 24) -> Any:
    layer, shapes = head(last, features)
    return image(last, layer, **shapes)


def test_a_flatten_behind_a_convolution_must_be_said():
    a, b = flattening(False), flattening(True)
    with pytest.raises(StructureError, match=r"flatten=\{'fc': \(4, H, W\)\}"):
        port(params_of(a), a, b)
    p = params_of(a)
    moved = port(p, a, b, flatten={"fc": (4, 2, 3)})
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    wanted = p["fc.weight"] @ x.reshape(-1)
    np.testing.assert_allclose(x.transpose(1, 2, 0).reshape(-1) @ moved["fc.k"], wanted)
    back = port(moved, b, a, flatten={"fc": (4, 2, 3)})
    assert all(np.array_equal(back[name], p[name]) for name in p)
    unturned = port(p, a, b, flatten={"fc": None})
    np.testing.assert_array_equal(unturned["fc.k"], p["fc.weight"].T)


def test_pooled_channels_are_no_flatten():
    a, b = flattening(False, 4), flattening(True, 4)
    np.testing.assert_array_equal(port(params_of(a), a, b)["fc.k"], params_of(a)["fc.weight"].T)


def test_alike_images_need_no_flatten():
    a = flattening(True)
    assert port(params_of(a), a, a)["fc.k"].shape == (24, 5)
    with pytest.raises(ArgumentError, match="same place"):
        port(params_of(a), a, a, flatten={"fc": (4, 2, 3)})


def test_a_pair_is_channels_first():
    a = flattening(True)
    p = params_of(a)
    pair = (len, {"conv": np.zeros((4, 2, 3, 3)), "fc": np.zeros((5, 24))})
    mapping = {"conv.w": "conv", "fc.k": "fc"}
    with pytest.raises(StructureError, match="flatten="):
        port(p, a, pair, mapping=mapping)
    moved = port(p, a, pair, mapping=mapping, flatten={"fc": (4, 2, 3)})
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    wanted = x.transpose(1, 2, 0).reshape(-1) @ p["fc.k"]
    np.testing.assert_allclose(moved["fc"] @ x.reshape(-1), wanted)


@pytest.mark.parametrize("entry", [(4, 2, 4), (4,), {"inside": None}, 24])
def test_a_flatten_that_does_not_fit(entry):
    a, b = flattening(False), flattening(True)
    with pytest.raises((ShapeError, ArgumentError), match="flatten"):
        port(params_of(a), a, b, flatten={"fc": entry})
    with pytest.raises(ArgumentError, match="flatten names 'other'"):
        port(params_of(a), a, b, flatten={"other": (4, 2, 3)})


def generator(last: bool) -> Any:
    """A dense layer whose output is reshaped to an image of 2 channels."""
    dense = layouts.dense("fc", weight="fc.w", bias="fc.b", transposed=last)
    shapes = {"fc_w": (5, 12) if last else (12, 5), "fc_b": (12,)}
    norm = layouts.norm("batch_norm", "bn", scale="bn.g")
    order = "HWIO" if last else "OIHW"
    conv = layouts.conv("conv", weight="conv.w", order=order, channels_last=last)
    return listed(
        [dense, norm, conv], **shapes, bn_g=(12,), conv_w=(3, 3, 2, 4) if last else (4, 2, 3, 3)
    )


def test_an_image_made_of_a_dense_layers_output_must_be_said():
    a, b = generator(False), generator(True)
    p = params_of(a)
    with pytest.raises(StructureError, match=r"flatten=\{'fc': \{'out': \(2, H, W\)\}\}"):
        port(p, a, b)
    with pytest.raises(StructureError, match="'bn' has 12 features"):
        port(p, a, b, flatten={"fc": {"out": (2, 2, 3)}})
    moved = port(p, a, b, flatten={"fc": {"out": (2, 2, 3)}, "bn": (2, 2, 3)})
    x = np.random.default_rng(0).normal(size=5)
    wanted = ((p["fc.w"] @ x + p["fc.b"]) * p["bn.g"]).reshape(2, 2, 3)
    got = ((x @ moved["fc.w"] + moved["fc.b"]) * moved["bn.g"]).reshape(2, 3, 2)
    np.testing.assert_allclose(got.transpose(2, 0, 1), wanted)


# ------------------------------------------------------------------ frameworks


def test_torch_to_flax_and_back_in_values_and_gradients():
    torch, nnx = pytest.importorskip("torch"), pytest.importorskip("flax.nnx")
    import jax
    import jax.numpy as jnp

    with (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True):
        ours = torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(24, 5)
        ).double()

        class Net(nnx.Module):
            def __init__(self) -> None:
                rngs = nnx.Rngs(0)
                kind = {"param_dtype": jnp.float64, "rngs": rngs}
                self.conv = nnx.Conv(2, 4, (3, 3), padding="VALID", **kind)
                self.fc = nnx.Linear(24, 5, **kind)

            def __call__(self, x: Any) -> Any:
                return self.fc(nnx.relu(self.conv(x)).reshape(x.shape[0], -1))

        net = Net()
        apply, params = ug.functional(ours)
        other, _ = ug.functional(net)
        flatten = {"3": (4, 2, 3)}
        moved = port(params, ours, net, flatten=flatten)
        assert all(isinstance(x, jax.Array) and x.dtype == jnp.float64 for x in moved.values())
        x = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
        value, grads = ug.value_and_grad(lambda p: (apply(p, torch.tensor(x)) ** 2).sum())(params)
        there, theirs = ug.value_and_grad(
            lambda p: (other(p, jnp.asarray(x.transpose(0, 2, 3, 1))) ** 2).sum()
        )(moved)
        np.testing.assert_allclose(there, value.detach().numpy(), rtol=1e-12)
        back = port(theirs, net, ours, flatten={"fc": (4, 2, 3)})
        for name, g in grads.items():
            np.testing.assert_allclose(back[name].numpy(), g.numpy(), rtol=1e-11, atol=1e-12)
