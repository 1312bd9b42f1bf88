"""The main job over seeds: `saccade train --seed S` on the digits, and what it costs.

    python benchmarks/digits.py                     seeds 0, 1, 2 on the fixed test split
    python benchmarks/digits.py --cross-validate    five folds of the training images alone; the test images rest

Prints the tables of docs/results.md, with machine and date.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import saccade.training.jobs.classify as classify
from machine import describe
from sklearn.model_selection import StratifiedKFold

from saccade.data.builtin.digits import DigitsSource, digits_splits
from saccade.data.samples import DataSplits
from saccade.training.config import resolve
from saccade.training.loop import train
from saccade.training.run_directory import RunDirectory

FOLDS = 5


def run(seed: int, epochs: int | None) -> tuple[float, float]:
    """(accuracy on the held-out part, seconds of training)."""
    overrides = {"seed": seed, "preflight": False, "data.check": "off"}
    config = resolve(overrides=overrides | ({} if epochs is None else {"schedule.epochs": epochs}))
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, RunDirectory.create(config, Path(folder) / "run"))
    assert result.metrics is not None
    return result.metrics.goal, result.seconds


def fold(number: int) -> DataSplits:
    """The training images cut in five: four parts to train on, the fifth to measure on."""
    whole = digits_splits().train
    index = np.array([int(name.split("/")[1]) for name in whole.names])
    cuts = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(index, whole.labels)
    train_part, held_out = list(cuts)[number]
    source = DigitsSource(index[train_part])
    return DataSplits(source, None, DigitsSource(index[held_out]), source.classes, "digits", f"fold {number}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    options = parser.parse_args()
    name = "fold" if options.cross_validate else "seed"
    rows = []
    print(f"{describe()}\n\n| {name} | accuracy | training |\n| --- | --- | --- |")
    for number in range(FOLDS) if options.cross_validate else options.seeds:
        if options.cross_validate:
            classify.open_data = lambda path, config, number=number: fold(number)
        rows.append(run(number, options.epochs))
        print(f"| {number} | {rows[-1][0]:.2%} | {rows[-1][1]:.1f} s |", flush=True)
    accuracies, seconds = zip(*rows)
    spread = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
    print(f"| mean | **{statistics.mean(accuracies):.2%}** ± {spread:.2%} | {statistics.mean(seconds):.1f} s |")


if __name__ == "__main__":
    main()
