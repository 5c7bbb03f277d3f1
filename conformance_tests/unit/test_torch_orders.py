"""Higher derivatives where torch's own are wrong, missing, or constants in silence."""

import threading

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import HigherOrderError

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def r(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def weighted(y, k=0):
    numbers = torch.arange(y.numel(), dtype=y.dtype)
    return (y * torch.cos(1.7 * numbers + 0.3 + k).reshape(y.shape)).sum()


def nest(f, count):
    """The scalar after so many gradients, each summed with weights."""

    def scalar(*xs):
        return weighted(torch.sin(f(*xs)))

    for k in range(count):

        def scalar(*xs, inner=scalar, k=k):
            grads = ug.grad(inner, tuple(range(len(xs))))(*xs)
            return sum(weighted(g, k) for g in grads)

    return scalar


def derivative(f, xs, order):
    return ug.grad(nest(f, order - 1), tuple(range(len(xs))))(*xs)


def assert_orders(f, other, xs, orders=(1, 2, 3, 4)):
    """Two functions have the same derivatives."""
    for order in orders:
        pairs = zip(derivative(f, xs, order), derivative(other, xs, order), strict=True)
        for got, wanted in pairs:
            got, wanted = got.detach(), wanted.detach()
            scale = float(wanted.abs().max()) + 1e-9
            np.testing.assert_allclose(got / scale, wanted / scale, atol=1e-9, err_msg=str(order))


def assert_slopes(f, xs, orders=(1, 2, 3), rtol=1e-5):
    """Each order is the central difference of the one below."""
    step = 1e-5
    vs = [r(*x.shape, seed=9 + k) for k, x in enumerate(xs)]
    for order in orders:
        lower = nest(f, order - 1)
        up, down = (lower(*[x + s * v for x, v in zip(xs, vs, strict=True)]) for s in (step, -step))
        got = sum((g * v).sum() for g, v in zip(derivative(f, xs, order), vs, strict=True))
        slope = (up - down) / (2 * step)
        np.testing.assert_allclose(got.detach(), slope.detach(), rtol=rtol, atol=1e-7)


def standard(x, axes, eps=1e-5):
    centered = x - x.mean(axes, keepdim=True)
    return centered / torch.sqrt((centered**2).mean(axes, keepdim=True) + eps)


# ---------------------------------------------------------------- wrong numbers


def test_torch_itself_is_still_wrong():
    """What the formulas are for; if this fails, they may go."""
    x = r(3, 4).requires_grad_()
    found = []
    for norm in (lambda x: F.layer_norm(x, (4,)), lambda x: standard(x, -1)):
        y = weighted(torch.sin(norm(x)))
        for k in range(3):
            (g,) = torch.autograd.grad(y, x, create_graph=True)
            y = weighted(g, k)
        found.append(g.detach())
    assert float((found[0] - found[1]).abs().max()) > 0.01


def test_normalizations():
    """layer_norm, batch_norm in training, and instance_norm; torch's third order is wrong."""
    x, x3, w, b = r(4, 6), r(2, 6, 4), r(6, seed=1), r(6, seed=2)
    for own in (F.layer_norm, torch.layer_norm):
        assert_orders(
            lambda x, w, b, own=own: own(x, (6,), w, b),
            lambda x, w, b: standard(x, -1) * w + b,
            (x, w, b),
        )
    assert_orders(lambda x: F.layer_norm(x, (6, 4)), lambda x: standard(x, (-2, -1)), (x3,))
    assert_orders(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: standard(x, (0, 2)) * w[:, None] + b[:, None],
        (x3, w, b),
    )
    assert_orders(
        lambda x, w, b: torch.batch_norm(x, w, b, None, None, True, 0.1, 1e-5, False),
        lambda x, w, b: standard(x, 0) * w + b,
        (x, w, b),
        orders=(3,),
    )
    assert_orders(
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        lambda x, w, b: standard(x, -1) * w[:, None] + b[:, None],
        (x3, w, b),
    )
    mean, var = r(6).abs(), r(6).abs() + 0.5
    assert_orders(
        lambda x: F.batch_norm(x, mean, var),
        lambda x: (x - mean) / torch.sqrt(var + 1e-5),
        (x,),
        orders=(3,),
    )


def test_running_statistics_move_once():
    """Each order updates them as one call does."""
    x = r(5, 4)
    for order in (1, 2, 3, 4):
        layer, reference = (torch.nn.BatchNorm1d(4).double() for _ in range(2))
        derivative(layer, (x,), order)
        reference(x)
        assert torch.equal(layer.running_mean, reference.running_mean)
        assert torch.equal(layer.running_var, reference.running_var)
        assert int(layer.num_batches_tracked) == 1


def test_weight_norm():
    """torch._weight_norm; its second order is wrong."""
    assert_orders(
        lambda v, g: torch._weight_norm(v, g, 0),
        lambda v, g: v * g / v.norm(dim=1, keepdim=True),
        (r(3, 4), r(3, 1)),
    )


def test_series_at_zero():
    """sinc, i0, i1: torch divides by zero, and masks, at higher orders."""
    x = torch.tensor([0.0, 1e-4, 0.4, -0.9, 1.3, -4.0], dtype=torch.float64)
    for f in (torch.sinc, torch.special.i0, torch.special.i1):
        assert_slopes(f, (x,), orders=(1, 2, 3, 4), rtol=1e-4)
    zero = torch.tensor(0.0, dtype=torch.float64)
    np.testing.assert_allclose(ug.grad(ug.grad(torch.sinc))(zero), -(np.pi**2) / 3)
    third = ug.grad(ug.grad(ug.grad(torch.special.i1)))(zero)
    np.testing.assert_allclose(third, 3 / 8)


def test_logcumsumexp():
    """torch's third order is NaN."""
    for x, axis in ((r(5), 0), (30 * r(3, 4), -1), (r(3, 2), 0)):
        assert_orders(
            lambda x, axis=axis: x.logcumsumexp(axis),
            lambda x, axis=axis: torch.log(torch.cumsum(torch.exp(x), axis)),
            (x,),
            orders=(1, 2, 3),
        )


def test_chunked_cross_entropy():
    """Its second derivative is wrong in chunks."""
    found = pytest.importorskip("torch.nn.modules.linear_cross_entropy_options")
    target = torch.tensor([0, 2, 1, 1])
    options = found.LinearCrossEntropyOptions(batch_chunk_size=2, allow_retain_graph=True)
    assert_orders(
        lambda x, w: F.linear_cross_entropy(x, w, target, options=options),
        lambda x, w: F.cross_entropy(x @ w.T, target),
        (r(4, 3), r(5, 3)),
        orders=(2, 3),
    )


@pytest.mark.filterwarnings("ignore:Using padding=.same:UserWarning")
def test_dilated_conv3d_in_single_precision():
    """oneDNN reads foreign memory where the third derivative goes."""
    x, w, b = r(1, 2, 7, 6, 7), 0.3 * r(2, 2, 4, 3, 2), r(2)
    for padding, dilation in (("same", 3), (4, 2), ((1, 2, 0), (1, 2, 1))):

        def f(x, w, b, padding=padding, dilation=dilation):
            return F.conv3d(x, w, b, padding=padding, dilation=dilation)

        rough = derivative(f, (x.float(), w.float(), b.float()), 3)
        for got, wanted in zip(rough, derivative(f, (x, w, b), 3), strict=True):
            scale = float(wanted.abs().max())
            np.testing.assert_allclose(got / scale, wanted / scale, atol=5e-3)


# ---------------------------------------------------------------- missing ones


def test_attention():
    """The fused kernels have no second derivative; the numbers are those of the formula."""
    q, k, v = r(1, 2, 3, 4), r(1, 2, 5, 4, seed=1), r(1, 2, 5, 4, seed=2)
    mask = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1]], dtype=torch.bool)

    def formula(q, k, v, bias=0.0):
        return torch.softmax(q @ k.mT / 2 + bias, -1) @ v

    attention = F.scaled_dot_product_attention
    assert_orders(attention, formula, (q, k, v), orders=(1, 2, 3))
    bias = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)
    for given in (mask, bias):
        assert_orders(
            lambda q, k, v, given=given: attention(q, k, v, given),
            lambda q, k, v: formula(q, k, v, bias),
            (q, k, v),
            orders=(1, 2),
        )
    causal = torch.ones(3, 3).tril().log().double()
    assert_orders(
        lambda q: attention(q, key=q, value=q, is_causal=True),
        lambda q: formula(q, q, q, causal),
        (q,),
        orders=(1, 2),
    )
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    assert not ug.hvp(lambda q: attention(q, k, v, nothing).sum(), q, q).any()


def test_attention_layers():
    """nn.MultiheadAttention without weights, and an encoder layer, against themselves with."""
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(4, 2, batch_first=True).double()
    x = r(2, 3, 4)
    padded = torch.tensor([[False, False, True], [False, False, False]])
    for options in ({}, {"key_padding_mask": padded}):
        assert_orders(
            lambda x, options=options: layer(x, x, x, need_weights=False, **options)[0],
            lambda x, options=options: layer(x, x, x, need_weights=True, **options)[0],
            (x,),
            orders=(1, 2, 3),
        )
    encoder = torch.nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True).double()
    assert_slopes(encoder, (x,))


def test_missing_second_derivatives_have_formulas():
    """cdist, pdist and hardsigmoid."""
    x, y = r(3, 4), r(2, 4, seed=1)
    for p in (1.0, 2.0, 3.0):
        assert_orders(
            lambda x, y, p=p: torch.cdist(x, y, p),
            lambda x, y, p=p: ((x[:, None] - y).abs() ** p).sum(-1) ** (1 / p),
            (x, y),
            orders=(1, 2, 3),
        )
    assert_slopes(torch.pdist, (x,))
    assert_orders(F.hardsigmoid, lambda x: torch.clamp(x / 6 + 0.5, 0, 1), (4 * x,))


def test_output_padding():
    """conv_transpose with it raises at the third order in torch."""
    x, w, b = r(1, 2, 3, 4), r(2, 2, 3, 3), r(2)
    for options in (
        {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)},
        {"stride": 3, "padding": (0, 2), "output_padding": (2, 0), "dilation": 2},
    ):

        def f(x, w, b, options=options):
            return F.conv_transpose2d(x, w, b, **options)

        value = {}

        def seen(x, w, b, f=f, value=value):
            value["y"] = f(x, w, b)
            return value["y"]

        derivative(seen, (x, w, b), 3)
        torch.testing.assert_close(value["y"].detach(), f(x, w, b))
        assert_slopes(f, (x, w, b))


@pytest.mark.parametrize(
    ("name", "f", "x"),
    [
        (
            "_ctc_loss_backward",
            lambda x: F.ctc_loss(
                F.log_softmax(x, -1), torch.tensor([[1, 2]]), torch.tensor([5]), torch.tensor([2])
            ),
            r(5, 1, 4),
        ),
        (
            "_embedding_bag_backward",
            lambda w: F.embedding_bag(torch.tensor([[0, 1], [2, 1]]), w).sin().sum(),
            r(3, 4),
        ),
        (
            "multi_margin_loss_backward",
            lambda x: F.multi_margin_loss(x, torch.tensor([1, 0])),
            r(2, 4),
        ),
        (
            "scatter_reduce",
            lambda x: (
                torch.zeros(1)
                .double()
                .scatter_reduce(0, torch.tensor([0, 0]), x.flatten() * 0, "prod")
                .sum()
            ),
            r(2),
        ),
    ],
)
def test_missing_ones_are_named(name, f, x):
    """No raw RuntimeError; first order works, and the cause is kept."""
    assert torch.isfinite(ug.grad(f)(x)).all()
    for derivative_of in (
        lambda: ug.hvp(f, x, x),
        lambda: ug.hvp(f, x, x, method="forward_over_reverse"),
        lambda: ug.hessian(f)(x),
        lambda: ug.grad(lambda x: weighted(ug.grad(f)(x)))(x),
    ):
        with pytest.raises(HigherOrderError, match=rf"{name}.*type: ") as caught:
            derivative_of()
        assert isinstance(caught.value.__cause__, RuntimeError)
    assert ug.hvp(f, x, x, method="finite_difference").shape == x.shape


def test_rules_that_cannot_be_differentiated():
    """once_differentiable is zero in silence in torch; torch.utils.checkpoint is refused."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return 3 * g * ctx.saved_tensors[0] ** 2

    def f(x):
        return Cube.apply(x).sum()

    x = r(3)
    np.testing.assert_allclose(ug.grad(f)(x), 3 * x**2)
    for ask in (
        lambda: ug.hvp(f, x, x),
        lambda: ug.hessian(f)(x),
        lambda: ug.jvp(Cube.apply, (x,), (x,)),
        lambda: ug.grad(lambda x: ug.grad(f)(x).sum())(x),
    ):
        with pytest.raises(HigherOrderError, match=r"Cube.*once_differentiable"):
            ask()

    from torch.utils.checkpoint import checkpoint

    def wrapped(x):
        return checkpoint(lambda x: F.layer_norm(x, (3,)), x, use_reentrant=False)

    with pytest.raises(HigherOrderError, match=r"ug\.checkpoint"):
        derivative(wrapped, (x,), 3)


def test_errors_of_the_function_come_as_they_are():
    """Also one that reads as torch's; and nothing is left behind."""

    def f(x):
        raise RuntimeError("derivative for aten::own_backward is not implemented")

    x = r(3, 4)
    for order in (1, 2, 3):
        with pytest.raises(RuntimeError, match="own_backward") as caught:
            derivative(f, (x,), order)
        assert type(caught.value) is RuntimeError
    assert torch._C._len_torch_function_stack() == 0
    before = ug.grad(lambda x: F.layer_norm(x, (4,)).sin().sum())
    assert "NativeLayerNorm" in str(F.layer_norm(x.requires_grad_(), (4,)).grad_fn)
    assert before(x).shape == x.shape


# ---------------------------------------------------------------- every way to nest


def norm(x):
    return F.layer_norm(x, (4,))


def formula(x):
    return standard(x, -1)


def curved(h):
    """A Hessian-vector product as a scalar."""

    def f(x):
        c = torch.cos(torch.arange(x.numel(), dtype=x.dtype)).reshape(x.shape)
        return (ug.hvp(lambda x: (c * torch.sin(h(x))).sum(), x, c) * c * c).sum()

    return f


def test_mixed_nesting():
    """hvp, hessian, jvp, checkpoint, torch.func and torch.compile around and inside."""
    x, c = r(3, 4), r(3, 4, seed=1)
    wanted = ug.grad(curved(formula))(x)

    def same(got):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)

    same(ug.grad(curved(norm))(x))
    same(torch.func.grad(curved(norm))(x))
    same(torch.func.vmap(ug.grad(curved(norm)))(torch.stack([c, x]))[1])
    same(ug.grad(curved(ug.checkpoint(norm)))(x))
    same(torch.compile(ug.grad(curved(norm)), backend="eager", fullgraph=True)(x))

    def moved(h):
        return ug.jvp(lambda x: ug.hvp(lambda x: torch.sin(h(x)).sum(), x, c), (x,), (c,))[1]

    np.testing.assert_allclose(moved(norm), moved(formula), rtol=1e-9, atol=1e-9)

    def cross(h):
        return ug.grad(lambda x: ug.hessian(lambda x: torch.sin(h(x)).sum())(x).cos().sum())(x)

    np.testing.assert_allclose(cross(norm), cross(formula), rtol=1e-9, atol=1e-9)
    q = r(1, 2, 3, 4)

    def attended(q):
        return F.scaled_dot_product_attention(q, q, q).sin().sum()

    torch.testing.assert_close(ug.hvp(ug.checkpoint(attended), q, q), ug.hvp(attended, q, q))
    _, tangent = ug.jvp(attended, (q,), (q,))
    torch.testing.assert_close(tangent, (ug.grad(attended)(q) * q).sum())


def test_jit():
    """The traced graph is that of the formulas."""
    third = ug.jit(ug.grad(curved(norm)))
    with torch._dynamo.config.patch(disable=True):  # the graph runs as it is
        for x in (r(3, 4), r(3, 4, seed=1)):
            torch.testing.assert_close(third(x), ug.grad(curved(formula))(x))


def test_threads():
    """Depth belongs to a thread: a first order beside a third one is torch's own kernel."""
    x, seen, wrong = r(3, 4), set(), []
    wanted = ug.grad(curved(formula))(x)

    def first():
        for _ in range(30):
            ug.grad(lambda x: seen.add(norm(x).grad_fn.name()) or norm(x).sum())(x)

    def third():
        for _ in range(10):
            if not torch.allclose(ug.grad(curved(norm))(x), wanted):
                wrong.append(1)

    threads = [threading.Thread(target=work) for work in (first, third, third)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"NativeLayerNormBackward0"}
    assert not wrong


def test_torch_differentiates_our_second_derivative():
    """backward() over ug.hvp is a third order: exact, or an error where it cannot be."""
    x, c = r(3, 4), r(3, 4, seed=1)
    layer = torch.nn.LayerNorm(4).double()

    def third(h):
        product = ug.hvp(lambda x: torch.sin(h(x)).sum(), x, c)
        return torch.autograd.grad((product * c).sum(), list(layer.parameters()))

    pairs = zip(third(layer), third(lambda x: formula(x) * layer.weight + layer.bias), strict=True)
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, atol=1e-9)
    p = x.clone().requires_grad_()
    (got,) = torch.autograd.grad(curved(norm)(p), p)
    np.testing.assert_allclose(got, ug.grad(curved(formula))(x), rtol=1e-9, atol=1e-9)
    w = r(4, 4).requires_grad_()

    def through(x):
        return torch.sin(norm(x @ w)).sum()

    for ask in (
        lambda: ug.hvp(through, x, c),
        lambda: ug.grad(lambda x: (ug.grad(through)(x) * c).sum())(x),
    ):
        result = ask()
        assert torch.isfinite(result).all()
        with pytest.raises(HigherOrderError, match=r"third derivative of layer_norm.*type: "):
            result.sum().backward()
    first = ug.grad(through)(x)
    assert torch.isfinite(torch.autograd.grad(first.sum(), w)[0]).all()
