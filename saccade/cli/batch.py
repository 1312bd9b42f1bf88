"""A job over any number of inputs into one file: its options, and how it runs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from saccade.cli.terminal import printable
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.inference.batch_job import Stream


@Parameter(name="*")
@dataclass(frozen=True)
class JobOptions:
    """How a job with --out is divided among processes and machines."""

    shard: str = "0/1"
    """With --out: the part of the inputs for this process, such as 0/4 to 3/4 in four processes or machines that share
    the folder; the last one to finish writes the file."""
    ray: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None
    """With --out: run the parts on a Ray cluster at HOST:PORT (or auto) that has access to the folder and the images;
    without an address on a new local cluster. A worker that dies is replaced, and no part is lost or done twice."""
    ray_workers: int = 2
    """With --ray: number of processes, each with its own model."""

    def __post_init__(self) -> None:
        if self.ray is not None and (len(self.ray) > 1 or self.shard != "0/1" or self.ray_workers < 1):
            raise ConfigError("--ray takes one address and at least one of --ray-workers, and has no --shard")


def run_job(
    name: str,
    stream: "Stream",
    sources: Sequence[str],
    out: Path,
    options: JobOptions,
    batch_size: int,
    described: Mapping[str, Any],
    open_stream: "Callable[[], Stream]",
) -> int:
    """Write the results of inputs into a file, in parts that can be continued; the exit code is 1 if there are inputs
    that cannot be read.

    Args:
        name: of the command, in front of its progress.
        stream: inputs -> results.
        sources: the inputs.
        out: the file.
        options: how the job is divided.
        batch_size: inputs at once.
        described: the model and its options; another description cannot continue the job.
        open_stream: -> `stream` in a process of its own.
    """
    from saccade.cli.counting import counting
    from saccade.inference.batch_job import BatchJob, Shard

    shard = Shard.parse(options.shard)
    job = BatchJob(out, sources, described)
    total = sum(len(job.inputs_of(number)) for number in job.numbers(shard))
    with counting(name) as count:
        if options.ray is None:
            outcome = job.run(stream, batch_size=batch_size, shard=shard, on_inputs=lambda done: count(done, total))
        else:
            from saccade.inference.ray_job import run_on_ray

            outcome = run_on_ray(
                job, open_stream, batch_size=batch_size, workers=options.ray_workers,
                address=next(iter(options.ray), None), on_inputs=lambda done: count(done, total),
            )  # fmt: skip
    state = f"{job.output}" if outcome.complete else "parts of other shards are missing"
    unreadable = f", {outcome.failed} cannot be read ({job.errors.name})" if outcome.failed else ""
    print(f"{outcome.inputs} inputs{unreadable}: {printable(state)}", file=sys.stderr)
    return 1 if outcome.failed else 0
