"""The models of the tests of Flax and Equinox: the same small network in each library."""

import warnings

import numpy as np
import pytest

import unigrad as ug

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")
nn = pytest.importorskip("flax.linen")
FlaxError = pytest.importorskip("flax.errors").FlaxError
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # equinox 0.13.0 with JAX 0.7
    eqx = pytest.importorskip("equinox")

jnp = jax.numpy
X = jnp.linspace(-1.0, 1.0, 20).reshape(5, 4)


class Net(nnx.Module):
    """Dense, batch norm and dropout: every kind of variable."""

    def __init__(self, rngs, param_dtype=jnp.float32):
        self.first = nnx.Linear(4, 3, rngs=rngs, param_dtype=param_dtype)
        self.norm = nnx.BatchNorm(3, rngs=rngs, param_dtype=param_dtype)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(3, 2, rngs=rngs, param_dtype=param_dtype)
        self.power = 1

    def __call__(self, x):
        x = self.dropout(jnp.tanh(self.norm(self.first(x))))
        return self.last(x) ** self.power


class Linen(nn.Module):
    """The same in linen, by its authors' convention."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))
        x = nn.Dropout(0.5, deterministic=not train)(jnp.tanh(x))
        return nn.Dense(2)(x)


class Equinox(eqx.Module):
    """The same in Equinox, without the norm."""

    layers: list
    dropout: eqx.nn.Dropout
    table: jax.Array
    scale: np.ndarray

    def __init__(self, key):
        first, last = jax.random.split(key)
        self.layers = [eqx.nn.Linear(4, 3, key=first), eqx.nn.Linear(3, 2, key=last)]
        self.dropout = eqx.nn.Dropout(0.5)
        self.table = jnp.arange(2)
        self.scale = np.arange(2)

    def __call__(self, x, *, key=None):
        x = self.dropout(jnp.tanh(self.layers[0](x)), key=key)
        return self.layers[1](x)[self.table] * (1 + self.scale)


def net():
    return Net(nnx.Rngs(0, dropout=1))


def linen():
    return Linen(), Linen().init(jax.random.key(0), X)


def equinox():
    return Equinox(jax.random.key(0))


def batched(apply):
    """Equinox models take one example."""

    def run(params, x, **options):
        return jax.vmap(lambda row: apply(params, row, **options))(x)

    return run


CASES = {
    "nnx": (net, lambda apply: apply),
    "linen": (linen, lambda apply: apply),
    "bound": (lambda: linen()[0].bind(linen()[1]), lambda apply: apply),
    "equinox": (equinox, batched),
}


def snapshot(model):
    """Every bit of a model, and the identity of its variables."""
    if isinstance(model, nnx.Module):
        graph, state = nnx.split(model)
        leaves = jax.tree_util.tree_leaves(state)
        identity = [id(x) for _, x in nnx.iter_graph(model) if isinstance(x, nnx.Variable)]
    else:
        graph, identity = None, []
        tree = model.variables if isinstance(model, nn.Module) else model
        leaves = [x for x in jax.tree_util.tree_leaves(tree) if isinstance(x, jax.Array)]
    return graph, identity, [np.asarray(data(x)).tobytes() for x in leaves]


def data(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def loss_of(apply, x=X, **options):
    return lambda params: jnp.sum(apply(params, x, **options) ** 2)


def doubled(params, seed=0):
    """Other weights, in double precision."""
    rng = np.random.default_rng(seed)
    return {k: ug.asarray(rng.normal(size=p.shape), backend="jax") for k, p in params.items()}
