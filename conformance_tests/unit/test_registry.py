"""The registry: who owns an array type, what is registered, what is listed."""

import numpy as np
import pytest

import unigrad as ug
from unigrad import registry


class Array:
    """Somebody's array."""

    shape = ()


class Mine(ug.Backend):
    """An adapter that is never asked to compute."""

    name = "mine"
    array_types = (Array,)
    xp = np

    def asarray(self, x, *, dtype=None, like=None):
        return Array()

    def to_numpy(self, x):
        return np.zeros(())

    def dtype(self, x):
        return "float64"

    def zeros_like(self, x):
        return Array()

    def inner(self, xs, ys):
        return Array()

    def stop_gradient(self, x):
        return x

    def vjp(self, f, primals):
        raise NotImplementedError


@pytest.fixture
def mine(monkeypatch):
    """Registered for one test only."""
    fresh = registry._Registry()
    fresh.specs = dict(registry._registry.known())
    fresh.loaded = dict(registry._registry.loaded)
    monkeypatch.setattr(registry, "_registry", fresh)
    return Mine()


def test_neutral_types_belong_to_no_one():
    """NumPy arrays and scalars, Python numbers, and what is no array."""
    for leaf in (np.ones(2), np.float32(1), np.int64(1), np.bool_(True), 1.0, 1, True, 1j):
        assert registry.owner(type(leaf)) is None
    for leaf in ("text", None, object(), [1.0], {"a": 1}, len):
        assert registry.owner(type(leaf)) is None
    assert registry.owner(np.ma.MaskedArray) is None
    assert registry.owner(type("Sub", (np.ndarray,), {})) is None


def test_registering_an_instance_a_class_and_a_spec(mine):
    """All three ways; the last of one name wins."""
    ug.register_backend(mine)
    assert ug.get_backend("mine") is mine
    assert registry.owner(Array) is mine
    ug.register_backend(Mine)
    assert ug.get_backend("mine") is not mine
    assert registry.owner(Array) is ug.get_backend("mine")
    spec = ug.BackendSpec(
        name="mine",
        adapter="nowhere:Mine",
        modules=(),
        framework="nowhere",
        distribution="nowhere",
        install="pip install nowhere",
    )
    ug.register_backend(spec)
    with pytest.raises(ug.errors.BackendNotAvailableError, match="pip install nowhere"):
        ug.get_backend("mine")


def test_registering_later_reaches_types_already_asked_about(mine):
    """The cache of owners is forgotten when an adapter comes."""
    assert registry.owner(Array) is None
    ug.register_backend(mine)
    assert registry.owner(Array) is mine


def test_subclasses_are_owned_too(mine):
    """By the method resolution order."""
    ug.register_backend(mine)
    assert registry.owner(type("Sub", (Array,), {})) is mine


def test_a_registered_backend_is_listed_and_switched_to(mine):
    """It is indistinguishable from ours."""
    ug.register_backend(mine)
    assert ug.backends()["mine"].installed
    assert "mine" in repr(ug.backends())
    with ug.use("mine") as entered:
        assert entered is mine
        assert isinstance(ug.asarray(1.0), Array)
    with ug.use(mine):
        assert isinstance(ug.asarray(1.0), Array)


def test_use_of_an_unregistered_instance(mine):
    """Its name could not be found again."""
    with pytest.raises(ug.errors.UnknownBackendError, match=r"ug\.register_backend"):
        ug.use(mine)
    assert ug.get_backend(mine) is mine


def test_listing_is_a_mapping():
    """By name, with what a user asks about."""
    listed = ug.backends()
    assert set(listed) >= {"numpy", "torch", "tensorflow", "jax", "mxnet"}
    assert len(listed) == len(list(listed))
    numpy = listed["numpy"]
    assert numpy.version == np.__version__
    assert numpy.reason is None
    assert numpy.capabilities.second_order
    for info in listed.values():
        assert info.installed == (info.reason is None)


def test_a_subclass_with_neither_primitive(mine):
    """vjp or jvp is owed."""

    class Neither(Mine):
        name = "neither"
        vjp = ug.Backend.vjp

    with pytest.raises(TypeError, match="neither vjp nor jvp"):
        Neither().vjp(lambda x: (x,), [Array()])


def test_mro_of_a_framework_subclass():
    """A user's subclass of a framework's array is the framework's."""
    if not ug.backends()["torch"].installed:
        pytest.skip("torch is not installed")
    import torch

    class Sub(torch.Tensor):
        pass

    assert registry.owner(Sub).name == "torch"
    assert registry.owner(torch.nn.Parameter).name == "torch"
