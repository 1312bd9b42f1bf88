"""DETR and a dense detector on the same images: AP with and without non-maximum suppression, duplicates, time.

    python benchmarks/detectors.py runs/detr runs/dense --data scenes

Times are medians of one image after the other on this machine: of the network, and of the postprocessing (a softmax; or
the choice of candidates and non-maximum suppression).
"""

import argparse
import statistics
import time

import torch
from machine import describe

import saccade
from saccade.data.config import DataConfig
from saccade.engine.predictor import Predictor
from saccade.tasks.detection.sources import open_boxes
from saccade.tasks.detection.stages import suppression_study
from saccade.tasks.detection.task import DetectionTask

IMAGES = 50  # timed
HEADS = (
    "model", "stage", "AP", "AP50", "AP with NMS", "AP50 with NMS", "boxes/image", "duplicates", "network",
    "postprocessing",
)  # fmt: skip


@torch.inference_mode()
def milliseconds(predictor: Predictor, data: str) -> tuple[float, float]:
    """(network, postprocessing) of one image, medians."""
    splits = open_boxes(data, DataConfig())
    source = splits.test or splits.train
    task = predictor.task
    assert isinstance(task, DetectionTask)
    network, postprocessing = [], []
    for index in range(min(IMAGES, len(source))):
        image = source.image(index)
        batch = task.input_batch([predictor.prepare(image)], [(image.height, image.width)], [""])
        start = time.perf_counter()
        outputs = task.eval_step(predictor.model, batch)
        middle = time.perf_counter()
        task.postprocess(outputs, batch)
        network.append(middle - start)
        postprocessing.append(time.perf_counter() - middle)
    return 1000 * statistics.median(network), 1000 * statistics.median(postprocessing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", default="scenes")
    options = parser.parse_args()
    print(describe())
    print(f"\n| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}")
    for run in options.runs:
        predictor = saccade.load(run)
        times = milliseconds(predictor, options.data)
        for row in suppression_study(predictor, options.data).stages:
            values = [row.plain.ap, row.plain.ap50, row.suppressed.ap, row.suppressed.ap50]
            cells = [predictor.source.architecture, row.stage, *(f"{value:.3f}" for value in values)]
            cells += [f"{row.boxes_per_image:.1f}", f"{row.duplicates:.1%}", *(f"{value:.1f} ms" for value in times)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
