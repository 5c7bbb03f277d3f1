"""Learning in plain NumPy: recurrent, convolutional and attention networks, an autoencoder."""

import numpy as np
import pytest

import unigrad as ug

RNG = np.random.default_rng(6)


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------- LSTM


SEQUENCE = RNG.normal(size=(6, 3, 2))
TARGET = RNG.normal(size=(6, 3, 4))


def lstm(p, inputs):
    """Outputs of all steps; the gates are in the order of torch."""
    h = c = np.zeros((inputs.shape[1], p["w_hh"].shape[1]))
    outputs = []
    for x in inputs:
        gates = x @ p["w_ih"].T + p["b_ih"] + h @ p["w_hh"].T + p["b_hh"]
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


def lstm_loss(p):
    return np.mean((lstm(p, SEQUENCE) - TARGET) ** 2)


def lstm_weights():
    shapes = {"b_hh": (16,), "b_ih": (16,), "w_hh": (16, 4), "w_ih": (16, 2)}
    rng = np.random.default_rng(0)
    return {name: 0.4 * rng.normal(size=shape) for name, shape in shapes.items()}


def test_lstm(confirm):
    confirm(lstm_loss, lstm_weights(), holomorphic=True)


def test_lstm_is_that_of_torch():
    torch = pytest.importorskip("torch")
    p, v = lstm_weights(), {k: np.cos(w) for k, w in lstm_weights().items()}
    layer = torch.nn.LSTM(2, 4).double()
    names = {
        "b_hh": "bias_hh_l0",
        "b_ih": "bias_ih_l0",
        "w_hh": "weight_hh_l0",
        "w_ih": "weight_ih_l0",
    }
    for ours, theirs in names.items():
        layer.get_parameter(theirs).data.copy_(torch.asarray(p[ours]))
    outputs, _ = layer(torch.asarray(SEQUENCE))
    loss = ((outputs - torch.asarray(TARGET)) ** 2).mean()
    weights = [layer.get_parameter(theirs) for theirs in names.values()]
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    products = torch.autograd.grad(gradients, weights, [torch.asarray(v[k]) for k in names])
    g, Hv = ug.grad(lstm_loss)(p), ug.hvp(lstm_loss, p, v)
    for k, ours in enumerate(names):
        np.testing.assert_allclose(g[ours], gradients[k].detach().numpy(), 1e-11, 1e-14)
        np.testing.assert_allclose(Hv[ours], products[k].numpy(), 1e-10, 1e-13)


# ---------------------------------------------------------------- variational autoencoder


IMAGES = (RNG.random((5, 9)) < 0.4).astype(float)


def elbo(p, noise):
    """Evidence lower bound of a Bernoulli decoder: Kingma and Welling (2014), equation 10."""
    hidden = np.tanh(IMAGES @ p["encode"] + p["bias"])
    mean, log_variance = np.split(hidden @ p["code"], 2, axis=1)
    z = mean + np.exp(0.5 * log_variance) * noise
    logits = np.maximum(z @ p["decode"], 0.0) @ p["draw"]
    reconstruction = np.sum(IMAGES * logits - np.logaddexp(0.0, logits), axis=1)
    divergence = -0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance), axis=1)
    return np.mean(reconstruction - divergence)


def vae_weights():
    rng = np.random.default_rng(1)
    shapes = {"bias": (6,), "code": (6, 4), "decode": (2, 7), "draw": (7, 9), "encode": (9, 6)}
    return {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}


def test_variational_autoencoder(confirm):
    noise = np.random.default_rng(2).normal(size=(5, 2))
    confirm(lambda p: elbo(p, noise), vae_weights(), rtol=1e-6, step=1e-4)


def test_variational_autoencoder_draws_its_own_noise():
    """Draws inside the function are constants; the step of Adam goes uphill."""

    def noisy(p, seed):
        return elbo(p, np.random.default_rng(seed).normal(size=(5, 2)))

    p = vae_weights()
    noise = np.random.default_rng(3).normal(size=(5, 2))
    given, drawn = ug.grad(elbo)(p, noise), ug.grad(noisy)(p, 3)
    assert all(np.array_equal(given[k], drawn[k]) for k in p)

    first = {k: np.zeros_like(w) for k, w in p.items()}
    second = {k: np.zeros_like(w) for k, w in p.items()}
    before = noisy(p, 0)
    for t in range(1, 81):
        g = ug.grad(noisy)(p, t)
        for k in p:
            first[k] = 0.9 * first[k] + 0.1 * g[k]
            second[k] = 0.99 * second[k] + 0.01 * g[k] ** 2
            step = first[k] / (1 - 0.9**t) / (np.sqrt(second[k] / (1 - 0.99**t)) + 1e-8)
            p[k] += 0.05 * step
    assert noisy(p, 0) > before + 1.0


# ---------------------------------------------------------------- convolution and attention


def test_convolutional_network(confirm):
    """Convolution by windows, pooling by reshape, cross-entropy by fancy indices."""
    images = RNG.normal(size=(4, 8, 8))
    labels = np.array([0, 2, 1, 2])

    def loss(p):
        windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
        maps = np.tanh(np.einsum("nijab,cab->ncij", windows, p["filters"]))
        pooled = maps.reshape(4, 2, 3, 2, 3, 2).max(axis=(3, 5))
        logits = pooled.reshape(4, -1) @ p["out"]
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -log_p[np.arange(4), labels].mean()

    confirm(loss, {"filters": RNG.normal(size=(2, 3, 3)), "out": RNG.normal(size=(18, 3))})


def test_saliency_of_a_convolution(confirm):
    """The same by the image, through shifted slices that add up."""
    filters = RNG.normal(size=(3, 3))

    def score(image):
        rows, cols = image.shape[0] - 2, image.shape[1] - 2
        total = 0.0
        for a in range(3):
            for b in range(3):
                total = total + filters[a, b] * image[a : a + rows, b : b + cols]
        return np.sum(np.tanh(total) ** 2)

    confirm(score, RNG.normal(size=(6, 7)), holomorphic=True)


def test_transformer_block(confirm):
    """Heads by reshape and transpose, a causal mask, layer norms, and GELU."""
    tokens = RNG.integers(0, 5, size=7)

    def layer_norm(x):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)

    def loss(p):
        x = p["embedding"][tokens[:-1]]
        q, k, v = (layer_norm(x) @ w for w in p["qkv"])
        q, k, v = (a.reshape(6, 2, 4).transpose(1, 0, 2) for a in (q, k, v))
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(4)
        scores = np.where(np.tril(np.ones((6, 6), dtype=bool)), scores, -np.inf)
        mixed = (softmax(scores) @ v).transpose(1, 0, 2).reshape(6, 8)
        x = x + mixed
        hidden = layer_norm(x) @ p["up"]
        x = x + 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        probabilities = softmax(x @ p["embedding"].T)
        return -np.mean(np.log(probabilities[np.arange(6), tokens[1:]]))

    p = {
        "embedding": RNG.normal(size=(5, 8)),
        "qkv": 0.5 * RNG.normal(size=(3, 8, 8)),
        "up": 0.5 * RNG.normal(size=(8, 8)),
    }
    confirm(loss, p, rtol=1e-6)


def test_soft_alignment(confirm):
    """Soft dynamic time warping: a table filled cell by cell; Cuturi and Blondel (2017)."""
    other = np.array([0.0, 1.0, 0.5, -0.5, 0.2])

    def soft_min(values):
        values = np.stack(values)
        low = np.min(values)
        return low - np.log(np.sum(np.exp(low - values)))

    def distance(x):
        n, m = len(x), len(other)
        cost = (x[:, None] - other[None, :]) ** 2
        R = np.full_like(cost, 1e6, shape=(n + 1, m + 1))
        R[0, 0] = 0.0
        for i in range(1, n + 1):
            for j in range(1, m + 1):
                best = soft_min([R[i - 1, j - 1], R[i - 1, j], R[i, j - 1]])
                R[i, j] = cost[i - 1, j - 1] + best
        return R[-1, -1]

    confirm(distance, RNG.normal(size=4), rtol=1e-6)


def test_gradient_penalty(confirm):
    """A loss that contains the gradient by the input: mixed third derivatives for its Hessian."""
    x = RNG.normal(size=(5, 3))

    def critic(x, W, a):
        return np.tanh(x @ W) @ a

    def penalty(p):
        slopes = ug.grad(lambda x: critic(x, p["W"], p["a"]), reduce="sum")(x)
        return np.mean((np.sqrt(np.sum(slopes**2, axis=1)) - 1) ** 2)

    def by_hand(p):
        t = np.tanh(x @ p["W"])
        slopes = ((1 - t**2) * p["a"]) @ p["W"].T
        return np.mean((np.sqrt(np.sum(slopes**2, axis=1)) - 1) ** 2)

    p = {"W": RNG.normal(size=(3, 4)), "a": RNG.normal(size=4)}
    confirm(penalty, p)
    confirm(by_hand, p, holomorphic=True)
    g, expected = ug.grad(penalty)(p), ug.grad(by_hand)(p)
    np.testing.assert_allclose(g["W"], expected["W"], rtol=1e-10)
