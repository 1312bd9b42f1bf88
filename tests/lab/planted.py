"""Studies whose results are planted: the report without a training."""

from pathlib import Path

from saccade.lab.jobs import JobResult, StudyDirectory
from saccade.lab.study import Study, read_study

ENVIRONMENT = '{"torch": "2", "device": "cpu"}'


def planted(
    tmp_path: Path, text: str, error, *, flops=lambda levels: 1e9, measures=None
) -> tuple[StudyDirectory, Study]:
    """A study in which every run of the grid is done.

    Args:
        tmp_path: where.
        text: of the study's file.
        error: (levels, seed) -> 1 - accuracy.
        flops: levels -> FLOPs.
        measures: (levels, seed) -> numbers of each measure by its key; none unless given.
    """
    (tmp_path / "study.yaml").write_text(text)
    study = read_study(tmp_path / "study.yaml")
    folder = StudyDirectory.create(tmp_path / "out", study)
    for job in study.jobs:
        (folder.jobs / job.id).mkdir()
        (folder.jobs / job.id / "env.json").write_text(ENVIRONMENT)
        cost = flops(job.levels)
        folder.write(
            JobResult(
                id=job.id, levels=dict(job.levels), seed=job.seed, split="test",
                metrics={"accuracy": 1 - error(job.levels, job.seed)}, params=int(job.levels.get("params", 1000)),
                inputs=int(job.levels.get("schedule.steps", 100)), flops=cost, seconds=1.0, wall_seconds=2.0,
                finished="2026-01-01T00:00:00+00:00", cpu_seconds=1.0,
                measures={} if measures is None else measures(job.levels, job.seed),
            )
        )  # fmt: skip
    return folder, study
