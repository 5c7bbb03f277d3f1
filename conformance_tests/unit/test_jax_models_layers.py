"""The layers of Flax and Equinox models, as ug.models.port reads them."""

import numpy as np

import unigrad as ug
from conformance_tests.unit.jax_model_cases import eqx, jax, jnp, nn, nnx


def layer_models():
    """Every layer that `layers` lists, in each library."""
    rngs, key = nnx.Rngs(0), jax.random.key(0)

    class Many(nnx.Module):
        def __init__(self):
            self.z_conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.back = nnx.ConvTranspose(4, 2, (3,), rngs=rngs)
            self.table = nnx.Embed(5, 4, rngs=rngs)
            self.cells = nnx.List(
                [
                    cell(4, 3, rngs=rngs)
                    for cell in (nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell)
                ]
            )
            self.rest = nnx.List([nnx.LayerNorm(4, rngs=rngs), nnx.GroupNorm(4, 2, rngs=rngs)])
            self.heads = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)
            self.a_last = nnx.Linear(4, 3, rngs=rngs)

    yield (
        Many(),
        [
            *("conv", "batch_norm", "conv_transpose", "embedding", "lstm", "lstm", "gru", "rnn"),
            *("layer_norm", "group_norm", "attention", "dense"),
        ],
    )

    class Wide(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.ConvTranspose(4, (3,))(nn.Conv(4, (3,))(nn.Embed(5, 4)(x)))
            x = nn.LayerNorm()(nn.BatchNorm(use_running_average=True)(x))
            x = nn.GroupNorm(2)(nn.MultiHeadDotProductAttention(num_heads=2)(x))
            cells = (nn.LSTMCell(4), nn.OptimizedLSTMCell(4), nn.GRUCell(4), nn.SimpleCell(4))
            for cell in cells:
                x = nn.RNN(cell)(x)
            return nn.Dense(2)(x)

    variables = Wide().init(key, jnp.zeros((1, 3), int))
    yield (
        (Wide(), variables),
        [
            *(
                "attention",
                "batch_norm",
                "conv",
                "conv_transpose",
                "dense",
                "embedding",
                "group_norm",
            ),
            *("gru", "layer_norm", "lstm", "lstm", "rnn"),
        ],
    )

    class Held(eqx.Module):
        layers: list

        def __call__(self, x):
            return x

    yield (
        Held(
            [
                eqx.nn.Conv2d(2, 4, 3, key=key),
                eqx.nn.ConvTranspose1d(4, 2, 3, key=key, groups=2),
                eqx.nn.Linear(4, 3, key=key),
                eqx.nn.LayerNorm(4),
                eqx.nn.GroupNorm(2, 4),
                eqx.nn.Embedding(5, 4, key=key),
                eqx.nn.LSTMCell(4, 3, key=key),
                eqx.nn.GRUCell(4, 3, key=key),
                eqx.nn.MultiheadAttention(2, 4, key=key),
            ]
        ),
        [
            *("conv", "conv_transpose", "dense", "layer_norm", "group_norm", "embedding", "lstm"),
            *("gru", "attention"),
        ],
    )


def test_layers_are_listed_and_go_to_the_canonical_layout_and_back():
    for model, kinds in layer_models():
        apply, params = ug.functional(model)
        layers = apply.model.layers()
        found = [layer.kind for layer in layers]
        assert (sorted(found) if isinstance(model, tuple) else found) == kinds
        known = {k: np.asarray(v) for k, v in {**params, **apply.state}.items()}
        owned = [name for layer in layers for name in layer.names]
        assert len(owned) == len(set(owned))
        assert set(params) <= set(owned) <= set(known)
        for layer in layers:
            canonical = layer.to_canonical(known)
            assert set(canonical) <= set(layer.roles)
            for name, x in layer.from_canonical(canonical).items():
                np.testing.assert_array_equal(x, known[name], err_msg=name)
