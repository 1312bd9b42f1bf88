"""Memory of a job of very many predictions.

    python -m benchmarks.batch_memory --images 1000000

Images of 1 x 1 to 8 x 8 pixels are made from their names, so that no million files are needed; all else is what
`saccade predict --out FILE.parquet` does with a fresh ViT for digits. Prints the resident memory after every tenth, and
how much it grew from the first tenth to the end of the predictions (on Linux).
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import saccade
from benchmarks.machine import describe
from saccade.checkpoints.directory import LoadedModel
from saccade.engine.images import fresh_preprocessing
from saccade.engine.predictor import Predictor
from saccade.engine.results import Result
from saccade.inference.batch_job import BatchJob, Shard
from saccade.tasks.loading import predictor_of

MEGABYTE = 2**20


def resident() -> float:
    """Megabytes of this process in memory."""
    status = Path("/proc/self/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def image(name: str) -> Image.Image:
    """A grey picture that follows from its number."""
    number = int(name)
    height, width = 1 + number % 8, 1 + number // 8 % 8
    picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width), dtype=np.uint8))
    picture.filename = name  # type: ignore[attr-defined]  # by which a result names its input
    return picture


def small_predictor() -> Predictor:
    torch.manual_seed(0)
    model = saccade.create("vit_digits").eval()
    labels = tuple(map(str, range(10)))
    return predictor_of(LoadedModel(model, "vit", labels, fresh_preprocessing(model), "classification"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=256)
    options = parser.parse_args()
    predictor = small_predictor()

    def stream(inputs: Sequence[str], **arguments: Any) -> Iterator[Result]:
        return predictor.stream((image(name) for name in inputs), **arguments)

    samples: list[tuple[int, float]] = []
    step = max(options.images // 10, 1)

    def on_inputs(done: int) -> None:
        if done >= step * (len(samples) + 1):
            samples.append((done, resident()))
            print(f"{done:>9} images  {samples[-1][1]:7.1f} MB", flush=True)

    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{number:07d}" for number in range(options.images)]
        job = BatchJob(Path(folder) / "out.parquet", names, {"model": "fresh vit_digits"})
        start, cpu = time.perf_counter(), time.process_time()
        outcome = job.run(stream, batch_size=options.batch_size, shard=Shard(), on_inputs=on_inputs)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        size = job.output.stat().st_size / MEGABYTE
    growth = samples[-1][1] - samples[0][1]
    each = 1e6 * cpu / outcome.inputs
    print(f"{outcome.inputs} images, {size:.1f} MB of Parquet, {seconds:.0f} s, {each:.0f} µs of CPU each")
    print(f"grew by {growth:.1f} MB from a tenth to all of the predictions; {resident():.1f} MB with the file written")


if __name__ == "__main__":
    main()
