"""Layouts of weights: a torch layer and its twin give the same values and the same gradients.

The gradient with respect to torch's weights is that of the twin's, pulled back through the
layouts by unigrad's own engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad import layouts

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras runs on another backend", allow_module_level=True)
tf = pytest.importorskip("tensorflow")

nn, L = torch.nn, keras.layers

FIRST = {1: (0, 2, 1), 2: (0, 2, 3, 1), 3: (0, 2, 3, 4, 1)}
"""From channels-first to channels-last, by the number of axes of the window."""
LAST = {1: (0, 2, 1), 2: (0, 3, 1, 2), 3: (0, 4, 1, 2, 3)}


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def torch_run(module: Any, call: Callable[..., Any], x: Any, c: Any = None) -> tuple[Any, ...]:
    """Output, a cotangent of it, and gradients by name."""
    y = call(module, torch.tensor(x))
    c = np.random.default_rng(1).normal(size=y.shape) if c is None else c
    params = dict(module.named_parameters())
    grads = torch.autograd.grad((y * torch.tensor(c)).sum(), list(params.values()))
    numbers = {n: p.detach().numpy() for n, p in params.items()}
    return (
        y.detach().numpy(),
        c,
        numbers,
        {n: g.numpy() for n, g in zip(params, grads, strict=True)},
    )


def keras_run(layer: Any, values: dict[str, Any], x: Any, c: Any) -> tuple[Any, dict[str, Any]]:
    names = {v.path.split("/", 1)[-1]: v for v in layer.trainable_variables}
    assert values.keys() == names.keys(), (sorted(values), sorted(names))
    for name, v in names.items():
        v.assign(values[name])
    with tf.GradientTape() as tape:
        y = layer(tf.constant(x))
        loss = tf.reduce_sum(y * tf.constant(c))
    variables = [v.value for v in names.values()]
    grads = tape.gradient(loss, variables)
    return y.numpy(), {n: g.numpy() for n, g in zip(names, grads, strict=True)}


def compare(ours: Any, theirs: Any, run: tuple[Any, ...], other: Callable[..., Any]) -> None:
    y, _, numbers, grads = run
    moved, pullback = ug.vjp(lambda p: theirs.from_canonical(ours.to_canonical(p)), numbers)
    got, other_grads = other(moved)
    close(got, y)
    (pulled,) = pullback(other_grads)
    assert grads.keys() == pulled.keys()
    for name, g in grads.items():
        assert pulled[name].dtype == np.float64
        close(pulled[name], g)
    back = ours.from_canonical(theirs.to_canonical(moved))
    again = theirs.from_canonical(ours.to_canonical(back))
    for name in moved:
        close(again[name], moved[name])


def data(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape)


WINDOWS = {1: "DHW"[-1:], 2: "HW", 3: "DHW"}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv(axes, groups):
    if groups == 2 and axes == 3:
        pytest.skip("TensorFlow on CPUs has no grouped 3-D convolution")
    window, x = (2, 3, 2)[:axes], data(2, 4, *(5, 6, 4)[:axes])
    ours = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](4, 6, window, groups=groups).double()
    theirs = (L.Conv1D, L.Conv2D, L.Conv3D)[axes - 1](6, window, groups=groups, dtype="float64")
    theirs.build((None, *x.transpose(FIRST[axes]).shape[1:]))
    run = torch_run(ours, lambda m, x: m(x), x)
    compare(
        layouts.conv("c", weight="weight", bias="bias", order="OI" + WINDOWS[axes]),
        layouts.conv("c", weight="kernel", bias="bias", order=WINDOWS[axes] + "IO"),
        run,
        channels_last(theirs, x, run[1], axes),
    )


def channels_last(layer: Any, x: Any, c: Any, axes: int) -> Callable[..., Any]:
    def other(values):
        y, grads = keras_run(layer, values, x.transpose(FIRST[axes]), c.transpose(FIRST[axes]))
        return y.transpose(LAST[axes]), grads

    return other


@pytest.mark.parametrize("axes", [1, 2])
def test_depthwise_conv(axes):
    window, x = (2, 3)[:axes], data(2, 4, *(5, 6)[:axes])
    ours = (nn.Conv1d, nn.Conv2d)[axes - 1](4, 12, window, groups=4).double()
    make = (L.DepthwiseConv1D, L.DepthwiseConv2D)[axes - 1]
    theirs = make(window, depth_multiplier=3, dtype="float64")
    theirs.build((None, *x.transpose(FIRST[axes]).shape[1:]))
    run = torch_run(ours, lambda m, x: m(x), x)
    order = WINDOWS[axes] + "IO"
    compare(
        layouts.conv("c", weight="weight", bias="bias", order="OI" + WINDOWS[axes]),
        layouts.conv("c", weight="kernel", bias="bias", order=order, multiplier=3),
        run,
        channels_last(theirs, x, run[1], axes),
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_conv_transpose(axes):
    window, x = (2, 3, 2)[:axes], data(2, 4, *(3, 2, 3)[:axes])
    make = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    ours = make(4, 6, window, stride=2).double()
    make = (L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)[axes - 1]
    theirs = make(6, window, strides=2, dtype="float64")
    theirs.build((None, *x.transpose(FIRST[axes]).shape[1:]))
    run = torch_run(ours, lambda m, x: m(x), x)
    compare(
        layouts.conv_transpose("c", weight="weight", bias="bias", order="IO" + WINDOWS[axes]),
        layouts.conv_transpose("c", weight="kernel", bias="bias", order=WINDOWS[axes] + "OI"),
        run,
        channels_last(theirs, x, run[1], axes),
    )


def names(module: Any) -> dict[str, str]:
    return {n.removesuffix("_l0"): n for n, _ in module.named_parameters()}


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("biased", [True, False])
def test_recurrent(kind, biased):
    x, make = data(2, 5, 3), getattr(nn, kind.upper())
    ours = make(3, 4, batch_first=True, bias=biased).double()
    theirs = {"lstm": L.LSTM, "gru": L.GRU, "rnn": L.SimpleRNN}[kind](
        4, return_sequences=True, dtype="float64", use_bias=biased
    )
    theirs.build((None, 5, 3))
    cell = theirs.trainable_variables[0].path.split("/", 1)[-1].rpartition("/")[0]
    inner = {
        r: f"{cell}/{n}" for r, n in (("weight_ih", "kernel"), ("weight_hh", "recurrent_kernel"))
    }
    gates = {"lstm": {"gates": "ifgo"}, "gru": {"gates": "zrn"}, "rnn": {}}[kind]
    constructor = getattr(layouts, kind)
    run = torch_run(ours, lambda m, x: m(x)[0], x)
    compare(
        constructor("r", **names(ours)),
        constructor(
            "r", **inner, bias=f"{cell}/bias" if biased else None, transposed=True, **gates
        ),
        run,
        lambda values: keras_run(theirs, values, x, run[1]),
    )


@pytest.mark.parametrize("packed", [True, False])
def test_attention(packed):
    # Trap: Keras rounds 1 / sqrt(size of a head) to float32; with 4 it is exact.
    x, d, heads = data(2, 5, 8), 8, 2
    sizes = {} if packed else {"kdim": 8, "vdim": 8}
    ours = nn.MultiheadAttention(d, heads, batch_first=True, **sizes).double()
    if not packed:  # torch packs equal sizes anyway: lay the weights out apart by hand
        ours._qkv_same_embed_dim = False
        for k, role in enumerate("qkv"):
            part = ours.in_proj_weight.detach()[k * d : (k + 1) * d].clone()
            setattr(ours, f"{role}_proj_weight", nn.Parameter(part))
        del ours.in_proj_weight
        ours.in_proj_weight = None
    torch.nn.init.normal_(ours.in_proj_bias)
    torch.nn.init.normal_(ours.out_proj.bias)
    theirs = L.MultiHeadAttention(heads, d // heads, dtype="float64")
    theirs.build((None, 5, 8), (None, 5, 8))
    run = torch_run(ours, lambda m, x: m(x, x, x, need_weights=False)[0], x)
    if packed:
        weights = {"packed": "in_proj_weight"}
    else:
        roles = ("query", "key", "value")
        weights = {r: f"{r[0]}_proj_weight" for r in roles}
    mine = layouts.attention(
        "a",
        heads=heads,
        packed_bias="in_proj_bias",
        out="out_proj.weight",
        out_bias="out_proj.bias",
        **weights,
    )
    kernels = {r: f"{r}/kernel" for r in ("query", "key", "value")}
    biases = {f"{r}_bias": f"{r}/bias" for r in ("query", "key", "value")}
    other = layouts.attention(
        "a",
        heads=heads,
        headed=True,
        out="attention_output/kernel",
        out_bias="attention_output/bias",
        **kernels,
        **biases,
    )

    compare(mine, other, run, lambda values: keras_run(SelfAttention(theirs), values, x, run[1]))


class SelfAttention:
    """Self-attention as a layer of one input."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.trainable_variables = layer, layer.trainable_variables

    def __call__(self, x: Any) -> Any:
        return self.layer(x, x)


# ------------------------------------------------------------------ Flax and Equinox


@pytest.fixture
def x64():
    jax = pytest.importorskip("jax")
    with (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True):
        yield jax


def jax_run(jax: Any, f: Callable[..., Any], values: Any, c: Any) -> tuple[Any, dict[str, Any]]:
    params = {n: jax.numpy.asarray(v) for n, v in values.items()}
    y, pull = jax.vjp(f, params)
    (grads,) = pull(jax.numpy.asarray(c))
    return np.asarray(y), {n: np.asarray(g) for n, g in grads.items()}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, x in flat.items():
        *owners, name = path.split("/")
        at = tree
        for owner in owners:
            at = at.setdefault(owner, {})
        at[name] = x
    return {"params": tree}


@pytest.mark.parametrize("cell", ["LSTMCell", "OptimizedLSTMCell", "GRUCell"])
def test_linen_cells(cell, x64):
    linen = pytest.importorskip("flax.linen")
    x = data(2, 5, 3)
    kind = "gru" if cell == "GRUCell" else "lstm"
    ours = getattr(nn, kind.upper())(3, 4, batch_first=True).double()
    run = torch_run(ours, lambda m, x: m(x)[0], x)
    module = linen.RNN(getattr(linen, cell)(4, param_dtype=x64.numpy.float64))
    if kind == "lstm":
        theirs = layouts.lstm_per_gate(
            "r",
            weights_ih={g: f"cell/i{g}/kernel" for g in "ifgo"},
            weights_hh={g: f"cell/h{g}/kernel" for g in "ifgo"},
            biases={g: f"cell/h{g}/bias" for g in "ifgo"},
        )
    else:
        theirs = layouts.gru_per_gate(
            "r",
            weights_ih={g: f"cell/i{g}/kernel" for g in "rzn"},
            weights_hh={g: f"cell/h{g}/kernel" for g in "rzn"},
            biases_ih={g: f"cell/i{g}/bias" for g in "rzn"},
            bias_n="cell/hn/bias",
        )
    constructor = getattr(layouts, kind)
    compare(
        constructor("r", **names(ours)),
        theirs,
        run,
        lambda values: jax_run(x64, lambda p: module.apply(nested(p), x), values, run[1]),
    )


@pytest.mark.parametrize("turned", [True, False])
def test_linen_conv_transpose(turned, x64):
    linen = pytest.importorskip("flax.linen")
    x = data(2, 4, 3, 2)
    ours = nn.ConvTranspose2d(4, 6, (2, 3), stride=2).double()
    run = torch_run(ours, lambda m, x: m(x), x)
    module = linen.ConvTranspose(
        6,
        (2, 3),
        strides=(2, 2),
        padding="VALID",
        transpose_kernel=turned,
        param_dtype=x64.numpy.float64,
    )
    order = "HWOI" if turned else "HWIO"

    def apply(p):
        return module.apply(nested(p), x.transpose(FIRST[2])).transpose(LAST[2])

    compare(
        layouts.conv_transpose("c", weight="weight", bias="bias"),
        layouts.conv_transpose("c", weight="kernel", bias="bias", order=order, flipped=not turned),
        run,
        lambda values: jax_run(x64, apply, values, run[1]),
    )


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [True, False])
def test_equinox_convolutions(groups, transposed, x64):
    eqx = pytest.importorskip("equinox")
    x = data(2, 4, 5, 4)
    torch_make, make, constructor = {
        True: (nn.ConvTranspose2d, eqx.nn.ConvTranspose2d, layouts.conv_transpose),
        False: (nn.Conv2d, eqx.nn.Conv2d, layouts.conv),
    }[transposed]
    ours = torch_make(4, 6, (2, 3), stride=2, groups=groups).double()
    run = torch_run(ours, lambda m, x: m(x), x)
    module = make(4, 6, (2, 3), stride=2, groups=groups, key=x64.random.PRNGKey(0))
    extra = {"flipped": True, "divided": "I", "groups": groups} if transposed else {}

    def apply(p):
        full = eqx.tree_at(lambda m: (m.weight, m.bias), module, (p["weight"], p["bias"]))
        return x64.vmap(full)(x64.numpy.asarray(x))

    order = {"order": "OIHW"}
    mine = {"groups": groups} if transposed else order
    compare(
        constructor("c", weight="weight", bias="bias", **mine),
        constructor("c", weight="weight", bias="bias", unit_axes=2, **order, **extra),
        run,
        lambda values: jax_run(x64, apply, values, run[1]),
    )


def test_equinox_gru(x64):
    eqx = pytest.importorskip("equinox")
    x = data(2, 5, 3)
    ours = nn.GRU(3, 4, batch_first=True).double()
    run = torch_run(ours, lambda m, x: m(x)[0], x)
    cell = eqx.nn.GRUCell(3, 4, key=x64.random.PRNGKey(0))
    fields = ("weight_ih", "weight_hh", "bias", "bias_n")

    def apply(p):
        full = eqx.tree_at(
            lambda m: tuple(getattr(m, n) for n in fields), cell, tuple(p[n] for n in fields)
        )

        def step(h, row):
            h = full(row, h)
            return h, h

        return x64.vmap(lambda s: x64.lax.scan(step, x64.numpy.zeros(4), s)[1])(
            x64.numpy.asarray(x)
        )

    compare(
        layouts.gru("r", **names(ours)),
        layouts.gru(
            "r", weight_ih="weight_ih", weight_hh="weight_hh", bias_ih="bias", bias_n="bias_n"
        ),
        run,
        lambda values: jax_run(x64, apply, values, run[1]),
    )


# ------------------------------------------------------------------ what a layer says of itself


def test_a_missing_array_leaves_its_part_out():
    layer = layouts.norm("batch_norm", "bn", scale="g", offset="b", mean="m", var="v")
    assert layer.names == ("g", "b", "m", "v")
    assert layer.roles == ("scale", "offset", "mean", "var")
    assert layer.to_canonical({"g": 1, "b": 2}) == {"scale": 1, "offset": 2}


def test_gates_must_be_those_of_the_layer():
    with pytest.raises(ValueError, match="gates must be an order of 'ifgo', got 'ifg'"):
        layouts.lstm("r", weight_ih="a", weight_hh="b", gates="ifg")
