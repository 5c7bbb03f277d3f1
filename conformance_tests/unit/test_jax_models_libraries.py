"""Flax and Equinox models as functions of their weights: values against each library itself."""

import numpy as np
import pytest

import unigrad as ug
from conformance_tests.unit.jax_model_cases import (
    X,
    batched,
    equinox,
    eqx,
    jax,
    jnp,
    linen,
    loss_of,
    net,
    nn,
    nnx,
    snapshot,
)

# ---------------------------------------------------------------- nnx


def test_nnx_values_and_gradients_are_those_of_nnx_itself():
    for mode in ("eval", "train"):
        model = net()
        apply, params = ug.functional(model, mode=mode, state="return")
        loss = loss_of(ug.functional(model, mode=mode)[0], seed=5)
        value, gradient = ug.value_and_grad(loss)(params)
        state = apply(params, X, seed=5)[1]
        twin = net()
        nnx.reseed(twin, dropout=5)
        getattr(twin, mode)()
        expected, slopes = nnx.value_and_grad(lambda m: jnp.sum(m(X) ** 2))(twin)
        assert float(value) == pytest.approx(float(expected), rel=1e-6)
        for path, g in nnx.to_flat_state(slopes):
            np.testing.assert_allclose(
                gradient["/".join(path)], g[...], rtol=1e-5, atol=1e-4, err_msg=str(path)
            )
        np.testing.assert_allclose(state["norm/mean"], twin.norm.mean[...], rtol=1e-6)
        assert state["dropout/rngs/count"] == twin.dropout.rngs.count[...]


def test_nnx_mode_is_decided_by_the_call_and_none_is_the_models_own():
    model = net()
    model.eval()
    quiet = np.asarray(model(X))
    model.train()
    params = ug.functional(model)[1]
    np.testing.assert_array_equal(ug.functional(model)[0](params, X), quiet)
    own = ug.functional(model, mode=None)[0]
    assert (np.asarray(own(params, X)) != quiet).any()
    model.eval()
    np.testing.assert_array_equal(own(params, X), quiet)


def test_nnx_without_a_seed_draws_what_the_model_would_draw_next():
    model, twin = net(), net()
    apply, params = ug.functional(model, mode="train", state="return")
    output, state = apply(params, X)
    twin.train()
    np.testing.assert_allclose(output, twin(X), rtol=1e-6)
    output, _ = apply(params, X, state=state)
    np.testing.assert_allclose(output, twin(X), rtol=1e-6)
    assert model.dropout.rngs.count[...] == 0


def test_nnx_streams_of_one_seed_are_independent():
    class Noisy(nnx.Module):
        def __init__(self, rngs):
            self.rngs = rngs

        def __call__(self, x):
            return self.rngs.dropout.normal(x.shape), self.rngs.noise.normal(x.shape)

    apply, params = ug.functional(Noisy(nnx.Rngs(0, dropout=1, noise=1)))
    first, second = apply(params, X, seed=0)
    assert (np.asarray(first) != np.asarray(second)).all()


def test_nnx_tied_weights_are_one_parameter():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(4, 4, rngs=rngs)
            self.b = self.a
            self.c = nnx.Linear(4, 4, rngs=rngs)
            self.c.kernel = self.a.kernel

        def __call__(self, x):
            return self.c(self.b(self.a(x)))

    model = Tied(nnx.Rngs(0))
    apply, params = ug.functional(model)
    assert set(params) == {"a/kernel", "a/bias", "c/bias"}
    gradient = ug.grad(loss_of(apply))(params)

    def by_hand(w):
        h = X
        for _ in range(3):
            h = h @ w
        return jnp.sum(h**2)

    np.testing.assert_allclose(
        gradient["a/kernel"], jax.grad(by_hand)(model.a.kernel[...]), rtol=1e-4, atol=1e-5
    )


def test_nnx_sees_attributes_changed_later_and_refuses_other_weights():
    model = net()
    apply, params = ug.functional(model)
    plain = np.asarray(apply(params, X))
    model.power = 2
    np.testing.assert_allclose(apply(params, X), plain**2, rtol=1e-6)
    model.last = nnx.List([nnx.Linear(3, 2, rngs=nnx.Rngs(0))])
    with pytest.raises(ug.errors.StructureError, match="no longer"):
        apply(params, X)


def test_nnx_functions_that_hold_on_to_weights_are_refused():
    class Held(nnx.Module):
        def __init__(self, rngs, how):
            self.layer = nnx.Linear(4, 4, rngs=rngs)
            layer = self.layer
            self.f = {
                "method": layer.__call__,
                "closure": lambda x: layer(x),
                "compiled": jax.jit(lambda x: layer(x)),
                "array": lambda x, w=layer.kernel[...]: x @ w,
            }[how]

        def __call__(self, x):
            return self.f(x)

    for how in ("method", "closure", "compiled", "array"):
        with pytest.raises(ug.errors.UnsupportedError, match=r"Held\.f is a function"):
            ug.functional(Held(nnx.Rngs(0), how))


def test_nnx_mutable_references_are_refused():
    reference = jax.new_ref if hasattr(jax, "new_ref") else jax.array_ref

    class Mutable(nnx.Module):
        def __init__(self):
            self.count = nnx.data(reference(jnp.zeros(2)))

        def __call__(self, x):
            self.count[...] = self.count[...] + 1
            return x

    with pytest.raises(ug.errors.UnsupportedError, match=r"nnx\.to_arrays"):
        ug.functional(Mutable())


@pytest.mark.filterwarnings("ignore:Using .Module.sow:DeprecationWarning")
def test_nnx_other_values_in_variables_and_attributes():
    class Odd(nnx.Module):
        def __init__(self):
            self.tree = nnx.Param({"w": jnp.ones(4), "n": (jnp.arange(2),)})
            self.given = nnx.data(np.full(4, 2.0, np.float32))
            self.count = nnx.Variable(jnp.asarray(3))

        def __call__(self, x):
            if self.count[...] > 2:  # a Python branch
                self.count[...] = jnp.asarray(5)
            self.sow(nnx.Intermediate, "seen", x)
            return x * self.tree["w"] * self.given

    apply, params = ug.functional(Odd(), state="return")
    assert list(params) == ["tree/w"]
    assert {k: v.shape for k, v in apply.state.items()} == {
        "count": (),
        "given": (4,),
        "tree/n/0": (2,),
    }
    output, state = apply(params, X)
    np.testing.assert_array_equal(output, 2 * X)
    assert set(state) == set(apply.state)
    assert int(state["count"]) == 5
    assert int(apply.state["count"]) == 3


def test_nnx_assign_writes_in_place_all_or_nothing():
    model = net()
    apply, params = ug.functional(model, mode="train", state="return")
    variable = model.first.kernel
    _, state = apply(params, X, seed=2)
    ug.assign(model, {**{k: p + 1 for k, p in params.items()}, **state})
    assert model.first.kernel is variable
    np.testing.assert_array_equal(variable[...], params["first/kernel"] + 1)
    np.testing.assert_array_equal(model.norm.mean[...], state["norm/mean"])
    assert model.dropout.rngs.count[...] == 1
    model.train()
    model(X)
    before = snapshot(model)
    with pytest.raises(ug.errors.ShapeError):
        ug.assign(model, {"first/bias": np.zeros(3), "last/bias": np.zeros(7)})
    assert snapshot(model) == before
    ug.assign(model, {"first/bias": np.full(3, 7.0)})
    np.testing.assert_array_equal(model.first.bias[...], np.full(3, 7.0, np.float32))
    assert model.first.bias[...].dtype == jnp.float32


def test_nnx_recurrent_and_attention_models():
    class Sequence(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(7, 4, rngs=rngs)
            self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(4, 4, rngs=rngs), rngs=rngs)
            self.attention = nnx.MultiHeadAttention(
                num_heads=2, in_features=4, decode=False, rngs=rngs
            )

        def __call__(self, tokens):
            return self.attention(self.rnn(self.embed(tokens)))

    model = Sequence(nnx.Rngs(0))
    tokens = jnp.array([[1, 2, 3], [4, 5, 6]])
    apply, params = ug.functional(model)
    gradient = ug.grad(loss_of(apply, tokens))(params)
    model.eval()
    slopes = nnx.grad(lambda m: jnp.sum(m(tokens) ** 2))(model)
    for path, g in nnx.to_flat_state(slopes):
        np.testing.assert_allclose(gradient["/".join(path)], g[...], rtol=1e-4, atol=1e-6)
    assert {layer.kind for layer in apply.model.layers()} == {"embedding", "lstm", "attention"}


# ---------------------------------------------------------------- linen


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_linen_values_are_those_of_linen_itself(mode):
    model, variables = linen()
    apply, params = ug.functional((model, variables), mode=mode, state="return")

    def native(p):
        output, state = model.apply(
            {**variables, "params": p},
            X,
            train=mode == "train",
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(5)},
        )
        return jnp.sum(output**2), state

    (value, state), slopes = jax.value_and_grad(native, has_aux=True)(variables["params"])
    found, gradient = ug.value_and_grad(lambda p: jnp.sum(apply(p, X, seed=5)[0] ** 2))(params)
    assert float(found) == pytest.approx(float(value), rel=1e-6)
    for name, g in gradient.items():
        layer, leaf = name.split("/")
        np.testing.assert_allclose(g, slopes[layer][leaf], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        apply(params, X, seed=5)[1]["batch_stats/BatchNorm_0/mean"],
        state["batch_stats"]["BatchNorm_0"]["mean"],
        rtol=1e-6,
    )


def test_linen_models_without_a_mode_of_their_own_have_it_set_in_their_layers():
    def of(average, deterministic):
        return nn.Sequential(
            [
                nn.Dense(4),
                nn.BatchNorm(use_running_average=average),
                nn.Dropout(0.5, deterministic=deterministic),
            ]
        )

    variables = of(True, True).init(jax.random.key(0), X)
    flags = [(a, d) for a in (True, False, None) for d in (True, False, None)]
    outputs = {}
    for mode in ("train", "eval"):
        for average, deterministic in flags:
            model = of(average, deterministic)
            apply, params = ug.functional((model, variables), mode=mode)
            outputs[mode, average, deterministic] = np.asarray(apply(params, X, seed=0))
            assert model.layers[1].use_running_average is average
        for flag in flags:
            np.testing.assert_array_equal(outputs[(mode, *flag)], outputs[mode, True, True])
    quiet = of(True, True).apply(variables, X)
    noisy, _ = of(False, False).apply(
        variables, X, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )
    np.testing.assert_array_equal(outputs["eval", True, True], quiet)
    np.testing.assert_allclose(outputs["train", True, True], noisy, rtol=1e-5, atol=1e-6)


def test_linen_modes_by_field():
    class ByField(nn.Module):
        train: bool = False

        @nn.compact
        def __call__(self, x):
            return nn.Dropout(0.5, deterministic=not self.train)(x)

    for fixed in (True, False):
        model = ByField(train=fixed)
        np.testing.assert_array_equal(ug.functional((model, {}))[0]({}, X), X)
        noisy = ug.functional((model, {}), mode="train")[0]({}, X, seed=0)
        assert (np.asarray(noisy) == 0).any()
        assert model.train is fixed
    layer = nn.Dropout(0.5, deterministic=False)
    np.testing.assert_array_equal(ug.functional((layer, {}))[0]({}, X), X)


def test_linen_says_what_is_missing():
    model, variables = linen()
    apply, params = ug.functional((model, variables), mode="train")
    with pytest.raises(ug.errors.ArgumentError, match="seed=0"):
        apply(params, X)
    with pytest.raises(ug.errors.UnsupportedError, match=r"module\.init"):
        ug.functional(model)
    with pytest.raises(ug.errors.StructureError, match="'params'"):
        ug.functional((model, variables["params"]))
    with pytest.raises(ug.errors.UnsupportedError, match="dict of variables"):
        ug.assign((model, variables), params)
    with pytest.raises(ug.errors.ArgumentError, match="state='return'"):
        apply(params, X, seed=0, mutable=["batch_stats"])


def test_linen_reads_statistics_at_every_call_and_methods_by_name():
    model, variables = linen()
    apply, params = ug.functional((model, variables))
    before = np.asarray(apply(params, X))
    variables["batch_stats"] = jax.tree.map(lambda x: x + 1, variables["batch_stats"])
    assert (np.asarray(apply(params, X)) != before).any()
    np.testing.assert_array_equal(apply(params, X), model.apply(variables, X))

    class Coder(nn.Module):
        def setup(self):
            self.inner = nn.Dense(2)

        def encode(self, x):
            return self.inner(x)

        def __call__(self, x):
            return 2 * self.encode(x)

    model = Coder()
    apply, params = ug.functional((model, model.init(jax.random.key(0), X)))
    for method in ("encode", Coder.encode):
        np.testing.assert_array_equal(2 * apply(params, X, method=method), apply(params, X))


# ---------------------------------------------------------------- Equinox


def test_equinox_values_are_those_of_equinox_itself():
    for mode in ("eval", "train"):
        model = equinox()
        apply, params = ug.functional(model, mode=mode)
        run = batched(apply)
        gradient = ug.grad(loss_of(run, seed=5))(params)
        twin = eqx.nn.inference_mode(model, value=mode == "eval")

        def native(m):
            key = jax.random.key(5)
            return jnp.sum(jax.vmap(lambda x: m(x, key=key))(X) ** 2)

        slopes = eqx.filter_grad(native)(twin)
        for name, g in gradient.items():
            _, i, leaf = name.split("/")
            expected = getattr(slopes.layers[int(i)], leaf)
            np.testing.assert_allclose(g, expected, rtol=1e-5, atol=1e-6)


def test_equinox_running_statistics_are_an_input():
    class Normed(eqx.Module):
        linear: eqx.nn.Linear
        norm: eqx.nn.BatchNorm

        def __init__(self, key):
            self.linear = eqx.nn.Linear(4, 3, key=key)
            self.norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="batch")

        def __call__(self, x, state):
            return self.norm(self.linear(x), state)

    model, state = eqx.nn.make_with_state(Normed)(jax.random.key(0))
    both = ug.functional(Normed(jax.random.key(0)))[1]
    apply, params = ug.functional(model, mode="train")
    assert (
        set(params) == set(both) == {*("linear/weight", "linear/bias", "norm/weight", "norm/bias")}
    )
    over = {"axis_name": "batch", "in_axes": (0, None), "out_axes": (0, None)}
    output, after = jax.vmap(lambda x, s: apply(params, x, s), **over)(X, state)
    expected, wanted = jax.vmap(model, **over)(X, state)
    np.testing.assert_array_equal(output, expected)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)


def test_equinox_refuses_what_it_cannot_do():
    model = equinox()
    apply, params = ug.functional(model, mode="train")
    with pytest.raises(ug.errors.UnsupportedError, match="tree_at"):
        ug.assign(model, params)
    with pytest.raises(ug.errors.ArgumentError, match="both decide"):
        apply(params, X[0], seed=0, key=jax.random.key(0))
    linear = eqx.nn.Linear(4, 4, key=jax.random.key(0))
    held = eqx.nn.Sequential([linear, eqx.nn.Lambda(lambda x: linear(x))])
    with pytest.raises(ug.errors.UnsupportedError, match="holds on to weights"):
        ug.functional(held)

    class Uncalled(eqx.Module):
        w: jax.Array

    with pytest.raises(ug.errors.UnsupportedError, match="__call__"):
        ug.functional(Uncalled(X))


def test_equinox_shared_layers_are_one_parameter():
    class Tied(eqx.Module):
        shared: eqx.nn.Shared

        def __init__(self, key):
            pair = (eqx.nn.Linear(4, 4, key=key), eqx.nn.Linear(4, 4, key=key))
            self.shared = eqx.nn.Shared(pair, lambda p: p[1].weight, lambda p: p[0].weight)

        def __call__(self, x):
            first, second = self.shared()
            return second(first(x))

    apply, params = ug.functional(Tied(jax.random.key(0)))
    weights = [name for name in params if name.endswith("weight")]
    assert len(weights) == 1
    w = params[weights[0]]
    found = ug.grad(loss_of(batched(apply)))(params)[weights[0]]
    biases = [params[name] for name in params if name.endswith("bias")]

    def by_hand(w):
        return jnp.sum(((X @ w.T + biases[0]) @ w.T + biases[1]) ** 2)

    np.testing.assert_allclose(found, jax.grad(by_hand)(w), rtol=1e-4, atol=1e-5)
