"""Flax and Equinox models as functions of their weights: what holds for each library."""

import threading

import numpy as np
import pytest

import unigrad as ug
from conformance_tests.unit.jax_model_cases import (
    CASES,
    FlaxError,
    X,
    batched,
    doubled,
    equinox,
    jax,
    jnp,
    linen,
    loss_of,
    net,
    nn,
    nnx,
    snapshot,
)


@pytest.fixture(params=CASES)
def case(request):
    make, wrap = CASES[request.param]
    return make(), wrap


def test_params_are_the_models_own_arrays_by_its_own_names():
    model = net()
    apply, params = ug.functional(model)
    assert list(params) == [
        *("first/bias", "first/kernel", "last/bias", "last/kernel", "norm/bias", "norm/scale")
    ]
    assert params["first/kernel"] is nnx.state(model)["first"]["kernel"][...]
    assert list(apply.state) == [
        *("dropout/rngs/count", "dropout/rngs/key", "norm/mean", "norm/var")
    ]
    model, variables = linen()
    apply, params = ug.functional((model, variables))
    assert set(params) == {
        *("BatchNorm_0/bias", "BatchNorm_0/scale"),
        *(f"Dense_{i}/{name}" for i in range(2) for name in ("kernel", "bias")),
    }
    assert params["Dense_0/kernel"] is variables["params"]["Dense_0"]["kernel"]
    assert set(apply.state) == {f"batch_stats/BatchNorm_0/{name}" for name in ("mean", "var")}
    model = equinox()
    apply, params = ug.functional(model)
    assert list(params) == [f"layers/{i}/{name}" for i in range(2) for name in ("weight", "bias")]
    assert params["layers/0/weight"] is model.layers[0].weight
    assert list(apply.state) == ["table", "scale"]


@pytest.mark.parametrize("mode", ["eval", "train", None])
def test_the_model_is_bit_identical_after_everything(case, mode):
    model, wrap = case
    if isinstance(model, nnx.Module) and mode is None:
        model.eval()
    apply, params = ug.functional(model, mode=mode)
    before = snapshot(model)
    seed = {} if mode == "eval" else {"seed": 0}
    loss = loss_of(wrap(apply), **seed)
    gradient = ug.grad(loss)(params)
    ug.hvp(loss, params, gradient)
    ug.jvp(loss, params, gradient)
    ug.jit(ug.value_and_grad(loss))(params)

    def raising(params):
        loss(params)
        raise KeyError("planned")

    with pytest.raises(KeyError, match="planned"):
        ug.grad(raising)(params)
    with pytest.raises((TypeError, ValueError, FlaxError)):
        apply(params, jnp.ones((2, 99)), "one input too many")
    assert snapshot(model) == before


def test_second_order_agrees_with_jax(case):
    model, wrap = case
    apply, params = ug.functional(model, mode="train")
    wide, x = doubled(params), ug.asarray(np.asarray(X, np.float64), backend="jax")
    loss = loss_of(wrap(apply), x, seed=3)
    v = ug.grad(loss)(wide)
    product = ug.hvp(loss, wide, v)
    compiled = ug.jit(lambda p, v: ug.hvp(loss, p, v))(wide, v)
    with ug.get_backend("jax").scope([x]):
        native = jax.jvp(jax.grad(loss), (wide,), (v,))[1]
        around = jax.jit(lambda p, v: ug.hvp(loss, p, v))(wide, v)
    scale = max(np.abs(np.asarray(x)).max() for x in native.values())
    for name, expected in native.items():
        for found in (product, compiled, around):
            assert found[name].dtype.name == "float64"
            np.testing.assert_allclose(found[name], expected, atol=1e-12 * scale)


def test_per_example_gradients_are_those_of_each_row(case):
    model, wrap = case
    apply, params = ug.functional(model)
    run = wrap(apply)

    def losses(p, x):
        return jnp.sum(run(p, x) ** 2, axis=-1)

    each = ug.jacobian(losses)(params, X)
    for i in range(len(X)):
        one = ug.grad(loss_of(run, X[i : i + 1]))(params)
        for name, g in one.items():
            np.testing.assert_allclose(each[name][i], g, rtol=1e-4, atol=1e-5)


def test_double_precision_weights_in_a_single_precision_model(case):
    model, wrap = case
    apply, params = ug.functional(model)
    run = wrap(apply)
    wide, v = doubled(params, 0), doubled(params, 1)
    x = ug.asarray(np.asarray(X, np.float64), backend="jax")
    if wrap is batched:  # the user's own vmap needs what ug.grad switches on by itself
        with pytest.raises(ug.errors.UnsupportedError, match="switch x64 on"):
            run(wide, x)
    else:
        assert run(wide, x).dtype == jnp.dtype("float64")

    def loss(p):
        return jnp.sum(run(p, x) ** 2)

    slope = float(ug.jvp(loss, wide, v)[1])

    def moved(h):
        with ug.get_backend("jax").scope([x]):
            return float(loss({k: wide[k] + h * v[k] for k in wide}))

    step = 1e-5
    assert slope == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=1e-7)
    gradient = ug.grad(loss)(wide)
    assert {g.dtype.name for g in gradient.values()} == {"float64"}
    inner = sum(float(np.vdot(np.asarray(gradient[k]), np.asarray(v[k]))) for k in v)
    assert inner == pytest.approx(slope, rel=1e-12)


def test_seeds_decide_the_draws(case):
    model, wrap = case
    run = wrap(ug.functional(model, mode="train")[0])
    params = ug.functional(model)[1]
    first, again, other = (np.asarray(run(params, X, seed=s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    quiet = wrap(ug.functional(model)[0])
    np.testing.assert_array_equal(quiet(params, X, seed=0), quiet(params, X))
    with pytest.raises(ug.errors.ArgumentError, match="from 0 to"):
        run(params, X, seed=-1)


def test_two_threads_with_the_same_model(case):
    model, wrap = case
    apply, params = ug.functional(model)
    loss = loss_of(wrap(apply))
    weights = [{k: p * s for k, p in params.items()} for s in (0.5, 2.0)]
    expected = [ug.grad(loss)(w) for w in weights]
    found = [[], []]

    def work(i):
        found[i].extend(ug.grad(loss)(weights[i]) for _ in range(5))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        assert len(found[i]) == 5
        for gradient in found[i]:
            for name, g in gradient.items():
                np.testing.assert_array_equal(g, expected[i][name])


def test_state_is_threaded_and_detached():
    for model in (net(), linen()):
        apply, params = ug.functional(model, mode="train", state="return")
        _, once = apply(params, X, seed=0)
        assert set(once) == set(apply.state)
        _, twice = apply(params, X, state=once, seed=0)
        mean = next(name for name in once if name.endswith("mean"))
        assert np.abs(np.asarray(twice[mean])).sum() > np.abs(np.asarray(once[mean])).sum() > 0

        def statistics(p, apply=apply, mean=mean):
            output, state = apply(p, X, seed=0)
            return jnp.sum(state[mean]) + 0 * jnp.sum(output)

        gradient = ug.grad(statistics)(params)
        assert all(not np.asarray(g).any() for g in gradient.values())
        with pytest.raises(ug.errors.StructureError, match="unknown"):
            apply(params, X, state={**once, "extra": X})


def test_mode_set_twice_is_refused():
    for model, flag in ((linen(), "train"), (nn.Dropout(0.5), "deterministic")):
        pair = model if isinstance(model, tuple) else (model, {})
        apply, params = ug.functional(pair)
        with pytest.raises(ug.errors.ArgumentError, match=f"'{flag}' is set by"):
            apply(params, X, **{flag: True})
        with pytest.raises(ug.errors.ArgumentError, match=f"'{flag}' is set by"):
            apply(params, X, True)
    apply, params = ug.functional(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    with pytest.raises(ug.errors.ArgumentError, match="mode=None"):
        apply(params, X, deterministic=True)


# ---------------------------------------------------------------- weights and modes set elsewhere


W = nnx.Param(jnp.full(4, 2.0))
TABLE = {"w": W}


def _scaled(x):
    return x * W[...]


def test_nnx_globals_that_are_weights_are_refused():
    own = nnx.Param(jnp.full(4, 2.0))

    class Using(nnx.Module):
        def __init__(self):
            self.w, self.own = W, own

        def __call__(self, x):
            return self.scaled(x)

    class Global(Using):
        def scaled(self, x):
            return (lambda y: y * W[...])(x)

    class Held(Using):
        def scaled(self, x):
            return x * TABLE["w"][...]

    class Helped(Using):
        @nnx.jit
        def scaled(self, x):
            return _scaled(x)

    class Closed(Using):
        def scaled(self, x):
            return x * own[...]

    class Right(Using):
        def scaled(self, x):
            return x * self.w[...]

        def unused(self):
            return W, own

    for kind, name in ((Global, "W"), (Held, "TABLE"), (Helped, "W"), (Closed, "own")):
        with pytest.raises(ug.errors.UnsupportedError, match=f"uses '{name}', which holds"):
            ug.functional(kind())
        with pytest.raises(ug.errors.UnsupportedError, match="attribute of self"):
            ug.functional(nnx.Sequential(kind()))
    apply, params = ug.functional(Right())
    np.testing.assert_allclose(ug.grad(loss_of(apply))(params)["w"], 4 * (X**2).sum(0), rtol=1e-6)


class _Both(nn.Module):
    """A mode by field and by argument, each of which decides something."""

    train: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not self.train)(x)
        return nn.Dropout(0.5, deterministic=not train)(x)


class _Around(nn.Module):
    inner: nn.Module

    def __call__(self, x):
        return self.inner(x)


class _Merged(nn.Module):
    """The convention of linen's own layers: a field or an argument, never both."""

    train: bool | None = None

    @nn.compact
    def __call__(self, x, train=None):
        on = nn.merge_param("train", self.train, train)
        return nn.Dropout(0.5, deterministic=not on)(nn.BatchNorm(use_running_average=not on)(x))


@pytest.mark.parametrize(
    ("kind", "fixed"),
    [(_Both, False), (_Both, True), (_Merged, False), (_Merged, True), (_Merged, None)],
)
def test_linen_modes_by_field_and_argument_of_one_name(kind, fixed):
    for around in (False, True):
        model = _Around(kind(train=fixed)) if around else kind(train=fixed)
        plain = _Around(_Both()) if around else _Both()
        variables = plain.init(jax.random.key(0), X)
        apply, params = ug.functional((model, variables), state="return")
        output, state = apply(params, X)
        np.testing.assert_allclose(output, plain.apply(variables, X), rtol=1e-6)
        (before,) = (x for name, x in apply.state.items() if name.endswith("mean"))
        assert [(x == before).all() for n, x in state.items() if n.endswith("mean")] == [True]
        apply, params = ug.functional((model, variables), mode="train", state="return")
        output, state = apply(params, X, seed=5)
        assert 0 < (np.asarray(output) == 0).sum() < X.size
        moved = [x for name, x in state.items() if name.endswith("mean")]
        np.testing.assert_allclose(moved, [0.01 * X.mean(0)], rtol=1e-5, atol=1e-7)
        kept = np.asarray(output)[np.asarray(output) != 0]
        normed = (X - X.mean(0)) / jnp.sqrt(X.var(0) + 1e-5)
        np.testing.assert_allclose(
            kept, 2 * np.asarray(normed)[np.asarray(output) != 0], rtol=1e-5, atol=1e-6
        )
