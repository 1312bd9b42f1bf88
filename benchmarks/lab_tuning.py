"""Learning rates of a study that ships: the same few for each side, chosen on validation images.

    python benchmarks/lab_tuning.py patch_size --axis patch --at schedule.steps=600 --output tuning/patch_size

Every level of the axis is trained once with each rate, on the study's data without 287 of the 1,437 training
digits, which are for validation here (200 scenes of such digits where the study is on scenes), and with a seed that the
study does not have. Test digits are not looked at. The table goes to docs/lab/NAME-tuning.csv; the best rate of each
level stands in the study's file.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import yaml

from saccade.lab.driver import run_study
from saccade.lab.jobs import StudyDirectory
from saccade.lab.study import Study, read_study
from saccade.training.run_directory import RunDirectory

RATE = "optimizer.lr"
VALIDATION = {"digits": {"data.digits.val": 287}, "scenes": {"data.scenes.val": 200}}
SEED = 100
RESULTS = Path(__file__).parents[1] / "docs" / "lab"


def tuning_study(study: Study, axis: str, at: dict[str, Any], rates: list[float]) -> dict[str, Any]:
    """The content of the study that tunes the levels of an axis of another one, at one level of its other axes."""
    config, held_out = study.config, VALIDATION[study.jobs[0].config.data.path]
    grid: dict[str, Any] = {}
    for name, levels in config.grid.items():
        if name == axis:
            grid[name] = {level: {k: v for k, v in options.items() if k != RATE} for level, options in levels.items()}
        else:
            grid[name] = {at[name]: levels[at[name]]} if isinstance(levels, dict) else [at[name]]
    stages = {name: {**stage, "set": {**stage.get("set", {}), **held_out}} for name, stage in config.stages.items()}
    return {
        "title": f"Learning rates: {config.title}", "recipe": config.recipe,
        "set": {**config.set, **held_out}, "stages": stages,
        "grid": {**grid, RATE: rates}, "seeds": [SEED], "report": {"metric": metric_of(study)},
    }  # fmt: skip


def metric_of(study: Study) -> str:
    """What the rates are chosen by: the metric of the study's first plot that its runs are validated by."""
    return next(panel.metric for panel in study.config.report if panel.metric in ("accuracy", "AP"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a study that comes with Saccade")
    parser.add_argument("--axis", required=True, help="whose levels are tuned")
    parser.add_argument("--at", nargs="*", default=[], help="AXIS=LEVEL of each other axis")
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-3, 3e-3, 1e-2])
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    at = {axis: yaml.safe_load(level) for axis, _, level in (text.partition("=") for text in options.at)}
    source = read_study(options.study)
    content = yaml.safe_dump(tuning_study(source, options.axis, at, options.rates), sort_keys=False)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "study.yaml"
    file.write_text(content, encoding="utf-8")
    study = read_study(file)
    outcome = run_study(study, options.output, processes=options.processes, threads=1)
    assert outcome.done == len(study.runs), outcome
    folder = StudyDirectory(options.output)
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{options.study}-tuning.csv", "w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        metric = f"val_{metric_of(source)}"
        writer.writerow([options.axis, RATE, metric, "val_loss"])
        for job in study.jobs:
            row = RunDirectory(folder.jobs / job.id).metrics()[-1]
            line = [job.levels[options.axis], job.levels[RATE], row[metric], row.get("val_loss", "")]
            writer.writerow(line)
            print(*line, flush=True)


if __name__ == "__main__":
    main()
