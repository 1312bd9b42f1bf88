"""A prediction job on a Ray cluster, by Ray Data: its parts are the rows, processed by actors with a model each.

Ray restarts an actor that dies and repeats its part. Parts are written atomically under their number, so a repeated
part exists once. Every node needs access to the folder of the job.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.deferred import Deferred
from saccade.errors import ImageError, MeasurementError, SaccadeError
from saccade.inference.batch_job import BatchJob, Outcome, Record, Shard, Stream, write_part
from saccade.inference.ray_cluster import start_ray

ray_data = Deferred("ray.data")


class PartWriter:
    """An actor: it opens the model once, and writes its parts.

    Args:
        open_stream: -> what predicts.
        parts: the files of all parts, in order.
        inputs: of each part.
        batch_size: inputs at once.
    """

    def __init__(
        self, open_stream: Callable[[], Stream], parts: Sequence[Path], inputs: Sequence[Sequence[str]], batch_size: int
    ):
        self.stream, self.parts, self.inputs, self.batch_size = open_stream(), parts, inputs, batch_size

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Numbers of parts -> their numbers of inputs."""
        counts = []
        for number in map(int, rows["item"]):
            write_part(self.parts[number], self.stream, self.inputs[number], self.batch_size)
            counts.append(len(self.inputs[number]))
        return {"inputs": np.array(counts)}


def run_on_ray(
    job: BatchJob,
    open_stream: Callable[[], Stream],
    *,
    batch_size: int,
    workers: int = 1,
    address: str | None = None,
    on_inputs: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Do the parts of a job that are missing on a cluster, then write its file.

    Args:
        job: its folder has the same path on every node.
        open_stream: -> what predicts, called once in each worker; it is sent there by pickle.
        batch_size: inputs at once.
        workers: actors with a model each.
        address: of a cluster: HOST:PORT, or auto for the one on this machine; a new one on this machine by default.
        on_inputs: called with the number of inputs that are done.

    Raises:
        ConfigError: Ray is missing, or there is no cluster at the address.
        MeasurementError: a part failed for another reason than a worker that died; the message has it.
    """
    missing = [] if job.output.exists() else [n for n in job.numbers(Shard()) if not job.part(n).exists()]
    if missing:
        job.parts.mkdir(exist_ok=True)
        ray = start_ray(address)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        done = len(job.inputs) - sum(len(job.inputs_of(number)) for number in missing)
        numbers = range(max(missing) + 1)
        arguments = (open_stream, [job.part(n) for n in numbers], [job.inputs_of(n) for n in numbers], batch_size)
        try:
            ray_data.DataContext.get_current().enable_progress_bars = False
            parts = ray_data.from_items(missing, override_num_blocks=len(missing))
            counts = parts.map_batches(
                PartWriter, batch_size=1, concurrency=min(workers, len(missing)), fn_constructor_args=arguments
            )
            for row in counts.iter_rows():
                done += int(row["inputs"])
                on_inputs(done)
        except ray.exceptions.RayError as error:
            raise reason(error) from None
        finally:
            ray.shutdown()
    return job.run(no_stream, batch_size=batch_size, shard=Shard())


def reason(error: Any) -> SaccadeError:
    """The error of a worker in one line."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SaccadeError):
        cause = vars(cause).get("cause") or cause.__cause__
    if isinstance(cause, SaccadeError):
        return cause
    return MeasurementError(f"a worker of Ray failed: {' '.join(str(error).split())[-300:]}")


def no_stream(
    inputs: Sequence[str], *, batch_size: int, on_error: Callable[[str, ImageError], None]
) -> Iterator[Record]:
    """In place of what predicts, where every part is there."""
    raise MeasurementError("a part of the job is missing: start it again")
