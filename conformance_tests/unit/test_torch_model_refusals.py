"""Models whose numbers would silently be wrong: each is right, or refused with the reason."""

from collections import Counter

import numpy as np
import pytest

import unigrad as ug

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # scripted modules

F64 = torch.float64


def _data(*shape):
    return torch.linspace(-1, 1.5, int(np.prod(shape)), dtype=F64).reshape(shape).sin()


def _loss(apply, *inputs):
    return lambda p: (apply(p, *inputs) ** 2).sum()


def _small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.1), nn.Linear(4, 1))
    return model.double(), _data(5, 3)


# ---------------------------------------------------------------- other weights than were given


class _Closure(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = layer = nn.Linear(3, 3)
        self.call = lambda x: layer(x)

    def forward(self, x):
        return self.call(x)


class _Holder:
    pass


class _Object(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.holder = nn.Linear(3, 3), _Holder()
        self.holder.layer = self.layer

    def forward(self, x):
        return self.holder.layer(x)


class _Returning(_Closure):
    def forward(self, x):
        return {"y": x, "w": self.call.__closure__[0].cell_contents.weight}


def test_returning_a_weight_that_was_not_given_is_refused():
    apply, params = ug.functional(_Returning().double())
    with pytest.raises(ug.errors.UnsupportedError, match=r"its own 'layer\.weight'"):
        apply(params, _data(5, 3))


class _Shapes(nn.Module):
    """Asks its own weight through a closure for its shape, which is harmless, or its value."""

    def __init__(self, value):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        w = self.layer.weight
        self.ask = (lambda: w.max().item()) if value else (lambda: w.shape[0] + w.size(1) + len(w))

    def forward(self, x):
        return self.layer(x) * self.ask()


def test_shapes_of_own_weights_may_be_asked_for_but_not_values():
    apply, params = ug.functional(_Shapes(False).double())
    apply(params, _data(5, 3))
    apply, params = ug.functional(_Shapes(True).double())
    with pytest.raises(ug.errors.UnsupportedError, match=r"its own 'layer\.weight'"):
        apply(params, _data(5, 3))


class _Checkpointed(nn.Module):
    """A checkpoint runs its part again in the backward pass, and updates BatchNorm again."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.part, x, use_reentrant=False)


def test_a_checkpoint_does_not_overwrite_the_returned_state():
    model, x = _Checkpointed().double(), _data(5, 3)
    apply, params = ug.functional(model, mode="train", state="return")

    def loss(p):
        y, after = apply(p, x)
        return (y**3).sum(), after

    _, after = ug.grad(loss, has_aux=True)(params)
    model.train().part(x)
    for name, b in model.named_buffers():
        torch.testing.assert_close(after[name], b)


class _Teacher(nn.Module):
    """A second model out of torch's sight; its statistics must not move either."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.hidden = [nn.BatchNorm1d(3).double()]

    def forward(self, x):
        return self.layer(x) - self.hidden[0](x)


def test_a_hidden_model_is_left_as_it_is():
    model = _Teacher().double()
    apply, params = ug.functional(model, mode="train")
    ug.grad(_loss(apply, _data(5, 3)))(params)
    assert not model.hidden[0].running_mean.any()


class _Cached(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3).double()
        self.kept = {"detached": self.layer.weight.detach().t(), "graph": self.layer.weight.t()}

    def forward(self, x, which):
        return torch.cat([self.layer(x), x @ self.kept[which]])


class _Writing(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.full((3,), 2.0, dtype=F64))

    def forward(self, x, how):
        if how == "clamp":
            with torch.no_grad():
                self.w.clamp_(0, 1)
        elif how == "data":
            self.w.data /= 2
        elif how == "set":
            self.w.data = torch.zeros_like(self.w)
        elif how == "item":
            with torch.no_grad():
                self.w[0] = 5.0
        else:
            torch.mul(self.w.detach(), 2, out=self.w.detach())
        return x * self.w


@pytest.mark.parametrize("make", [_Closure, _Object])
def test_a_weight_that_was_not_given_is_refused(make):
    apply, params = ug.functional(make().double())
    with pytest.raises(ug.errors.UnsupportedError, match=r"its own 'layer\.weight'"):
        ug.grad(_loss(apply, _data(5, 3)))(params)


def test_jit_refuses_a_closure_too():
    model = _Closure().double()
    apply, params = ug.functional(model)
    with pytest.raises(Exception, match=r"its own 'layer\.weight'"):
        ug.jit(ug.grad(_loss(apply, _data(5, 3))))(params)


@pytest.mark.parametrize("which", ["detached", "graph"])
def test_a_cached_weight_is_refused(which):
    apply, params = ug.functional(_Cached())
    with pytest.raises(ug.errors.UnsupportedError, match="cached copy"):
        ug.grad(_loss(apply, _data(5, 3), which))(params)


@pytest.mark.parametrize("how", ["clamp", "data", "set", "item", "out"])
def test_writing_into_weights_is_refused(how):
    model = _Writing()
    apply, params = ug.functional(model)
    x = _data(5, 3)
    for call in (
        lambda: apply(params, x, how),
        lambda: ug.grad(_loss(apply, x, how))(params),
        lambda: torch.func.grad(_loss(apply, x, how))(params),
    ):
        with pytest.raises(ug.errors.UnsupportedError, match="in place"):
            call()
    assert (model.w == 2).all()
    assert (params["w"] == 2).all()


def test_embeddings_that_renormalise_are_refused():
    model = nn.Embedding(5, 3, max_norm=0.1)
    before = model.weight.detach().clone()
    apply, params = ug.functional(model)
    with pytest.raises(ug.errors.UnsupportedError, match="max_norm"):
        apply(params, torch.tensor([1]))
    assert torch.equal(model.weight, before)


class _Recording(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.history, self.count, self.plain = [], 0, torch.zeros(3, dtype=F64)
        self.seen, self.numbers = Counter(), np.zeros(3)
        self.child = nn.Identity()
        self.child.seen, self.child.numbers = self.history, self.numbers

    def forward(self, x):
        self.history.append(x)
        self.count += 1
        self.plain += 1
        self.seen["calls"] += 1
        self.numbers[0] += 1
        assert self.child.numbers is self.numbers
        assert len(self.child.seen) == 1
        return self.layer(x) + self.plain + self.numbers[0]


def test_what_forward_writes_is_dropped():
    """S16: containers, arrays and numbers that the model holds are as before; lists stay shared."""
    model = _Recording().double()
    apply, params = ug.functional(model)
    first = apply(params, _data(5, 3))
    torch.testing.assert_close(apply(params, _data(5, 3)), first)
    assert (model.history, model.count) == ([], 0)
    assert not model.plain.any()
    assert not model.seen
    assert not model.numbers.any()


def test_changes_of_the_model_are_seen_or_refused():
    model, x = _small()
    apply, params = ug.functional(model)
    model[2] = nn.Tanh()
    torch.testing.assert_close(apply(params, x), model.eval()(x).detach())
    model[3] = nn.Linear(4, 2).double()
    with pytest.raises(ug.errors.StructureError, match=r"3\.weight"):
        apply(params, x)
    model[3] = nn.Identity()
    with pytest.raises(ug.errors.StructureError, match=r"3\.weight"):
        apply(params, x)


class _Slotted(nn.Module):
    __slots__ = ("own",)


class _Deleting(nn.Module):
    def __del__(self):
        pass


def test_what_is_refused_at_once():
    scripted = torch.jit.script(nn.Linear(2, 2))
    for model, why in (
        (nn.Sequential(scripted), "ScriptModule"),
        (nn.DataParallel(nn.Linear(2, 2)), r"\.module"),
        (nn.Sequential(nn.LazyLinear(2)), "example_input"),
        (_Slotted(), "__slots__"),
        (_Deleting(), "__del__"),
    ):
        with pytest.raises(ug.errors.UnsupportedError, match=why):
            ug.functional(model)


def test_parametrize_cached_is_refused():
    model, x = torch.nn.utils.parametrizations.orthogonal(nn.Linear(3, 3).double()), _data(5, 3)
    apply, params = ug.functional(model)
    with (
        torch.nn.utils.parametrize.cached(),
        pytest.raises(ug.errors.UnsupportedError, match="cached"),
    ):
        apply(params, x)


def test_compiled_modules_are_what_they_were_compiled_from():
    model, x = _small()
    apply, params = ug.functional(torch.compile(model))
    assert params.keys() == {n for n, _ in model.named_parameters()}
    torch.testing.assert_close(apply(params, x), model.eval()(x).detach())


def test_a_models_own_parameters_may_be_given():
    model, x = _small()
    apply, _ = ug.functional(model)
    apply(dict(model.named_parameters()), x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_other_dtypes_and_assignment_in_place():
    model = nn.Linear(3, 2)
    apply, params = ug.functional(model)
    assert apply({n: p.double() for n, p in params.items()}, _data(5, 3)).dtype is F64
    identity = [id(p) for p in model.parameters()]
    ug.assign(model, {"bias": np.ones(2)})
    assert [id(p) for p in model.parameters()] == identity
    assert params["bias"].tolist() == [1.0, 1.0]
