"""torch modules as functions of their weights: right numbers, or an error that says why not."""

import gc
import threading

import numpy as np
import pytest

import unigrad as ug

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")
nn = torch.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # for a scripted module
    pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning"),  # the old one, on purpose
    pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning"),  # of an odd head count
]

F64 = torch.float64


def _data(*shape):
    return torch.linspace(-1, 1.5, int(np.prod(shape)), dtype=F64).reshape(shape).sin()


def _first(y):
    return y[0] if isinstance(y, tuple) else y


def _loss(apply, *inputs):
    return lambda p: (_first(apply(p, *inputs)) ** 2).sum()


def _state(model):
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {
        "values": [(n, x.detach().numpy().tobytes(), id(x), x.requires_grad) for n, x in tensors],
        "grads": [p.grad for p in model.parameters()],
        "attributes": [(m.training, sorted(vars(m))) for m in model.modules()],
    }


def _close(got, wanted, **tolerance):
    assert got.keys() == wanted.keys()
    for name, x in wanted.items():
        np.testing.assert_allclose(got[name].detach(), x.detach(), err_msg=name, **tolerance)


# ---------------------------------------------------------------- the numbers of backward


class _Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.norm2 = nn.Conv2d(c, c, 3, padding=1, groups=2), nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(x + self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x))))))


class _Containers(nn.Module):
    """Weights and modules reached by every Python detour that a copy has to follow."""

    def __init__(self):
        super().__init__()
        self.listed = nn.ModuleList([nn.Linear(3, 3)])
        self.named = nn.ModuleDict({"a": nn.Linear(3, 3)})
        self.loose = nn.ParameterList([torch.ones(3)])
        self.keyed = nn.ParameterDict({"z": torch.ones(3)})
        self.python = [self.listed[0], (self.loose[0],)]
        self.nested = {"k": {"w": self.named["a"].weight}}
        self.act = self._act
        self.parent = [self]

    def _act(self, x):
        return torch.tanh(x) * self.keyed["z"]

    def forward(self, x):
        y = self.act(self.python[0](x) + self.named["a"](x) * self.python[1][0])
        return y @ self.nested["k"]["w"] + self.parent[0].loose[0]


class _Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.again = self.encoder

    def forward(self, x):
        return self.again(self.decoder(torch.tanh(self.encoder(x))))


class _OwnParameter(nn.Parameter):
    pass


class _Dressed(nn.Module):
    """A parameter of a class of its own, with an attribute that forward() reads."""

    def __init__(self):
        super().__init__()
        self.w = _OwnParameter(_data(3))
        self.w.scale = 2.0

    def forward(self, x):
        assert isinstance(self.w, _OwnParameter)
        return torch.tanh(x * self.w) * self.w.scale


class _Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.complex(_data(3, 3), _data(3, 3).cos()))

    def forward(self, x):
        return (x.to(self.w.dtype) @ self.w).abs()


def _pruned():
    layer = nn.Linear(3, 3)
    prune.random_unstructured(layer, "weight", 0.3)
    return layer


def _resnet():
    body = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), _Block(4)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def _compiled_call():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    model.compile()
    return model


_ROWS = (5, 3)
_IMAGE = (2, 1, 8, 8)
_WORDS = (2, 5, 4)
_MODELS = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)),
        _ROWS,
    ),
    "resnet": (_resnet, _IMAGE),
    "sync_batch_norm": (lambda: nn.SyncBatchNorm.convert_sync_batchnorm(_resnet()), _IMAGE),
    "lstm": (lambda: nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True), _WORDS),
    "gru": (lambda: nn.GRU(4, 3, 2, bidirectional=True, batch_first=True), _WORDS),
    "rnn": (lambda: nn.RNN(4, 3, 2), _WORDS),
    "attention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), _WORDS, _WORDS, _WORDS),
    "encoder": (lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), _WORDS),
    "transformer": (lambda: nn.Transformer(4, 2, 1, 1, 8, 0.0, batch_first=True), _WORDS, _WORDS),
    "spectral_norm": (lambda: torch.nn.utils.spectral_norm(nn.Linear(3, 3)), _ROWS),
    "spectral": (
        lambda: torch.nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
        _ROWS,
    ),
    "weight_norm": (lambda: torch.nn.utils.weight_norm(nn.Linear(3, 3)), _ROWS),
    "weight": (lambda: torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), _ROWS),
    "orthogonal": (lambda: torch.nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)), _ROWS),
    "pruned": (_pruned, _ROWS),
    "containers": (_Containers, _ROWS),
    "tied": (_Tied, _ROWS),
    "dressed": (_Dressed, _ROWS),
    "complex": (_Complex, _ROWS),
    "fx": (lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.Tanh())), _ROWS),
    "compiled_call": (_compiled_call, _ROWS),
}


def _model(name):
    make, *shapes = _MODELS[name]
    torch.manual_seed(0)
    model = make()
    if name not in ("complex", "dressed"):  # .double() would make new parameters
        model = model.double()
    return model, [_data(*shape) for shape in shapes]


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", _MODELS)
def test_gradients_and_states_are_those_of_backward(name, mode):
    """S16: whatever mode the model is in; the model is bit-identical afterwards."""
    model, inputs = _model(name)
    for training in (True, False):
        model.train(training)
        before = _state(model)
        apply, params = ug.functional(model, mode=mode, state="return")
        gradient, after = ug.grad(
            lambda p, a=apply: ((_first((out := a(p, *inputs))[0]) ** 2).sum(), out[1]),
            has_aux=True,
        )(params)
        assert _state(model) == before
    if name == "compiled_call":  # compiling it is not the point
        model._compiled_call_impl = None
    model.train(mode == "train")
    _loss(lambda p, *x: model(*x), *inputs)(None).backward()
    _close(gradient, {n: p.grad for n, p in model.named_parameters()}, rtol=1e-11, atol=1e-12)
    _close(after, dict(model.named_buffers()), rtol=1e-14)
    assert not any(x.requires_grad for x in after.values())


# Trap: attention has a test of its own, against its other kernel; the u and v of
# spectral norm in train mode are constants to torch, but not to a difference quotient.
_SECOND_ORDER = sorted(_MODELS.keys() - {"encoder", "transformer", "compiled_call"})


@pytest.mark.parametrize("name", _SECOND_ORDER)
def test_hessian_vector_products(name):
    """Against differences of gradients; torch's own weight_norm kernel fails this (2.13)."""
    model, inputs = _model(name)
    apply, params = ug.functional(model)
    loss = _loss(apply, *inputs)
    generator = torch.Generator().manual_seed(1)
    v = {n: torch.randn(p.shape, dtype=p.dtype, generator=generator) for n, p in params.items()}
    step = 1e-5
    up, down = (
        ug.grad(loss)({n: p + sign * step * v[n] for n, p in params.items()}) for sign in (1, -1)
    )
    wanted = {n: (up[n] - down[n]) / (2 * step) for n in params}
    _close(ug.hvp(loss, params, v), wanted, rtol=1e-4, atol=1e-4)


def test_attention_has_its_second_derivative():
    model, inputs = _model("encoder")
    apply, params = ug.functional(model)
    loss = _loss(apply, *inputs)
    product = ug.hvp(loss, params, params)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        wanted = ug.hvp(loss, params, params)
    _close(product, wanted, rtol=1e-5, atol=1e-5)


def test_sparse_embeddings_have_dense_derivatives():
    tokens = torch.tensor([0, 2, 2])
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(4, 2, sparse=sparse), nn.Linear(2, 1)).double()
        apply, params = ug.functional(model)
        loss = _loss(lambda p, x, a=apply: torch.tanh(a(p, x)), tokens)
        gradient = ug.grad(loss)(params)
        hessian = ug.hessian(loss)(params)
        jacobian = ug.jacobian(lambda p, a=apply: a(p, tokens))(params)
        rows = [x for row in hessian.values() for x in row.values()]
        found.append([*gradient.values(), *rows, *jacobian.values()])
    for x, y in zip(*found, strict=True):
        assert (x.layout, x.dtype) == (torch.strided, F64)
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------- transforms


def _small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.1), nn.Linear(4, 1))
    return model.double(), _data(5, 3)


def test_torch_func_and_every_operator():
    """S13: apply inside torch.func, torch.func inside apply's operators; all say the same."""
    model, x = _small()
    apply, params = ug.functional(model)
    loss = _loss(apply, x)
    wanted = ug.grad(loss)(params)
    _close(torch.func.grad(loss)(params), wanted, rtol=1e-13)
    ones = {n: torch.ones_like(p) for n, p in params.items()}
    slope = sum(g.sum() for g in wanted.values())
    np.testing.assert_allclose(ug.jvp(loss, params, ones)[1], slope)
    np.testing.assert_allclose(torch.func.jvp(loss, (params,), (ones,))[1].detach(), slope)

    def one(p, row):
        return (apply(p, row[None]) ** 2).sum()

    rows = torch.func.vmap(torch.func.grad(one), (None, 0))(params, x)
    _close(torch.func.vmap(ug.grad(one), (None, 0))(params, x), rows, rtol=1e-13)
    _close({n: g.sum(0) for n, g in rows.items()}, wanted, rtol=1e-12, atol=1e-13)
    jacobian = ug.jacobian(lambda p: apply(p, x)[:, 0])(params)
    y = apply(params, x)
    weighted = {n: torch.tensordot(2 * y[:, 0], j, 1) for n, j in jacobian.items()}
    _close(weighted, wanted, rtol=1e-12, atol=1e-13)
    hessian = ug.hessian(loss)(params)
    product = ug.hvp(loss, params, ones)
    name = "3.weight"
    row = sum(hessian[name][n].flatten(2).sum(2) for n in params)
    np.testing.assert_allclose(row, product[name], rtol=1e-11)


def test_many_models_at_once():
    """torch.func.vmap over stacked weights is each of them."""
    model, x = _small()
    apply, params = ug.functional(model)
    stack = {n: torch.stack([p, 2 * p]) for n, p in params.items()}
    ys = torch.func.vmap(apply, (0, None))(stack, x)
    torch.testing.assert_close(ys[1], apply({n: 2 * p for n, p in params.items()}, x))


# ug.jit of trees breaks into several graphs, and torch looks at .grad between them.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_jit_follows_the_model():
    """S13: nothing of the model is baked: weights, statistics and options are read anew."""
    model, x = _small()
    model[0].bias.requires_grad_(False)
    apply, params = ug.functional(model)
    params = {n: p.clone() for n, p in params.items()}
    plain = ug.value_and_grad(lambda p, x: (apply(p, x) ** 2).sum())
    compiled = ug.jit(plain)
    seen = set()

    def check():
        value, gradient = plain(params, x)
        fast, fast_gradient = compiled(params, x)
        torch.testing.assert_close(fast, value)
        _close(fast_gradient, gradient, rtol=1e-9, atol=1e-11)
        assert float(value) not in seen
        seen.add(float(value))

    check()
    ug.assign(model, {"0.bias": -np.ones(4), "1.running_mean": np.full(4, 0.5)})
    check()
    model[1].running_var = torch.full((4,), 9.0, dtype=F64)
    check()
    model[2].negative_slope = 0.7
    check()


class _Joined(nn.Module):
    def forward(self, x):
        return torch.cat([x, 2 * x])


def test_apply_is_one_graph():
    """torch.compile follows all of it, the check of operands included, without a break."""
    model, x = _small()
    model.append(_Joined())
    apply, params = ug.functional(model, mode="train", state="return")

    def gradient(*weights):
        def loss(*weights):
            y, after = apply(dict(zip(params, weights, strict=True)), x)
            return (y**2).sum(), after["1.running_mean"]

        return torch.func.grad(loss, argnums=tuple(range(len(params))), has_aux=True)(*weights)

    compiled = torch.compile(gradient, fullgraph=True, dynamic=False, backend="aot_eager")
    before = _state(model)["values"]
    (*got, mean), (*wanted, same) = (
        [*grads, after] for grads, after in (compiled(*params.values()), gradient(*params.values()))
    )
    assert _state(model)["values"] == before
    torch.testing.assert_close(mean, same)
    torch.testing.assert_close(got, wanted)


def test_threads_run_one_model_on_different_weights():
    """S7: functional_call, which swaps tensors in the model, fails this."""
    model, x = _small()
    apply, params = ug.functional(model, mode="train")
    gradient = ug.grad(_loss(apply, x))
    sets = [{n: p * (k + 1) for n, p in params.items()} for k in range(4)]
    wanted = [gradient(p) for p in sets]
    odd = []

    def work(k):
        for _ in range(30):
            got = gradient(sets[k])
            if not all(torch.equal(got[n], wanted[k][n]) for n in got):
                odd.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert odd == []


# ---------------------------------------------------------------- mode, state, seed


def test_states_are_chained_and_assigned_by_hand():
    model, x = _small()
    apply, params = ug.functional(model, mode="train", state="return")
    _, once = apply(params, x)
    before = {n: b.clone() for n, b in once.items()}
    _, twice = apply(params, x, state=once)
    _close(once, before)
    assert int(twice["1.num_batches_tracked"]) == 2
    assert int(model[1].num_batches_tracked) == 0
    ug.assign(apply, twice)
    assert int(model[1].num_batches_tracked) == 2
    torch.testing.assert_close(apply.state["1.running_var"], twice["1.running_var"])


def test_frozen_weights_are_state_or_parameters():
    model, x = _small()
    model[0].requires_grad_(False)
    apply, params = ug.functional(model)
    assert {"0.weight", "0.bias"} <= apply.state.keys()
    assert not {"0.weight", "0.bias"} & params.keys()
    state = {**apply.state, "0.weight": torch.zeros(4, 3, dtype=F64)}
    by_state = ug.grad(lambda w: (apply(params, x, state={**state, "0.weight": w}) ** 2).sum())(
        state["0.weight"]
    )
    apply, params = ug.functional(model, trainable_only=False)
    assert apply.state.keys() == {f"1.{n}" for n, _ in model[1].named_buffers()}
    zeroed = {**params, "0.weight": state["0.weight"]}
    wanted = ug.grad(_loss(apply, x))(zeroed)["0.weight"]
    torch.testing.assert_close(by_state, wanted)
    assert params["0.weight"].data_ptr() == model[0].weight.data_ptr()


def test_seed_decides_the_draws_and_leaves_the_stream():
    model = nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5)).double()
    x = _data(5, 3)
    apply, params = ug.functional(model, mode="train")
    stream = torch.get_rng_state()
    y = apply(params, x, seed=3)
    assert torch.equal(y, apply(params, x, seed=3))
    assert not torch.equal(y, apply(params, x, seed=-4))
    assert torch.equal(stream, torch.get_rng_state())
    torch.manual_seed(7)
    y, after = apply(params, x), torch.get_rng_state()
    torch.manual_seed(7)
    assert torch.equal(y, model.train()(x))
    assert torch.equal(after, torch.get_rng_state())


class _FrozenNorm(nn.Module):
    """The usual way to keep a BatchNorm frozen."""

    def __init__(self):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(3), nn.Dropout(0.5)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x):
        assert self.dropout.training
        return self.norm(x)


def test_mode_is_what_the_models_own_train_makes_of_it():
    model = _FrozenNorm().double().eval()
    apply, params = ug.functional(model, mode="train")
    x = _data(5, 3)
    torch.testing.assert_close(apply(params, x), model.norm(x).detach())
    assert not model.dropout.training


def test_mode_none_is_the_models_own():
    model, x = _small()
    apply, params = ug.functional(model, mode=None)
    model.train()
    in_train = apply(params, x)
    model.eval()
    assert not torch.equal(in_train, apply(params, x))
    torch.testing.assert_close(apply(params, x), model(x).detach())
    apply, params = ug.functional(model, mode="eval")
    with pytest.raises(ug.errors.ArgumentError, match="mode="):
        apply(params, x, training=True)


# ---------------------------------------------------------------- memory


def test_a_thousand_calls_leave_memory_flat():
    """Without the garbage collector: neither models nor graphs are kept by cycles."""
    model, x = _small()
    apply, params = ug.functional(model, mode="train")
    gradient = ug.grad(_loss(apply, x))
    gradient(params)
    gc.collect()
    gc.disable()
    try:
        for _ in range(1000):
            gradient(params)
        kept = sum(type(x) is nn.BatchNorm1d for x in gc.get_objects())
    finally:
        gc.enable()
    gc.collect()
    assert kept - sum(type(x) is nn.BatchNorm1d for x in gc.get_objects()) <= 1
