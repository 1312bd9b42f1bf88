"""Accuracy and speed of the fast ways in every precision, with and without token merging, on photographs with labels.

    python -m benchmarks.precision MODEL FOLDER [--precisions f32 bf16 int8] [--merge 0 13] [--batch-size 8]

FOLDER has images and a labels.csv with the columns file and class_index. Every fifth image calibrates: a way is chosen
and accepted by these alone; accuracy and agreement are those of the others. Batches pass through all models in turn, in
processor time on one thread; batches that are not full are left out of the times.
"""

import argparse
import csv
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import saccade
from benchmarks.machine import describe
from saccade.errors import ConfigError

CALIBRATES = 5  # every so many images one


@dataclass(frozen=True)
class Row:
    """One way: accuracy, share of images with the plain model's class, and how much faster it is than that."""

    way: str
    backend: str
    images: int
    accuracy: float
    agreement: float
    faster: float


def split(count: int) -> tuple[list[int], list[int]]:
    """Numbers of the images that calibrate, and of the others."""
    return list(range(0, count, CALIBRATES)), [i for i in range(count) if i % CALIBRATES]


def compare(ways: dict[str, tuple[str, nn.Module]], inputs: Tensor, labels: Tensor, batch_size: int) -> list[Row]:
    """Rows of all ways; the first is the plain model.

    Args:
        ways: name -> name of the backend, and the model.
        inputs: ``[N, C, H, W]``.
        labels: ``[N]`` class numbers.
        batch_size: B.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    classes: dict[str, list[Tensor]] = {way: [] for way in ways}
    with torch.inference_mode():
        for _, model in ways.values():
            model(inputs[:batch_size])
        for part in inputs.split(batch_size):
            for way, (_, model) in ways.items():
                start = time.process_time()
                pred = model(part).argmax(dim=1)
                if len(part) == batch_size:
                    seconds[way].append(time.process_time() - start)
                classes[way].append(pred)
    plain, *_ = ways
    reference, rows = torch.cat(classes[plain]), []
    for way, (backend, _) in ways.items():
        pred = torch.cat(classes[way])
        accuracy, agreement = ((pred == other).float().mean().item() for other in (labels, reference))
        faster = statistics.median(a / b for a, b in zip(seconds[plain], seconds[way]))
        rows.append(Row(way, backend, len(pred), accuracy, agreement, faster))
    return rows


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["f32", "bf16", "int8"], choices=["f32", "bf16", "int8"])
    parser.add_argument("--merge", nargs="+", type=int, default=[0])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="for measuring the candidates of a way")
    parser.add_argument("--backends", nargs="+", help="candidates instead of all that are installed")
    parser.add_argument("--limit", type=int, help="the first so many images")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    predictor = saccade.load(options.model)
    with (options.folder / "labels.csv").open() as file:
        labelled = list(csv.DictReader(file))[: options.limit]
    inputs = torch.stack([predictor.prepare(options.folder / row["file"]) for row in labelled])
    labels = torch.tensor([int(row["class_index"]) for row in labelled])
    calibration, evaluation = split(len(labelled))
    ways: dict[str, tuple[str, nn.Module]] = {"plain": ("torch", predictor.model)}
    for r in options.merge:
        merging = saccade.merge_tokens(predictor.model, r).eval() if r else predictor.model
        suffix = f", merging {r}" if r else ""
        if r:
            ways[f"plain{suffix}"] = ("torch", merging)
        for precision in options.precisions:
            try:
                fast = saccade.optimize(
                    merging, precision=precision, batch_size=options.batch_size, images=inputs[calibration],
                    seconds=options.seconds, backends=options.backends, cache=False,
                )  # fmt: skip
            except ConfigError as error:
                print(f"{precision}{suffix}: {error}")
                continue
            print(fast.choice, flush=True)
            ways[f"{precision}{suffix}"] = (fast.choice.backend, fast)
    rows = compare(ways, inputs[evaluation], labels[evaluation], options.batch_size)
    note = f"{len(calibration)} images calibrate, batch {options.batch_size}, one thread; {describe()}"
    print(f"\n{note}\n\n| variant | backend | images | accuracy | same class as plain | × as fast |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        numbers = f"{row.images} | {row.accuracy:.1%} | {row.agreement:.1%} | {row.faster:.2f}"
        print(f"| {row.way} | {row.backend} | {numbers} |")
    if options.json:
        options.json.write_text(json.dumps({"note": note, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main()
