"""Fine-tuning on 200 photographs: is there a face? scikit-image's `lfw_subset`, 25 x 25 grey pixels, 100 of each class.

    python benchmarks/faces.py --init deit_tiny_patch16_224.pth

Trained weights beside fresh ones, the same recipe for both, seeds 0, 1, 2; each seed cuts off its own test images.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from machine import describe
from PIL import Image
from skimage.data import lfw_subset

from saccade.training.config import resolve
from saccade.training.loop import train
from saccade.training.run_directory import RunDirectory


def write(folder: Path) -> Path:
    """The pictures as PNG files, one folder a class: the first hundred are faces."""
    for index, picture in enumerate(lfw_subset()):
        place = folder / ("face" if index < 100 else "other")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(place / f"{index:03}.png")
    return folder


def run(data: Path, init: str, seed: int, place: Path) -> tuple[float, int, float]:
    """(accuracy on the held-out images, their number, seconds of training)."""
    start = {"model.init": init} if init else {"model.name": "vit_ti16"}
    size = {"model.image_size": [112, 112], "schedule.epochs": 10, "batch_size": 16}
    cut = {"data.path": str(data), "data.split_seed": seed, "seed": seed, "preflight": False}
    config = resolve("finetune", overrides={**start, **size, **cut})
    result = train(config, RunDirectory.create(config, place))
    assert result.metrics is not None
    return result.metrics.goal, result.metrics.images, result.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--init", required=True, help="trained weights, such as DeiT-Ti/16")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print(f"{describe()}\n\n| start | seed | accuracy | held-out images | training |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        data = write(Path(folder) / "faces")
        for name, init in (("fresh weights", ""), ("trained weights", options.init)):
            rows = []
            for seed in options.seeds:
                rows.append(run(data, init, seed, Path(folder) / f"{name} {seed}"))
                print(f"| {name} | {seed} | {rows[-1][0]:.1%} | {rows[-1][1]} | {rows[-1][2]:.1f} s |", flush=True)
            mean, spread = statistics.mean(r[0] for r in rows), statistics.stdev(r[0] for r in rows)
            print(f"| {name} | mean | **{mean:.1%}** ± {spread:.1%} | | {statistics.mean(r[2] for r in rows):.1f} s |")


if __name__ == "__main__":
    main()
