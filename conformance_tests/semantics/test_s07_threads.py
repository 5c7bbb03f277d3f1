"""S7: threads and async tasks do not see each other's derivatives or use() scopes."""

import asyncio
import threading

import numpy as np
import pytest

import unigrad as ug


class Baton:
    """Lets two threads take turns: each waits for its own number to come up."""

    def __init__(self):
        self._turn, self._condition = 0, threading.Condition()

    def pass_to(self, turn):
        with self._condition:
            self._turn = turn
            self._condition.notify_all()

    def wait_for(self, turn):
        with self._condition:
            assert self._condition.wait_for(lambda: self._turn >= turn, timeout=60)


def _run(*bodies):
    failures = []

    def guarded(body):
        try:
            body()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def _interleaved(kit, derivative, expected):
    """Thread A enters, then B enters, then A leaves, then B leaves: no stack discipline holds."""
    baton = Baton()
    results = {}

    def body(name, enter, leave):
        scale = kit.array(2.0 if name == "a" else 5.0)
        x = kit.array([1.0, 2.0])

        def f(x):
            xp = ug.array_namespace(x)
            baton.wait_for(enter)
            y = xp.sum(scale * x * x * x)
            baton.pass_to(enter + 1)
            baton.wait_for(leave)
            return y

        def run():
            results[name] = kit.numpy(derivative(f, x))
            baton.pass_to(leave + 1)

        return run

    _run(body("a", 0, 2), body("b", 1, 3))
    np.testing.assert_allclose(results["a"], 2.0 * np.asarray(expected), rtol=1e-12)
    np.testing.assert_allclose(results["b"], 5.0 * np.asarray(expected), rtol=1e-12)


@pytest.mark.parametrize("operator", ["grad", "unconnected", "jvp", "vjp"])
def test_s7_two_threads_interleaved(kit, operator):
    """S7: a first derivative begins in B while A's is under way, and outlives it."""
    if not kit.capabilities.threads:
        pytest.skip(f"{kit.name} declares that it takes one derivative at a time")
    derivative = {
        "grad": lambda f, x: ug.grad(f)(x),
        "unconnected": lambda f, x: ug.grad(f, unconnected="error")(x),
        "jvp": lambda f, x: ug.jvp(f, x, kit.array([1.0, 0.0]))[1],
        "vjp": lambda f, x: ug.vjp(f, x)[1](kit.array(1.0))[0],
    }[operator]
    _interleaved(kit, derivative, 3.0 if operator == "jvp" else [3.0, 12.0])


@pytest.mark.parametrize(
    "operator", ["hvp", "forward_over_reverse", "reverse_over_reverse", "hessian", "nested"]
)
def test_s7_two_threads_with_nested_derivatives(exact_kit, operator):
    """S7: the same with a derivative inside the derivative, in each thread."""
    kit = exact_kit
    if not kit.capabilities.threads:
        pytest.skip(f"{kit.name} declares that it takes one derivative at a time")

    def nested(f, x):
        return ug.grad(lambda x: ug.array_namespace(x).sum(ug.grad(f)(x)))(x)

    ones = kit.array([1.0, 1.0])
    derivative, expected = {
        "hvp": (lambda f, x: ug.hvp(f, x, ones), [6.0, 12.0]),
        "hessian": (lambda f, x: ug.hessian(f)(x), [[6.0, 0.0], [0.0, 12.0]]),
        "nested": (nested, [6.0, 12.0]),
    }.get(operator, (lambda f, x: ug.hvp(f, x, ones, method=operator), [6.0, 12.0]))
    _interleaved(kit, derivative, expected)


def test_s7_many_threads_at_once(kit):
    """S7: eight threads, twenty gradients each, all right."""
    if not kit.capabilities.threads:
        pytest.skip(f"{kit.name} declares that it takes one derivative at a time")

    def body(k):
        def run():
            for _ in range(20):
                x = kit.array([1.0, float(k)])
                kit.same(
                    ug.grad(lambda x: ug.array_namespace(x).sum(x * x * k))(x),
                    [2.0 * k, 2.0 * k * k],
                )

        return run

    _run(*[body(k) for k in range(1, 9)])


def test_s7_use_scopes_in_threads(two_kits):
    """S7: use() in one thread is not seen in another, nested or not."""
    first, second = two_kits
    baton = Baton()

    def one():
        with ug.use(first.name):
            baton.pass_to(1)
            baton.wait_for(2)
            assert first.owns(ug.grad(lambda x: x * x)(3.0))
            baton.pass_to(3)

    def other():
        baton.wait_for(1)
        assert isinstance(ug.grad(lambda x: x * x)(3.0), np.generic | np.ndarray)
        with ug.use(second.name):
            baton.pass_to(2)
            baton.wait_for(3)
            assert second.owns(ug.grad(lambda x: x * x)(3.0))

    _run(one, other)
    assert isinstance(ug.grad(lambda x: x * x)(3.0), np.generic | np.ndarray)


def test_s7_a_use_call_holds_in_its_own_thread_only(two_kits):
    """S7: so does use() without a with block."""
    first, _ = two_kits
    seen = []

    def body():
        ug.use(first.name)
        seen.append(first.owns(ug.grad(lambda x: x * x)(3.0)))

    _run(body)
    assert seen == [True]
    assert isinstance(ug.grad(lambda x: x * x)(3.0), np.generic | np.ndarray)


def test_s7_use_scopes_in_async_tasks(two_kits):
    """S7: nor is it seen in another task of the same thread."""
    first, second = two_kits

    async def task(kit, mine, theirs):
        with ug.use(kit.name):
            mine.set()
            await theirs.wait()
            await asyncio.sleep(0)
            assert kit.owns(ug.grad(lambda x: x * x)(3.0))
        return type(ug.asarray(1.0))

    async def both():
        a, b = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(task(first, a, b), task(second, b, a))

    outside = type(ug.asarray(1.0))
    assert asyncio.run(both()) == [outside, outside]


def test_s7_the_first_call_may_come_from_several_threads(two_kits):
    """S7: the registry loads an adapter once, whoever asks first."""
    seen = []
    name = two_kits[0].name
    _run(*[lambda: seen.append(ug.get_backend(name)) for _ in range(8)])
    assert len({id(backend) for backend in seen}) == 1
