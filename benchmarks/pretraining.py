"""Accuracy with few labels after masked pre-training: a ViT on digits, some labelled images for each class.

    python benchmarks/pretraining.py

A masked autoencoder and masked patch prediction are trained on the 1,437 training digits without labels; then their
encoders, and fresh weights, are trained as classifiers with the recipe `digits` on the same labelled images, drawn anew
for each seed. Each run is measured once on the 360 test images.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from machine import describe

from saccade.data.builtin.digits import digits_splits
from saccade.runs import train_task
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory

QUIET = {"preflight": False, "data.check": "off"}


def write_few(folder: Path, shots: int, seed: int) -> Path:
    """Some training digits of each class and all test digits as PNG files."""
    splits = digits_splits()
    assert splits.test is not None
    order = np.random.default_rng(seed).permutation(len(splits.train))
    for label, name in enumerate(splits.classes):
        chosen = [i for i in order if splits.train.labels[i] == label][:shots]
        tests = np.flatnonzero(splits.test.labels == label)
        for part, source, indices in (("train", splits.train, chosen), ("test", splits.test, tests)):
            place = folder / part / name
            place.mkdir(parents=True)
            for index in indices:
                (place / f"{index}.png").write_bytes(source.data(int(index)))
    return folder


def pretrain(model: str, place: Path, epochs: int) -> float:
    """Seconds of pre-training; the model is in the run's folder."""
    overrides = {**QUIET, "task": "masked_image", "model.name": model, "schedule.epochs": epochs}
    config = resolve("mae_digits", overrides=overrides)
    return train_task(config, RunDirectory.create(config, place)).seconds


def classify(data: Path, start: Path | None, seed: int, place: Path) -> float:
    """Accuracy on the test digits."""
    begin = {"model.name": "vit_digits"} if start is None else {"model.init": str(start)}
    overrides = {
        **QUIET, **begin, "data.path": str(data), "data.val_fraction": 0.0, "seed": seed, "schedule.epochs": 150,
        "batch_size": 32,
    }  # fmt: skip
    config = resolve("digits", overrides=overrides)
    result = train_task(config, RunDirectory.create(config, place))
    assert result.metrics is not None
    return result.metrics.selection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10, 25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=200, help="of pre-training")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        starts: dict[str, Path | None] = {"fresh weights": None}
        for name, model in (("masked autoencoder", "mae_digits"), ("masked patches", "masked_vit_digits")):
            starts[name] = Path(folder) / model
            print(f"{name}: pre-trained in {pretrain(model, Path(folder) / model, options.epochs):.0f} s")
        print(f"\n| labelled images a class | {' | '.join(starts)} |\n| --- |{' --- |' * len(starts)}")
        for shots in options.shots:
            cells = []
            for name, start in starts.items():
                accuracies = []
                for seed in options.seeds:
                    data = Path(folder) / f"few-{shots}-{seed}"
                    if not data.exists():
                        write_few(data, shots, seed)
                    accuracies.append(classify(data, start, seed, Path(folder) / f"{name}-{shots}-{seed}"))
                cells.append(f"{statistics.mean(accuracies):.2%} ± {statistics.stdev(accuracies):.2%}")
            print(f"| {shots} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
