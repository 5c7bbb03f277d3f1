"""MXNet Gluon for unigrad."""

import platform
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from unigrad.backend import BackendSpec, Capabilities
from unigrad.errors import ArgumentError

__all__ = ["spec", "translation"]

F = TypeVar("F", bound=Callable[[list[Any], Any, bool], list[Any]])

_WHEELS = sys.version_info < (3, 12) and sys.platform == "linux" and platform.machine() == "x86_64"

spec = BackendSpec(
    name="mxnet",
    adapter="unigrad_mxnet.adapter:MxnetBackend",
    modules=("mxnet",),
    framework="mxnet",
    distribution="mxnet",
    install="pip install 'unigrad[mxnet]'",
    capabilities=Capabilities(
        complex=False,
        custom_vjp=True,
        jit=True,
        models=True,
        native=frozenset({"custom_vjp", "functional", "hvp", "jit", "jvp", "linearize"}),
        hvp="forward_over_reverse",
    ),
    unavailable=None
    if _WHEELS
    else "MXNet 1.9.1 has wheels for Python 3.11 and older on Linux x86-64 only",
)


def translation(*names: str) -> Callable[[F], F]:
    """Say in plain NumPy what an operator of MXNet computes: all its derivatives follow from that.

    y = fn(inputs, attributes, training): the list of the operator's outputs from the list of its
    inputs, written in plain NumPy, which unigrad differentiates to any order. ``attributes`` maps
    names to MXNet's strings and reads them too: ``.real(name, default)``, ``.integer``, ``.flag``,
    ``.shape``, ``.text``. ``training`` tells the mode. It may branch on shapes and attributes, not
    on values. Where MXNet's own first derivative is right, it is still used.

    Args:
        names: the operator's names in MXNet's registry, as the error of a missing translation
            gives them. All of a user's operators are ``"Custom"``, told apart by their
            ``attributes["op_type"]``.

    Raises:
        ArgumentError: if MXNet has no operator of that name.

    >>> import numpy as np, unigrad as ug, unigrad_mxnet
    >>> @unigrad_mxnet.translation("_image_flip_left_right")
    ... def flipped(inputs, attributes, training):
    ...     return [inputs[0][..., ::-1, :]]
    >>> x = ug.get_backend("mxnet").asarray(np.array([[[1.0], [2.0]]])).as_nd_ndarray()
    >>> import mxnet as mx
    >>> ug.grad(lambda x: (mx.nd.image.flip_left_right(x) * x * x).sum())(x).asnumpy().ravel()
    array([8., 5.])
    """
    from unigrad_mxnet.watching import OPERATORS, registered  # imports MXNet

    known = {name: registered(name) for name in names}
    for name, own in known.items():
        if own is None:
            raise ArgumentError(
                f"a translation was given for {name!r}, and MXNet has no operator of that name; "
                f"type the name in its registry, as error messages show it"
            )

    def register(fn: F) -> F:
        OPERATORS.update((own, fn) for own in known.values() if own is not None)
        return fn

    return register
