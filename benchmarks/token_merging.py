"""Accuracy and speed of token merging on photographs with labels.

    python benchmarks/token_merging.py MODEL FOLDER [--r 0 8 13 16] [--batch-size 8]

FOLDER has images and a labels.csv with the columns file and class_index. Rounds are interleaved: every batch passes
through all models in turn, in CPU time on one thread.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch
from machine import describe

import saccade


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--r", type=int, nargs="+", default=[8, 13, 16])
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = saccade.load(options.model)
    with (options.folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    inputs = torch.stack([predictor.prepare(options.folder / row["file"]) for row in rows])
    labels = torch.tensor([int(row["class_index"]) for row in rows])
    models = {r: saccade.merge_tokens(predictor, r).model.eval() if r else predictor.model for r in [0, *options.r]}
    seconds: dict[int, list[float]] = {r: [] for r in models}
    classes: dict[int, list[torch.Tensor]] = {r: [] for r in models}
    with torch.inference_mode():
        for model in models.values():
            model(inputs[: options.batch_size])
        for part in inputs.split(options.batch_size):
            for r, model in models.items():
                start = time.process_time()
                classes[r].append(model(part).argmax(dim=1))
                seconds[r].append(time.process_time() - start)
    print(f"{len(rows)} images, batch {options.batch_size}, one thread; {describe()}\n")
    print("| r | accuracy | same class as without | × as fast |\n| --- | --- | --- | --- |")
    plain = torch.cat(classes[0])
    for r in models:
        pred = torch.cat(classes[r])
        ratio = statistics.median(a / b for a, b in zip(seconds[0], seconds[r]))
        accuracy, same = ((pred == other).float().mean() for other in (labels, plain))
        print(f"| {r} | {accuracy:.1%} | {same:.1%} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
