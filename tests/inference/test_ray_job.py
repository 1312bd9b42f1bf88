"""A job on a local Ray cluster: a worker that is killed loses nothing, and nothing is there twice."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from saccade.cli.main import main
from saccade.inference.batch_job import BatchJob, Outcome, Shard, Stream
from tests.inference.test_batch_job import job, stream


def killed_once(marker: Path) -> Stream:
    """What predicts, in a process that dies in the middle of its second part, the first time."""
    parts = 0

    def predict(inputs, **options):
        nonlocal parts
        parts += 1
        for number, result in enumerate(stream(inputs, **options)):
            if parts == 2 and number == 1 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield result

    return predict


@pytest.mark.long
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from saccade.inference.ray_job import run_on_ray

    for name in ("here", "ray"):
        (tmp_path / name).mkdir()
    here: BatchJob = job(tmp_path / "here")
    here.run(stream, batch_size=2, shard=Shard())
    marker = tmp_path / "killed"
    done: list[int] = []
    outcome = run_on_ray(
        job(tmp_path / "ray"), partial(killed_once, marker), batch_size=2, workers=1, on_inputs=done.append
    )
    assert marker.exists()
    assert outcome == Outcome(23, 3, True)
    assert done[-1] == 23
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if "job" not in path.name}
        for name in ("here", "ray")
    )
    assert one == other


def test_what_ray_does_not_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["--ray"], "--shard and --ray need --out"),
        (["--ray", "--shard", "0/2", "--out", "a.csv"], "has no --shard"),
        (["--ray", "a:1", "b:2", "--out", "a.csv"], "takes one address"),
    ):
        assert main(["predict", "model", "photos", *options]) == 2
        assert message in capsys.readouterr().err
