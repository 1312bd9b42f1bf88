"""Ablations of a DETR on scenes: where positions are added, how many encoder and decoder layers.

    python benchmarks/detr_study.py positions
    python benchmarks/detr_study.py encoder --values 0 1 2 --init runs/dense

Each row is a setting, trained once per seed by the recipe `detect` on the same scenes, from the same backbone: that of
a dense detector (`--init`, or trained on the same scenes first). AP is measured on the test scenes, whose digits are in
no other split.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from machine import describe

from saccade.runs import train_task
from saccade.tasks.detection.metrics import DetectionMetrics
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory

STUDIES: dict[str, tuple[str, list[Any]]] = {
    "positions": ("position_use", ["none", "input", "decoder", "attention"]),
    "encoder": ("encoder_depth", [0, 1, 2, 4]),
    "decoder": ("decoder_depth", [1, 2, 3, 6]),
}


def trained(place: Path, overrides: dict[str, Any]) -> tuple[DetectionMetrics, float]:
    """(metrics on the test split, seconds) of one run."""
    quiet = {"preflight": False, "data.check": "off", "data.scenes.val": 0}
    config = resolve("detect", overrides={**quiet, **overrides})
    result = train_task(config, RunDirectory.create(config, place))
    assert isinstance(result.metrics, DetectionMetrics)
    return result.metrics, result.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--values", nargs="+", help="of the study's option")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--init", default="", help="a dense detector whose backbone all start from")
    parser.add_argument("--scenes", type=int, default=20000, help="to train on")
    parser.add_argument("--side", type=int, default=64, help="of a scene in pixels")
    parser.add_argument("--most", type=int, default=3, help="digits in a scene")
    options = parser.parse_args()
    option, values = STUDIES[options.study]
    if options.values:
        values = [type(values[0])(value) for value in options.values]
    data = {
        "data.scenes.size": [options.side, options.side], "data.scenes.digits": [1, options.most],
        "data.scenes.scale": [0.3, 0.6], "data.scenes.train": options.scenes, "schedule.epochs": 1,
        "model.image_size": [options.side, options.side],
    }  # fmt: skip
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        start = options.init
        if not start:
            start = str(Path(folder) / "dense")
            dense = {"model.name": "yolo_small", "model.options": {"levels": 1}, "optimizer.lr": 2e-3}
            metrics, seconds = trained(Path(start), {**data, **dense})
            print(f"dense detector: AP {metrics.ap:.3f}, AP50 {metrics.ap50:.3f} in {seconds:.0f} s")
        print(f"\n| {option} | AP | AP50 | seconds a run |\n| --- | --- | --- | --- |")
        for value in values:
            results, times = [], []
            for seed in options.seeds:
                model = {"model.init": start, "model.options": {option: value}, "seed": seed}
                metrics, seconds = trained(Path(folder) / f"{value}-{seed}", {**data, **model})
                results.append(metrics)
                times.append(seconds)
            cells = [
                f"{statistics.mean(kind):.3f} ± {statistics.pstdev(kind):.3f}"
                for kind in ([m.ap for m in results], [m.ap50 for m in results])
            ]
            print(f"| {value} | {' | '.join(cells)} | {statistics.mean(times):.0f} |", flush=True)


if __name__ == "__main__":
    main()
