"""The error tree: one root, and a builtin that each also is."""

import pickle

import pytest

from unigrad import errors

BUILTINS = {
    "ArgumentError": TypeError,
    "ScalarOutputError": ValueError,
    "NotDifferentiableError": TypeError,
    "UnconnectedError": ValueError,
    "StructureError": ValueError,
    "ShapeError": ValueError,
    "MixedBackendError": TypeError,
    "BackendNotAvailableError": ImportError,
    "UnknownBackendError": ValueError,
    "HigherOrderError": NotImplementedError,
    "UnsupportedError": NotImplementedError,
    "TracingError": TypeError,
}


@pytest.mark.parametrize("name", BUILTINS)
def test_each_is_a_builtin_too(name):
    """`except ValueError` written for the framework keeps working."""
    cls = getattr(errors, name)
    assert issubclass(cls, errors.UnigradError)
    assert issubclass(cls, BUILTINS[name])


@pytest.mark.parametrize("name", errors.__all__)
def test_messages_and_pickles(name):
    """The text is the message; errors cross process boundaries."""
    error = getattr(errors, name)("what to type")
    assert str(error) == "what to type"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == "what to type"


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error_is_constructed_as_exception_is(name):
    """tf.function re-raises only such errors as their own type."""
    assert getattr(errors, name).__init__ is Exception.__init__


def test_children():
    """The drawn tree."""
    assert issubclass(errors.ShapeError, errors.StructureError)
    for name in ("MixedBackendError", "BackendNotAvailableError", "UnknownBackendError"):
        assert issubclass(getattr(errors, name), errors.BackendError)
