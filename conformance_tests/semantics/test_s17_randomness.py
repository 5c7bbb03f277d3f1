"""S17: randomness in unigrad's own methods comes from a seed, through a NumPy Generator.

No public method draws yet: the sampling methods (SmoothGrad, Hutchinson probes) come with their
``seed``. What exists is that the one internal draw, the check of ``per_example``, is fixed.
"""

import inspect

import numpy as np

import unigrad as ug


def test_s17_internal_draws_are_the_same_every_time(kit, flags):
    """S17: two calls see the same draws, and no global stream moves."""
    x = kit.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    rows = ug.grad(lambda x: ug.array_namespace(x).sum(x * x, axis=1), per_example=True)
    before = flags()
    first, second = kit.numpy(rows(x)), kit.numpy(rows(x))
    after = flags()
    np.testing.assert_array_equal(first, second)
    assert before["numpy random"] == after["numpy random"]
    if "torch" in before:
        assert before["torch"]["random"] == after["torch"]["random"]


def test_s17_every_method_that_draws_takes_a_seed():
    """S17: a public function with a number of samples has a seed beside it."""
    for name in ug.__all__:
        public = getattr(ug, name)
        if not callable(public):
            continue
        try:
            names = set(inspect.signature(public).parameters)
        except (TypeError, ValueError):
            continue
        if names & {"samples", "num_samples", "n_samples", "probes"}:
            assert "seed" in names, name


def test_s17_a_function_that_draws_keeps_its_own_stream(need):
    """S17, S5: randomness inside f is the framework's, advanced exactly as f advances it."""
    kit = need("torch")
    import torch

    x = kit.array([1.0, 2.0])

    def noisy(x):
        return (x * torch.rand(2, dtype=x.dtype)).sum()

    torch.manual_seed(0)
    noisy(x)
    expected = torch.get_rng_state()
    torch.manual_seed(0)
    ug.grad(noisy)(x)
    assert torch.equal(torch.get_rng_state(), expected)
