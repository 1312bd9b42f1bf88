"""The few-shot probe by the number of images a class: features of a published model on a small part of CIFAR-10.

    python benchmarks/few_shot.py deit_tiny_patch16_224.pth cifar10.zip

The first images of each class, 50 to draw from and 100 to measure on; three draws. Prints the table of docs/probes.md.
"""

import argparse
from collections import defaultdict
from typing import cast

import torch
from machine import describe
from torch import Tensor

import saccade
from saccade.analysis.probing import draw, few_shot_accuracy
from saccade.data.image_folder import open_data
from saccade.data.samples import ImageSource
from saccade.engine.predictor import Predictor

SHOTS, SEEDS = (1, 5, 10, 25), (0, 1, 2)


@torch.inference_mode()
def features(predictor: Predictor, source: ImageSource, per_class: int) -> tuple[Tensor, Tensor]:
    """Features ``[N, D]`` and labels ``[N]`` of the first images of each class."""
    first = defaultdict(list)
    for index, label in enumerate(source.labels):
        first[int(label)].append(index)
    samples = [(index, label) for label in sorted(first) for index in first[label][:per_class]]
    parts = []
    for start in range(0, len(samples), 50):
        images = [predictor.prepare(source.image(index)) for index, _ in samples[start : start + 50]]
        parts.append(predictor.model.embed(torch.stack(images)))
    return torch.cat(parts), torch.tensor([label for _, label in samples])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", help="cifar10.zip")
    options = parser.parse_args()
    predictor, splits = saccade.load(options.model), open_data(options.data)
    train, labels = features(predictor, splits.train, 50)
    test, target = features(predictor, cast(ImageSource, splits.test), 100)
    print(f"{describe()}\n\n| images a class | accuracy, each draw | mean |\n| --- | --- | --- |")
    for shots in SHOTS:
        accuracies = [few_shot_accuracy(*draw(train, labels, shots, seed), test, target) for seed in SEEDS]
        listed = ", ".join(f"{accuracy:.1%}" for accuracy in accuracies)
        print(f"| {shots} | {listed} | {sum(accuracies) / len(accuracies):.1%} |")


if __name__ == "__main__":
    main()
