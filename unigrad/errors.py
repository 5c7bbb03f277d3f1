"""Every error that unigrad raises, and the builtin each one also is.

    UnigradError
    +-- ArgumentError               TypeError    an argument that the operator does not know
    +-- ScalarOutputError           ValueError   not a real scalar (S2)
    +-- NotDifferentiableError      TypeError    integer, boolean or foreign leaf (S4)
    +-- UnconnectedError            ValueError   the output does not depend on this leaf (S3)
    +-- StructureError              ValueError   trees that do not match (S15)
    |   +-- ShapeError              ValueError   leaves that do not match in shape or dtype
    +-- BackendError
    |   +-- MixedBackendError       TypeError    two frameworks in one call (S10)
    |   +-- BackendNotAvailableError ImportError known, but not installed (S11)
    |   +-- UnknownBackendError     ValueError   no adapter of that name
    +-- HigherOrderError            NotImplementedError   no exact second derivative (S12)
    +-- UnsupportedError            NotImplementedError   the backend cannot do this
    +-- TracingError                TypeError    plain NumPy code that cannot be followed

A message says what was asked, what was got, and what to type instead.
"""

__all__ = [
    "ArgumentError",
    "BackendError",
    "BackendNotAvailableError",
    "HigherOrderError",
    "MixedBackendError",
    "NotDifferentiableError",
    "ScalarOutputError",
    "ShapeError",
    "StructureError",
    "TracingError",
    "UnconnectedError",
    "UnigradError",
    "UnknownBackendError",
    "UnsupportedError",
]


class UnigradError(Exception):
    """Root of every error raised on purpose by unigrad."""

    # tf.function re-raises an error as its own type only if it is constructed as Exception is.
    __init__ = Exception.__init__


class ArgumentError(UnigradError, TypeError):
    """An operator was called with an argument that it does not know."""


class ScalarOutputError(UnigradError, ValueError):
    """A scalar-only operator met a function whose output is not a real scalar (S2)."""


class NotDifferentiableError(UnigradError, TypeError):
    """A leaf or an output is of a type that has no derivative (S4)."""


class UnconnectedError(UnigradError, ValueError):
    """With ``unconnected="error"``: the output does not depend on a differentiated leaf (S3)."""


class StructureError(UnigradError, ValueError):
    """Two trees that must have the same structure do not (S15)."""


class ShapeError(StructureError):
    """Two leaves that must agree in shape or dtype do not (S15)."""


class BackendError(UnigradError):
    """Something about which framework does the work."""


class MixedBackendError(BackendError, TypeError):
    """Arrays of two frameworks met in one call (S10)."""


class BackendNotAvailableError(BackendError, ImportError):
    """The backend is known, but its framework is not installed or does not import (S11)."""


class UnknownBackendError(BackendError, ValueError):
    """No adapter is registered under this name (S11)."""


class HigherOrderError(UnigradError, NotImplementedError):
    """An exact higher-order derivative does not exist for an operator on this backend (S12)."""


class UnsupportedError(UnigradError, NotImplementedError):
    """The backend does not offer what was asked; its ``Capabilities`` say so."""


class TracingError(UnigradError, TypeError):
    """Plain NumPy code did something that the engine cannot follow."""
