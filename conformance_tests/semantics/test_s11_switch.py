"""S11: backend= wins, then the arrays, then use(), the default, UNIGRAD_BACKEND, then NumPy."""

import subprocess
import sys

import numpy as np
import pytest

import unigrad as ug


def square(x):
    return x * x


@pytest.fixture(autouse=True)
def _no_default():
    yield
    ug.set_default_backend(None)


def test_s11_explicit_wins_over_everything(kit, two_kits):
    """S11: over neutral arrays, a scope and a default."""
    ug.set_default_backend(two_kits[0].name)
    with ug.use(two_kits[1].name):
        assert kit.owns(ug.grad(square, backend=kit.name)(3.0))
        assert kit.owns(ug.grad(square, backend=kit.backend)(3.0))
        assert kit.owns(ug.asarray(3.0, backend=kit.name))
        value, gradient = ug.value_and_grad(square, backend=kit.name)(np.float64(3.0))
        assert kit.owns(gradient)
        assert kit.owns(value)
        assert ug.array_namespace(3.0, backend=kit.name) is kit.xp


def test_s11_explicit_reaches_every_operator(exact_kit):
    """S11: backend= is an argument of each."""
    kit, x = exact_kit, np.array([1.0, 2.0])

    def f(x):
        assert kit.owns(x)
        return ug.array_namespace(x).sum(x * x * x)

    kit.same(ug.vjp(f, x, backend=kit.name)[1](1.0)[0], [3.0, 12.0])
    kit.same(ug.jvp(f, x, np.ones(2), backend=kit.name)[1], 15.0)
    kit.same(ug.jacobian(f, backend=kit.name)(x), [3.0, 12.0])
    kit.same(ug.hvp(f, x, np.ones(2), backend=kit.name), [6.0, 12.0])
    kit.same(ug.hessian(f, backend=kit.name)(x), [[6.0, 0.0], [0.0, 12.0]])


def test_s11_explicit_against_the_arrays_is_an_error(two_kits):
    """S11, S10: arrays are never moved behind the user's back."""
    first, second = two_kits
    with pytest.raises(ug.errors.MixedBackendError, match=f"backend='{second.name}' was asked for"):
        ug.grad(square, backend=second.name)(first.array(3.0))


def test_s11_arrays_win_over_the_scope(kit, two_kits):
    """S11: an array of a framework decides."""
    if kit.name == "numpy":
        pytest.skip("NumPy arrays are neutral (S10)")
    other = next(k for k in two_kits if k.name != kit.name)
    with ug.use(other.name):
        assert kit.owns(ug.grad(square)(kit.array(3.0)))


def test_s11_the_innermost_scope_wins(two_kits):
    """S11: scopes nest, and end."""
    first, second = two_kits
    with ug.use(first.name) as entered:
        assert entered is first.backend
        assert first.owns(ug.grad(square)(3.0))
        with ug.use(second.name):
            assert second.owns(ug.grad(square)(3.0))
        assert first.owns(ug.grad(square)(np.float64(3.0)))
    assert isinstance(ug.grad(square)(3.0), np.generic | np.ndarray)


def test_s11_a_scope_may_be_entered_again(two_kits):
    """S11: use() kept in a variable holds each time it is entered."""
    first, _ = two_kits
    with ug.use("numpy"):
        scope = ug.use(first.name)
        for _ in range(2):
            with scope:
                assert first.owns(ug.grad(square)(3.0))
            assert isinstance(ug.grad(square)(3.0), np.generic | np.ndarray)


def test_s11_scope_then_default_then_numpy(two_kits):
    """S11: the process default stands below every scope."""
    first, second = two_kits
    assert isinstance(ug.grad(square)(3.0), np.generic | np.ndarray)
    ug.set_default_backend(first.name)
    assert first.owns(ug.grad(square)(3.0))
    with ug.use(second.name):
        assert second.owns(ug.grad(square)(3.0))
    ug.set_default_backend(None)
    assert isinstance(ug.grad(square)(3.0), np.generic | np.ndarray)


def test_s11_the_scope_at_the_call_decides(two_kits):
    """S11: not the one at the time when the operator was made."""
    first, second = two_kits
    with ug.use(first.name):
        gradient = ug.grad(square)
    with ug.use(second.name):
        assert second.owns(gradient(3.0))


def _python(code, **environment):
    import os

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_s11_the_environment_variable(two_kits):
    """S11: UNIGRAD_BACKEND stands below the process default and above NumPy."""
    first = two_kits[0].name
    code = (
        "import unigrad as ug;"
        "name = lambda: print(type(ug.grad(lambda x: x * x)(3.0)).__module__.split('.')[0]);"
        "name(); ug.set_default_backend('numpy'); name()"
    )
    module = type(two_kits[0].array(1.0)).__module__.split(".")[0]
    assert _python(code, UNIGRAD_BACKEND=first) == [module, "numpy"]
    assert _python(code, UNIGRAD_BACKEND="") == ["numpy", "numpy"]


def test_s11_an_unknown_name(kit):
    """S11: lists the known ones."""
    for call in (
        lambda: ug.grad(square, backend="pytorch")(3.0),
        lambda: ug.use("pytorch"),
        lambda: ug.get_backend("pytorch"),
        lambda: ug.set_default_backend("pytorch"),
        lambda: ug.asarray(1.0, backend="pytorch"),
    ):
        with pytest.raises(ug.errors.UnknownBackendError, match="'jax', 'mxnet', 'numpy'"):
            call()


def test_s11_a_missing_framework_says_what_to_type():
    """S11: a known backend that is not installed: the pip line, and nothing is switched."""
    spec = ug.BackendSpec(
        name="absent",
        adapter="no_such_module:Absent",
        modules=("no_such_framework",),
        framework="no_such_framework",
        distribution="no-such-framework",
        install="pip install 'unigrad[absent]'",
    )
    code = (
        f"import unigrad as ug\nug.register_backend(ug.{spec!r})\n".replace(
            "Capabilities(", "ug.Capabilities("
        )
        + "info = ug.backends()['absent']\n"
        "assert not info.installed and info.version is None, info\n"
        'assert "pip install" in info.reason, info\n'
        "assert 'absent' in repr(ug.backends())\n"
        "for call in (lambda: ug.grad(lambda x: x, backend='absent')(1.0),\n"
        "             lambda: ug.use('absent'), lambda: ug.set_default_backend('absent')):\n"
        "    try:\n"
        "        call()\n"
        "    except ug.errors.BackendNotAvailableError as error:\n"
        "        assert isinstance(error, ImportError)\n"
        "        assert \"pip install 'unigrad[absent]'\" in str(error), error\n"
        "        assert \"'absent'\" in str(error), error\n"
        "    else:\n"
        "        raise AssertionError('no error')\n"
        "assert ug.grad(lambda x: x * x)(3.0) == 6.0\n"
        "print('done')"
    )
    assert _python(code) == ["done"]


def test_s11_detection_imports_nothing():
    """S11: asking about NumPy arrays, or listing the backends, loads no framework."""
    code = (
        "import sys, numpy as np, unigrad as ug\n"
        "ug.grad(lambda x: np.sum(x * x))(np.ones(2)); repr(ug.backends())\n"
        "print(*[m for m in ('torch', 'tensorflow', 'jax', 'mxnet', 'keras') if m in sys.modules])"
    )
    assert _python(code) == []
