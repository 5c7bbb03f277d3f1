"""MXNet Gluon for unigrad."""

import platform
import sys

from unigrad.backend import BackendSpec, Capabilities

__all__ = ["spec"]

_WHEELS = sys.version_info < (3, 12) and sys.platform == "linux" and platform.machine() == "x86_64"

spec = BackendSpec(
    name="mxnet",
    adapter="unigrad_mxnet.adapter:MxnetBackend",
    modules=("mxnet",),
    framework="mxnet",
    distribution="mxnet",
    install="pip install 'unigrad[mxnet]'",
    capabilities=Capabilities(
        second_order=False,
        complex=False,
        custom_vjp=True,
        models=True,
        native=frozenset({"custom_vjp", "functional"}),
    ),
    unavailable=None
    if _WHEELS
    else "MXNet 1.9.1 has wheels for Python 3.11 and older on Linux x86-64 only",
)
