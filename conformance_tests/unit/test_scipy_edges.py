"""unigrad.scipy at its edges: infinities, ends of supports, refusals, and without SciPy."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import TracingError, UnsupportedError

if importlib.util.find_spec("scipy") is None:
    pytest.skip("SciPy is not installed", allow_module_level=True)

import scipy.special

import unigrad.scipy as us

X = np.array([0.3, 0.8, 2.4, 1.7])


def test_logsumexp_at_infinities_and_zero_weights() -> None:
    lse = us.special.logsumexp
    x = np.array([-np.inf, 1.0, 1000.0])
    np.testing.assert_array_equal(ug.grad(lse)(x), [0.0, 0.0, 1.0])
    b = np.array([1.0, 2.0, 0.0])
    value, g = ug.value_and_grad(lambda x: lse(x, b=b))(x)
    assert value == scipy.special.logsumexp(x, b=b)
    np.testing.assert_array_equal(g, [0.0, 1.0, 0.0])
    by_weight = ug.grad(lambda b: lse(np.array([0.0, 1.0]), b=b))(np.array([1.0, 0.0]))
    np.testing.assert_allclose(by_weight, [1.0, np.e])


def test_outside_the_support_and_wrong_parameters() -> None:
    stats = us.stats
    assert stats.gamma.logpdf(-1.0, 2.0) == -np.inf
    assert ug.grad(stats.gamma.pdf)(-1.0, 2.0) == 0.0
    assert np.isnan(stats.norm.logpdf(0.0, scale=-1.0))
    assert np.isnan(stats.binom.pmf(1, 2.5, 0.5))
    assert stats.poisson.logpmf(1.5, 2.0) == -np.inf
    assert stats.t.logpdf(0.4, np.inf) == stats.norm.logpdf(0.4)
    assert ug.grad(stats.laplace.cdf)(0.0) == 0.5
    assert np.isnan(stats.norm.cdf(np.nan))
    assert np.isnan(stats.beta.cdf(np.nan, 1.0, 2.0))
    assert np.isnan(stats.dirichlet.logpdf(np.array([0.5, 0.6]), np.ones(2)))
    assert stats.cauchy.logpdf(0.0) == pytest.approx(-np.log(np.pi), rel=1e-15)
    assert stats.cauchy.logpdf(-1e200) == pytest.approx(
        -np.log(np.pi) - 400 * np.log(10), rel=1e-15
    )
    assert stats.bernoulli.pmf(np.array([True, False]), 0.3) == pytest.approx([0.3, 0.7])


def test_counts_and_shapes_without_a_rule_are_refused() -> None:
    with pytest.raises(TracingError, match="count of a discrete distribution"):
        ug.grad(lambda k: us.stats.poisson.logpmf(k, 2.0))(3.0)
    with pytest.raises(TracingError, match="count of a discrete distribution"):
        ug.grad(lambda n: us.stats.binom.logpmf(1, n, 0.5))(3.0)
    with pytest.raises(TracingError, match=r"scipy\.special\.gammainc has no derivative"):
        ug.grad(lambda a: us.stats.gamma.cdf(1.0, a))(2.0)
    with pytest.raises(TypeError, match="takes the parameters a, loc, scale"):
        us.stats.gamma.logpdf(1.0)
    with pytest.raises(TypeError, match="takes the parameters"):
        us.stats.norm.logpdf(1.0, sigma=2.0)
    with pytest.raises(UnsupportedError, match="assume_a='banded'"):
        us.linalg.solve(np.eye(2), X[:2], assume_a="banded")
    with pytest.raises(TracingError, match="zi"):
        ug.grad(lambda x: np.sum(us.signal.lfilter([1.0], [1.0, 0.5], x, zi=[0.1])[0]))(X)


def test_what_else_is_in_scipy_special_is_not_lost_silently() -> None:
    """A Python function of scipy.special without a rule converts to plain arrays: an error."""
    with pytest.raises(TracingError):
        ug.grad(lambda x: us.special.comb(x, 2))(3.5)


def test_importing_unigrad_does_not_import_scipy() -> None:
    code = "import sys, unigrad; print('scipy' in sys.modules, 'unigrad.scipy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_without_scipy_the_error_says_what_to_install() -> None:
    code = (
        "import importlib.util as u, sys\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'scipy' else find(name, *a)\n"
        "import unigrad.scipy"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BackendNotAvailableError: unigrad.scipy needs SciPy" in out.stderr
    assert "pip install 'unigrad[scipy]'" in out.stderr
