"""What would give a wrong number in silence, found by users: right, or an error that names it."""

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import NotDifferentiableError, StructureError, TracingError

GRID = np.arange(6.0).reshape(2, 3) + 1
SQUARE = np.arange(9.0).reshape(3, 3) + 1

# numpy.matrix announces its own end.
pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")


def _write_imag(x):
    y = x * (1 + 1j)
    y.imag[:] = x**3
    return np.sum(np.abs(y) ** 2)


def _replace_in_place(x):
    y = x * 1.0
    np.nan_to_num(y, copy=False)
    return np.sum(y)


@pytest.mark.parametrize(
    ("f", "x", "says"),
    [
        (lambda x: np.sum(np.bincount(x, minlength=3) ** 2), np.ones(3), "bincount"),
        (lambda x: np.sum(np.histogram([0.0, 1.0], weights=x)[0]), np.ones(2), "histogram"),
        (lambda x: np.sum(np.arange(6.0) * x.T.ravel("K")), GRID, "order='K'"),
        (lambda x: np.sum(np.arange(6.0) * x.T.flatten("A")), GRID, "order='A'"),
        (_write_imag, np.array([1.0, 2.0]), "in-place"),
        (_replace_in_place, np.array([1.0, 2.0]), "copy=False"),
        (lambda w: np.sum(w * np.matrix(SQUARE)), np.ones((3, 3)), "matrix"),
        (lambda w: np.mean(w * np.ma.array([1.0, 5.0], mask=[0, 1])), np.ones(2), "MaskedArray"),
    ],
)
def test_plain_numpy_that_is_not_followed(f, x, says):
    with pytest.raises(TracingError, match=says):
        ug.grad(f)(x)


def test_scipy_sparse_operands():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TracingError, match="csr_matrix"):
        ug.grad(lambda x: np.sum(x * sparse.csr_matrix(SQUARE)))(np.ones(3))


@pytest.mark.parametrize("make", [np.matrix, np.ma.array])
def test_array_classes_with_operators_of_their_own(make):
    with pytest.raises(NotDifferentiableError, match=r"np\.asarray"):
        ug.grad(lambda a: np.sum(a * a))(make(SQUARE))


def test_writes_that_numpy_shares():
    def through_cast(x):
        y = x * 1.0
        y.astype(float, copy=False)[...] = x**2
        return np.sum(y)

    def through_conjugate(x):
        y = x * 1.0
        y.conj()[...] = x**2
        return np.sum(y)

    for f in (through_cast, through_conjugate):
        np.testing.assert_array_equal(ug.grad(f)(np.array([1.0, 2.0])), [2.0, 4.0])


def test_a_list_beside_a_traced_array():
    gradient = ug.grad(lambda h: np.sum(np.heaviside([0.0, 1.0, -1.0, 0.0], h)))(np.full(4, 0.3))
    np.testing.assert_array_equal(gradient, [1.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax"])
def test_frameworks_that_numpy_functions_leave(name):
    if not ug.backends()[name].installed:
        pytest.skip(f"{name} is not installed")
    x = ug.asarray(np.array([1.0, 2.0]), backend=name)
    with pytest.raises(NotDifferentiableError, match="left " + name):
        ug.grad(lambda a: np.sum(ug.to_numpy(ug.stop_gradient(x)) ** 2))(x)
    with pytest.raises(TracingError, match=r"not followed|would be converted"):
        ug.grad(lambda a: np.sum(a * x))(np.array([0.1, 0.2]))


def test_a_torch_model_is_given_all_its_parameters():
    torch = pytest.importorskip("torch")
    apply, params = ug.functional(torch.nn.Linear(2, 1))
    with pytest.raises(StructureError, match=r"missing \['bias', .*, unknown \['weights'\]"):
        apply({"weights": params["weight"]}, torch.ones(2))


def test_numbers_are_part_of_a_torch_signature():
    torch = pytest.importorskip("torch")
    gradient = ug.jit(ug.grad(lambda a, n: (a**n).sum()))
    x = torch.tensor([1.0, 2.0])
    assert [gradient(x, n).tolist() for n in (2, 3)] == [[2.0, 4.0], [3.0, 12.0]]
