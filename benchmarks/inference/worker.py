"""One way in a process of its own: for each line of stdin, seconds of a pass on stdout as JSON."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import torch

from benchmarks.inference.ways import LIMIT, WAYS, inputs, matmul_limit

LEAST_SECONDS = 0.3  # of a sample: as many passes as it takes


def samples(run: Callable[[], object], lines: TextIO) -> Iterator[dict[str, float]]:
    """Time on the clock and of the processor for a pass, whenever a line comes in."""
    for _ in range(2):
        run()
    yield {"ready": 1.0}
    for _ in lines:
        passes, wall, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < LEAST_SECONDS or not passes:
            run()
            passes += 1
        yield {"wall": (time.perf_counter() - wall) / passes, "cpu": (time.process_time() - cpu) / passes}


def start(way: str, model: str, batch: int, threads: int) -> Callable[[], object]:
    """A pass of a batch."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images = inputs(model, batch)
    run = (matmul_limit if way == LIMIT else WAYS[way])(model, images)

    def step() -> object:
        with torch.inference_mode():
            return run(images)

    return step


def main(arguments: list[str]) -> None:
    way, model, batch, threads = arguments
    for sample in samples(start(way, model, int(batch), int(threads)), sys.stdin):
        print(json.dumps(sample), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
