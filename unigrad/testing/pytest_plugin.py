"""The pytest side: the option ``--backend``, the fixture ``backend``, one thread for everything.

It is loaded by ``-p unigrad.testing.pytest_plugin``, early enough to limit threads before any
framework starts them. Parametrisation knows names only, so that collection imports no framework.
"""

from __future__ import annotations

import os
import sys

import pytest

import unigrad as ug
from unigrad.backend import Backend
from unigrad.errors import BackendNotAvailableError

__all__ = ["backend", "load_or_skip", "selected_backends"]

REQUIRE_ALL = "UNIGRAD_REQUIRE_ALL"

for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}.items():
    os.environ.setdefault(_name, _value)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--backend NAME``, any number of times."""
    parser.getgroup("unigrad").addoption(
        "--backend",
        action="append",
        default=None,
        metavar="NAME",
        help="run for this backend only; may be given several times (default: every known one)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and a folder in which JAX keeps what it compiled for the next run."""
    config.addinivalue_line("markers", "xdist_group(name): tests that one worker runs")
    if config.pluginmanager.has_plugin("cacheprovider") and config.cache is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Under ``-n``, tests of one group share a worker and its results, unless told otherwise."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadgroup"


def selected_backends(config: pytest.Config) -> list[str]:
    """The names that ``--backend`` gave, by default all known ones."""
    chosen: list[str] | None = config.getoption("--backend")
    known = list(ug.backends())
    if chosen is None:
        return known
    names = [name for text in chosen for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise pytest.UsageError(f"--backend {unknown[0]}: the known ones are {', '.join(known)}")
    return names


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes ``backend_name`` or ``backend`` runs once for each backend."""
    if "backend_name" in metafunc.fixturenames:
        metafunc.parametrize("backend_name", selected_backends(metafunc.config))


def load_or_skip(name: str) -> Backend:
    """The backend; where it is not installed the test is skipped, or fails if all are required."""
    try:
        found = ug.get_backend(name)
    except BackendNotAvailableError as error:
        if os.environ.get(REQUIRE_ALL) == "1":
            pytest.fail(f"{REQUIRE_ALL}=1, but {error}", pytrace=False)
        pytest.skip(f"{name} is not installed")
    if name == "torch":
        # The one framework whose thread count no environment variable covers entirely.
        sys.modules["torch"].set_num_threads(1)
    return found


@pytest.fixture
def backend(backend_name: str) -> Backend:
    """The adapter of one backend."""
    return load_or_skip(backend_name)
