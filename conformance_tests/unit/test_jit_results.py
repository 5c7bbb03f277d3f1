"""What a function under ``ug.jit`` returns beside arrays: constants, and what would be frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError, TracingError

RUN_AS_THEY_ARE = ("torch", "mxnet")


@pytest.fixture(params=["numpy", "torch", "tensorflow", "jax", "mxnet"])
def backend(request: pytest.FixtureRequest) -> Any:
    try:
        return ug.get_backend(request.param)
    except BackendNotAvailableError as error:
        pytest.skip(str(error))


def test_a_pullback_is_that_of_its_own_call(backend: Any) -> None:
    """It is right where the function can run as it is, and refused where it cannot."""
    jitted = ug.jit(lambda x: ug.vjp(lambda x: x**2, x))
    x = backend.asarray(np.array([1.0, 2.0], np.float32))
    if backend.name not in RUN_AS_THEY_ARE:
        with pytest.raises(TracingError, match="returned a function"):
            jitted(x)
        return
    for scale in (1, 2, 3):
        _, pullback = jitted(x * scale)
        found = ug.to_numpy(pullback(x)[0])
        np.testing.assert_allclose(found, [2.0 * scale, 8.0 * scale], rtol=1e-6)


def test_constants_among_the_results(backend: Any) -> None:
    jitted = ug.jit(lambda x: (2 * x, np.tanh, None, "s", 3, [1.5], np.dtype("int8")))
    x = backend.asarray(np.array([1.0, 2.0], np.float32))
    for scale in (1, 2, 3):
        first, *rest = jitted(x * scale)
        np.testing.assert_allclose(ug.to_numpy(first), [2.0 * scale, 4.0 * scale])
        assert rest == [np.tanh, None, "s", 3, [1.5], np.dtype("int8")]
