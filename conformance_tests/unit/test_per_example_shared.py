"""``per_example="shared"``: one gradient for each example with respect to what they share."""

from __future__ import annotations

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ArgumentError, BackendNotAvailableError, ShapeError, UnconnectedError

rng = np.random.default_rng(0)
W, X = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))


@pytest.fixture(params=["numpy", "torch", "tensorflow", "jax", "mxnet"])
def name(request: pytest.FixtureRequest) -> str:
    try:
        ug.get_backend(request.param)
    except BackendNotAvailableError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.mark.parametrize("interacting", [False, True])
def test_the_gradient_of_each_value(name: str, interacting: bool) -> None:
    """Also where leaves have a row for each example, and where examples interact."""
    with ug.use(name):
        params = {"w": ug.asarray(W), "b": ug.asarray(np.array(0.5)), "unused": ug.asarray(X)}
        x = ug.asarray(X)
        xp = ug.array_namespace(x)

        def losses(params: object, x: object) -> object:
            y = xp.tanh(x @ xp.matrix_transpose(params["w"])) + params["b"]  # type: ignore[index,operator]
            y = xp.sum(y**2, axis=1)
            return y * xp.sum(y) if interacting else y

        value, got = ug.value_and_grad(losses, per_example="shared")(params, x)
        rows = [
            ug.value_and_grad(lambda p, x, i=i: losses(p, x)[i])(params, x)  # type: ignore[index]
            for i in range(4)
        ]
        got = ug.to_numpy(got)
        np.testing.assert_allclose(
            ug.to_numpy(value), [float(ug.to_numpy(v)) for v, _ in rows], rtol=1e-14
        )
        rows = [ug.to_numpy(g) for _, g in rows]
    for leaf in params:
        wanted = np.stack([row[leaf] for row in rows])
        assert got[leaf].shape == wanted.shape == (4, *np.shape(ug.to_numpy(params[leaf])))
        np.testing.assert_allclose(got[leaf], wanted, rtol=1e-13, atol=1e-14)


def test_errors() -> None:
    with pytest.raises(ShapeError, match="per_example='shared'"):
        ug.grad(lambda w: X @ w, per_example=True)(W[0])
    with pytest.raises(ShapeError, match=r"shape \(N,\)"):
        ug.grad(lambda w: w, per_example="shared")(W)
    with pytest.raises(ArgumentError, match="per_example is"):
        ug.grad(lambda w: w, per_example="each")(W)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="choose one"):
        ug.grad(lambda w: X @ w, per_example="shared", reduce="sum")(W[0])
    with pytest.raises(UnconnectedError):
        ug.grad(lambda w: X[:, 0], per_example="shared", unconnected="error")(W[0])
