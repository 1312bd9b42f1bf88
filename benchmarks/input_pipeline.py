"""Photographs to batches on one core: Saccade's transforms beside torchvision's usual ones, in one process.

    python benchmarks/input_pipeline.py FOLDER [--images 64] [--rounds 9]

FOLDER has JPEGs, such as 500 x 375 photographs of ImageNet. Rounds are interleaved; a ratio is the median over the
rounds of torchvision's CPU time by the other's in the same round. Differences are to Saccade's transform of the image
that Pillow decodes and resizes, in levels of 255.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from saccade.data.augmentation import EvalTransform, ImageTransform, TrainTransform
from saccade.data.config import AugmentationConfig
from saccade.data.images import read_image
from saccade.data.jpeg import read_pixels
from saccade.data.preprocessing import Preprocessing

Way = Callable[[bytes, int], Tensor]


def torchvision_way(preprocessing: Preprocessing, *, training: bool) -> Way:
    """The transforms of torchvision's references, on PIL images."""
    bicubic, (side, _) = InterpolationMode.BICUBIC, preprocessing.size
    geometry = (
        [v2.RandomResizedCrop(side, interpolation=bicubic), v2.RandomHorizontalFlip()]
        if training
        else [v2.Resize(preprocessing.resize_size[0], interpolation=bicubic), v2.CenterCrop(side)]
    )
    normalise = v2.Normalize(list(preprocessing.mean), list(preprocessing.std))
    transform = v2.Compose([*geometry, v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), normalise])

    def way(data: bytes, index: int) -> Tensor:
        torch.manual_seed(index)
        return transform(Image.open(io.BytesIO(data)).convert("RGB"))

    return way


def ways(preprocessing: Preprocessing, *, training: bool) -> dict[str, Way]:
    transform: ImageTransform = EvalTransform(preprocessing)
    if training:
        transform = TrainTransform(preprocessing, AugmentationConfig())
    return {
        "torchvision": torchvision_way(preprocessing, training=training),
        "saccade, Pillow": lambda data, index: transform(read_image(data), (0, 0, index)),
        "saccade": lambda data, index: transform(read_pixels(data), (0, 0, index)),
    }


def difference(run: dict[str, Way], preprocessing: Preprocessing, files: list[bytes]) -> tuple[float, float]:
    """Mean and maximum of the levels between the two ways of Saccade."""
    gaps = []
    for index, data in enumerate(files):
        levels = [255 * preprocessing.levels(run[name](data, index)) for name in ("saccade", "saccade, Pillow")]
        gaps.append((levels[0] - levels[1]).abs())
    every = torch.stack(gaps)
    return float(every.mean()), float(every.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[: options.images]
    if not paths:
        parser.error(f"{options.folder} has no JPEGs")
    files = [path.read_bytes() for path in paths]
    preprocessing = Preprocessing()
    print(f"{len(files)} images, {options.rounds} rounds, one thread; {describe()}\n")
    print("| job | implementation | images/s | ratio | spread | mean difference | largest |\n" + "| --- " * 7 + "|")
    for training in (True, False):
        run = ways(preprocessing, training=training)
        seconds: dict[str, list[float]] = {name: [] for name in run}
        for round_number in range(options.rounds + 1):  # the first warms up
            for name, way in run.items():
                start = time.process_time()
                for index, data in enumerate(files):
                    way(data, index)
                if round_number:
                    seconds[name].append(time.process_time() - start)
        mean, largest = difference(run, preprocessing, files)
        for name, times in seconds.items():
            ratios = sorted(t / s for t, s in zip(seconds["torchvision"], times))
            gap = f"{mean:.4f} | {largest:.1f}" if name == "saccade" else "– | –"
            rate = len(files) / statistics.median(times)
            spread = f"{ratios[0]:.2f}–{ratios[-1]:.2f}"
            job = "training" if training else "evaluation"
            print(f"| {job} | {name} | {rate:.0f} | {statistics.median(ratios):.2f} | {spread} | {gap} |", flush=True)


if __name__ == "__main__":
    main()
