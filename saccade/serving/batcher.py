"""Dynamic batching: requests of many clients go through a model together.

A request enters a bounded queue before anything is decoded, so excess requests cost only a refusal.
Inputs that are ready wait a few milliseconds for others; the batch runs on the one thread that all models share.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from saccade.serving.monitor import ModelMonitor
from saccade.serving.settings import Limits


class QueueFullError(Exception):
    """The queue has no room for these inputs.

    Attributes:
        retry_after: whole seconds after which there probably is room.
    """

    def __init__(self, retry_after: int):
        super().__init__(f"the queue is full: try again in {retry_after} s")
        self.retry_after = retry_after


class DeadlineError(Exception):
    """The response took longer than the request allows."""


@dataclass(eq=False)
class Waiting:
    """One input between its arrival and its result."""

    prepared: Any
    result: "asyncio.Future[Any]"
    on_batch: Callable[[int], None]  # called with the size of its batch


class Batcher:
    """The queue of one model.

    Args:
        prepare: one input as received -> the input of `run`; called on the threads of `preparing`.
        run: prepared inputs -> one result each; called on the thread of `running`, one batch at a time.
        preparing: executor for decoding.
        running: executor with one thread.
        limits: limits of the queue and its batches.
        monitor: metrics of the queue.
    """

    def __init__(
        self,
        prepare: Callable[[Any], Any],
        run: Callable[[Sequence[Any]], Sequence[Any]],
        preparing: Executor,
        running: Executor,
        limits: Limits,
        monitor: ModelMonitor,
    ):
        self.prepare, self.run = prepare, run
        self.preparing, self.running = preparing, running
        self.limits, self.monitor = limits, monitor
        self.places = 0  # taken: by inputs that are decoded or wait
        self.ready: deque[Waiting] = deque()
        self.arrival = asyncio.Event()
        self.batch_seconds = 0.1  # smoothed
        self.running_since: float | None = None

    async def predict(
        self, inputs: Sequence[Any], timeout: float, on_batch: Callable[[int], None] = lambda size: None
    ) -> list[Any]:
        """The result of each input.

        Args:
            inputs: inputs of one request, which are admitted all together or not at all.
            timeout: seconds.
            on_batch: called with the size of the batch of each input.

        Raises:
            QueueFullError: the queue does not have room for all of them.
            DeadlineError: the timeout has passed.
            Exception: raised by `prepare` or `run` for one of the inputs.
        """
        if self.places + len(inputs) > self.limits.max_queue:
            self.monitor.refused.inc(len(inputs))
            raise QueueFullError(self.retry_after())
        loop = asyncio.get_running_loop()
        waiting: list[Waiting] = []
        self._take_places(len(inputs))
        try:
            async with asyncio.timeout(timeout):
                work = [loop.run_in_executor(self.preparing, self.prepare, one) for one in inputs]
                prepared = await asyncio.gather(*work)
                waiting += [Waiting(one, loop.create_future(), on_batch) for one in prepared]
                self.ready.extend(waiting)
                self.arrival.set()
                results = await asyncio.gather(*(one.result for one in waiting), return_exceptions=True)
        except TimeoutError:
            self.monitor.expired.inc(len(inputs))
            raise DeadlineError(f"no answer within {timeout:g} s") from None
        finally:  # also where the client is gone: its places are free again at once
            left = [one for one in waiting if one in self.ready]
            for one in left:
                self.ready.remove(one)
            self.monitor.skipped.inc(len(left))
            self._take_places(-len(left if waiting else inputs))
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    def _take_places(self, number: int) -> None:
        self.places += number
        self.monitor.queue.set(self.places)

    def retry_after(self) -> int:
        """Seconds until half of the queue is done, at least 1."""
        batches = math.ceil(self.places / self.limits.max_batch / 2)
        return max(1, math.ceil(batches * self.batch_seconds))

    def is_stuck(self) -> bool:
        """Whether the current batch has been running for too long."""
        since = self.running_since
        return since is not None and asyncio.get_running_loop().time() - since > self.limits.stuck_seconds

    async def work(self) -> None:
        """Run batches until cancelled."""
        while True:
            await self.arrival.wait()
            if len(self.ready) < self.limits.max_batch and self.limits.max_wait_ms:
                await self._wait_for_more()
            batch = [self.ready.popleft() for _ in range(min(len(self.ready), self.limits.max_batch))]
            self._take_places(-len(batch))
            if not self.ready:
                self.arrival.clear()
            if batch:
                await self._run(batch)

    async def _wait_for_more(self) -> None:
        """Wait until the batch is full, no other input is being prepared, or the time is up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.max_wait_ms / 1000
        while len(self.ready) < self.limits.max_batch and (left := end - loop.time()) > 0:
            self.arrival.clear()
            try:
                await asyncio.wait_for(self.arrival.wait(), left)
            except TimeoutError:
                break

    async def _run(self, batch: list[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        self.running_since = loop.time()
        outcomes = await self.outcomes([one.prepared for one in batch])
        seconds = loop.time() - self.running_since
        self.running_since = None
        self.batch_seconds += 0.2 * (seconds - self.batch_seconds)
        self.monitor.batch_size.observe(len(batch))
        self.monitor.batch_seconds.observe(seconds)
        for one, outcome in zip(batch, outcomes):
            one.on_batch(len(batch))
            if one.result.done():  # the client is gone
                continue
            if isinstance(outcome, BaseException):
                one.result.set_exception(outcome)
            else:
                one.result.set_result(outcome)

    async def outcomes(self, prepared: Sequence[Any]) -> list[Any]:
        """A result or an exception for each input: a batch that fails is halved until the failing inputs are
        isolated."""
        future = asyncio.get_running_loop().run_in_executor(self.running, self.run, prepared)
        await asyncio.wait((future,))
        error = future.exception()
        if error is None:
            return list(future.result())
        if len(prepared) == 1:
            return [error]
        half = len(prepared) // 2
        return [*await self.outcomes(prepared[:half]), *await self.outcomes(prepared[half:])]
