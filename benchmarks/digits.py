"""Accuracy of `saccade train --seed S` on the digits over five seeds, and the seconds that training takes.

    python benchmarks/digits.py                     on the fixed 360 test images
    python benchmarks/digits.py --cross-validate    on five folds of the training images; the test images are not used

Prints the tables of docs/results.md, with machine, threads and date.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import describe
from sklearn.model_selection import StratifiedKFold

from saccade.data.builtin.digits import DigitsSource, digits_splits
from saccade.data.samples import DataSplits
from saccade.tasks.classification.setup import make_setup
from saccade.training.config import resolve
from saccade.training.loop import train
from saccade.training.run_directory import RunDirectory

FOLDS = 5


def run(seed: int, epochs: int | None, splits: DataSplits | None) -> tuple[float, float]:
    """(accuracy on the held-out part, seconds of training)."""
    overrides = {"seed": seed, "preflight": False, "data.check": "off"}
    config = resolve(overrides=overrides | ({} if epochs is None else {"schedule.epochs": epochs}))
    with tempfile.TemporaryDirectory() as folder:
        run_directory = RunDirectory.create(config, Path(folder) / "run")
        result = train(config, lambda config, device: make_setup(config, device, splits), run_directory)
    assert result.metrics is not None
    return result.metrics.selection, result.seconds


def fold(number: int) -> DataSplits:
    """The 1,437 training images in five folds: four to train on, the fifth to measure on instead of the test images."""
    whole = digits_splits().train
    index = np.array([int(name.split("/")[1]) for name in whole.names])
    cuts = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(index, whole.labels)
    train_part, held_out = list(cuts)[number]
    source = DigitsSource(index[train_part])
    return DataSplits(source, None, DigitsSource(index[held_out]), source.classes, "digits", f"fold {number}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    options = parser.parse_args()
    print(f"{describe()}, threads: {torch.get_num_threads()}\n")
    if options.cross_validate:
        print("| seed | accuracy | by fold | training of a fold |\n| --- | --- | --- | --- |")
    else:
        print("| seed | accuracy | training |\n| --- | --- | --- |")
    accuracies, times = [], []
    for seed in options.seeds:
        rows = []
        for number in range(FOLDS) if options.cross_validate else [None]:
            rows.append(run(seed, options.epochs, None if number is None else fold(number)))
        # Folds differ by one image at most, so the mean over them is the accuracy over all training images.
        accuracies.append(statistics.mean(accuracy for accuracy, _ in rows))
        times.append(statistics.mean(seconds for _, seconds in rows))
        folds = f"{', '.join(f'{accuracy:.2%}' for accuracy, _ in rows)} | " if options.cross_validate else ""
        print(f"| {seed} | {accuracies[-1]:.2%} | {folds}{times[-1]:.1f} s |", flush=True)
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    between = " |" if options.cross_validate else ""
    print(f"| mean | **{statistics.mean(accuracies):.2%}** ± {spread:.2%} |{between} {statistics.mean(times):.1f} s |")


if __name__ == "__main__":
    main()
