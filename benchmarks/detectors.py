"""DETR beside the classical detector on the same images: AP, duplicates, time, and what suppression removes.

    python benchmarks/detectors.py runs/detr runs/classical --data scenes

The slide's contrast. Time is that of one image after the other on the machine at hand: the network, and what comes
behind it (a softmax, or choosing candidates and suppressing what overlaps).
"""

import argparse
import statistics
import time

import torch
from machine import describe
from saccade.analysis.suppression import suppression_study
from saccade.data.boxed_batches import BoxDataset
from saccade.data.boxes import open_boxes
from saccade.inference.predictor import Predictor, unlabelled

import saccade
from saccade.data.config import DataConfig

IMAGES = 50  # timed


@torch.inference_mode()
def milliseconds(predictor: Predictor, data: str) -> tuple[float, float]:
    """(network, what comes behind it) of one image, medians."""
    splits = open_boxes(data, DataConfig())
    source = splits.test or splits.train
    network, behind = [], []
    for index in range(min(IMAGES, len(source))):
        image = source.image(index)
        batch, _ = BoxDataset.collate([unlabelled(predictor.prepare(image), (image.height, image.width))])
        start = time.perf_counter()
        outputs = predictor.about.run(predictor.model, batch)
        middle = time.perf_counter()
        predictor.about.keep(outputs, batch)
        network.append(middle - start)
        behind.append(time.perf_counter() - middle)
    return 1000 * statistics.median(network), 1000 * statistics.median(behind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", default="scenes")
    options = parser.parse_args()
    print(describe())
    heads = [
        "model",
        "stage",
        "AP",
        "AP50",
        "AP suppressed",
        "AP50 suppressed",
        "boxes told",
        "duplicates",
        "network",
        "behind",
    ]
    print(f"\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for run in options.runs:
        predictor = saccade.load(run)
        times = milliseconds(predictor, options.data)
        for row in suppression_study(predictor, options.data):
            figures = [row.plain.ap, row.plain.ap50, row.suppressed.ap, row.suppressed.ap50]
            cells = [predictor.source.architecture, row.stage, *(f"{value:.3f}" for value in figures)]
            cells += [f"{row.told:.1f}", f"{row.duplicates:.1%}", *(f"{value:.1f} ms" for value in times)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
