"""The queue: what is admitted, batched, skipped, refused and late."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from saccade.serving.batcher import Batcher, DeadlineError, QueueFullError
from saccade.serving.monitor import Monitor
from saccade.serving.settings import Limits


def play(scene: Callable[[Batcher], Any], run: Callable[[Sequence[Any]], list[Any]], **limits: Any) -> Any:
    """A scene with a batcher that runs."""

    async def main() -> Any:
        with ThreadPoolExecutor(2) as preparing, ThreadPoolExecutor(1) as running:
            monitor = Monitor().of_model("m")
            batcher = Batcher(lambda x: x, run, preparing, running, Limits(**limits), monitor)
            work = asyncio.create_task(batcher.work())
            try:
                return await scene(batcher)
            finally:
                work.cancel()

    return asyncio.run(main())


def count(batcher: Batcher, name: str) -> float:
    return getattr(batcher.monitor, name)._value.get()


def test_requests_share_batches_and_get_their_own_results() -> None:
    batches = []

    def run(inputs: Sequence[int]) -> list[int]:
        batches.append(len(inputs))
        return [10 * n for n in inputs]

    async def scene(batcher: Batcher) -> list[list[int]]:
        return await asyncio.gather(*(batcher.predict([n, n + 100], 5) for n in range(6)))

    assert play(scene, run, max_batch=4, max_wait_ms=50) == [[10 * n, 10 * (n + 100)] for n in range(6)]
    assert batches == [4, 4, 4]


def test_a_full_queue_refuses_exactly_the_surplus() -> None:
    gate = Event()

    def run(inputs: Sequence[int]) -> list[int]:
        gate.wait(10)
        return list(inputs)

    async def scene(batcher: Batcher) -> tuple[int, int, int]:
        first = asyncio.create_task(batcher.predict([0], 10))
        while batcher.running_since is None:
            await asyncio.sleep(0.005)
        rest = [asyncio.create_task(batcher.predict([n], 10)) for n in range(12)]
        await asyncio.sleep(0.1)
        refused = [task for task in rest if task.done()]
        assert all(isinstance(task.exception(), QueueFullError) for task in refused)
        assert refused[0].exception().retry_after >= 1
        gate.set()
        await first
        outcomes = await asyncio.gather(*rest, return_exceptions=True)
        return len(refused), sum(isinstance(one, list) for one in outcomes), batcher.places

    assert play(scene, run, max_queue=8, max_batch=4) == (4, 8, 0)


def test_the_guilty_input_of_a_batch_fails_alone() -> None:
    def run(inputs: Sequence[int]) -> list[int]:
        if 3 in inputs:
            raise MemoryError("no place for 3")
        return list(inputs)

    async def scene(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(*(batcher.predict([n], 5) for n in range(8)), return_exceptions=True)

    outcomes = play(scene, run, max_batch=8, max_wait_ms=50)
    assert [one[0] if isinstance(one, list) else type(one) for one in outcomes] == [0, 1, 2, MemoryError, 4, 5, 6, 7]


def test_a_late_request_and_one_whose_client_left_do_not_run() -> None:
    gate, inputs = Event(), []

    def run(batch: Sequence[int]) -> list[int]:
        inputs.extend(batch)
        gate.wait(10)
        return list(batch)

    async def scene(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.predict([0], 10))
        while batcher.running_since is None:
            await asyncio.sleep(0.005)
        left = asyncio.create_task(batcher.predict([1], 10))
        with pytest.raises(DeadlineError):
            await batcher.predict([2], 0.05)
        left.cancel()
        await asyncio.sleep(0.01)
        assert (batcher.places, count(batcher, "skipped"), count(batcher, "expired")) == (0, 2, 1)
        gate.set()
        assert await first == [0]
        assert await batcher.predict([3], 5) == [3]

    play(scene, run)
    assert inputs == [0, 3]


def test_a_batch_that_takes_too_long_is_stuck() -> None:
    gate = Event()

    async def scene(batcher: Batcher) -> None:
        task = asyncio.create_task(batcher.predict([0], 5))
        await asyncio.sleep(0.1)
        assert batcher.is_stuck()
        gate.set()
        await task
        assert not batcher.is_stuck()

    def run(batch: Sequence[int]) -> list[int]:
        gate.wait(5)
        return list(batch)

    play(scene, run, stuck_seconds=0.05)
