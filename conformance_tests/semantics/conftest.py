"""What the tests of the contract share: one `Kit` a backend, and a snapshot of every global flag.

A test that takes ``kit`` runs on every backend, one that takes ``exact_kit`` on those with exact
second order. Where a framework is missing it is skipped, or fails under UNIGRAD_REQUIRE_ALL=1.
"""

import contextlib
import os
import random
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest

import unigrad as ug

BACKENDS = ("numpy", "torch", "tensorflow", "jax", "mxnet")
EXACT = tuple(name for name in BACKENDS if ug.backends()[name].capabilities.second_order)


def available(name):
    """Skip where the framework is not installed, unless every one is required."""
    info = ug.backends()[name]
    if not info.installed:
        if os.environ.get("UNIGRAD_REQUIRE_ALL") == "1":
            pytest.fail(f"{name} is required, but {info.reason}")
        pytest.skip(f"{name}: {info.reason}")


@dataclass(frozen=True)
class Kit:
    """One backend, and how to make and read its arrays."""

    name: str

    @property
    def backend(self):
        return ug.get_backend(self.name)

    @property
    def capabilities(self):
        return self.backend.capabilities

    @property
    def xp(self):
        return self.backend.xp

    def array(self, values, dtype="float64"):
        return ug.asarray(np.array(values, dtype=dtype), backend=self.name)

    def scope(self, *xs):
        """What the framework's own arithmetic on these arrays needs (JAX: x64)."""
        return ug.get_backend(self.name).scope(xs) or contextlib.nullcontext()

    def numpy(self, x):
        return np.asarray(self.backend.to_numpy(x))

    def dtype(self, x):
        return self.backend.dtype(x)

    def shape(self, x):
        return self.backend.shape(x)

    def owns(self, x):
        return isinstance(x, self.backend.array_types)

    def same(self, actual, expected, rtol=1e-12):
        """Equal to a NumPy array of this shape, to the last digits."""
        assert self.owns(actual), f"{type(actual)} is no array of {self.name}"
        expected = np.asarray(expected)
        got = self.numpy(actual)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol)


@pytest.fixture(params=BACKENDS)
def kit(request):
    available(request.param)
    return Kit(request.param)


@pytest.fixture(params=EXACT)
def exact_kit(request):
    available(request.param)
    return Kit(request.param)


@pytest.fixture
def need():
    """``need("torch")``: the kit of one backend, or a skip."""

    def get(name):
        available(name)
        return Kit(name)

    return get


@pytest.fixture
def two_kits():
    """Two kits of different frameworks, other than NumPy; MXNet last."""
    order = ("torch", "jax", "tensorflow", "mxnet")
    found = [Kit(name) for name in order if ug.backends()[name].installed]
    if len(found) < 2:
        available(next(name for name in order if not ug.backends()[name].installed))
    return found[:2]


@pytest.fixture
def flags():
    """``flags()``: every global setting that a call could have changed (S5)."""
    return snapshot


def snapshot():
    state = {
        "numpy names": {k for k, v in vars(np).items() if not isinstance(v, ModuleType)},
        "numpy values": {k: id(v) for k, v in vars(np).items() if not k.startswith("__")},
        "numpy errors": np.geterr(),
        "numpy random": repr(np.random.get_state()),
        "python random": random.getstate(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "recursion": sys.getrecursionlimit(),
    }
    for name, read in _READERS.items():
        module = sys.modules.get(name)
        if module is not None:
            state[name] = read(module)
    return state


def _torch(torch):
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "random": torch.get_rng_state().numpy().tobytes(),
    }


def _tensorflow(tf):
    return {
        "eager": tf.executing_eagerly(),
        "functions eager": tf.config.functions_run_eagerly(),
        "outside": tf.compat.v1.executing_eagerly_outside_functions(),
        "graph": tf.compat.v1.get_default_graph() if not tf.executing_eagerly() else None,
        "device": tf.zeros(()).device,
    }


def _keras(keras):
    return {"floatx": keras.config.floatx(), "backend": keras.config.backend()}


def _jax(jax):
    return {"values": dict(jax.config.values), "x64": jax.config.jax_enable_x64}


def _mxnet(mx):
    return {
        "np array": mx.util.is_np_array(),
        "np shape": mx.util.is_np_shape(),
        "recording": mx.autograd.is_recording(),
        "training": mx.autograd.is_training(),
        "context": str(mx.current_context()),
    }


_READERS = {
    "torch": _torch,
    "tensorflow": _tensorflow,
    "keras": _keras,
    "jax": _jax,
    "mxnet": _mxnet,
}
