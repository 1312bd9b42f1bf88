"""Train, predict, measure, look inside and save: the public face of the package from a script.

    python examples/python_api.py

Half a minute on one core: a small ViT learns noisy rows and columns, in a temporary folder.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import saccade
from saccade.data.own import OwnDataset
from saccade.data.preprocessing import Preprocessing
from saccade.engine.setup import TrainingSetup, own_model
from saccade.tasks.classification.task import ClassificationTask
from saccade.training.config import OptimizerConfig, RunConfig, ScheduleConfig

LABELS = ("horizontal", "vertical")


def stripes(count: int, seed: int) -> list[tuple[torch.Tensor, int]]:
    """Noisy images ``[1, 8, 8]`` with a bright row (class 0) or column (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for index in range(count):
        pixels, line = torch.rand(1, 8, 8, generator=generator) * 0.5, int(torch.randint(8, (), generator=generator))
        if index % 2:
            pixels[:, :, line] += 0.5
        else:
            pixels[:, line] += 0.5
        samples.append((pixels * 2 - 1, index % 2))
    return samples


def main(folder: Path, epochs: int = 12) -> None:
    # A named model with fresh weights, trained by the one training loop on data of one's own.
    torch.manual_seed(0)
    net: nn.Module = saccade.create("vit_digits", num_classes=len(LABELS))
    setup = TrainingSetup(
        own_model(net, LABELS), ClassificationTask(LABELS), OwnDataset(stripes(512, 0)), OwnDataset(stripes(128, 1))
    )
    config = RunConfig(batch_size=64, optimizer=OptimizerConfig(lr=2e-3), schedule=ScheduleConfig(epochs=epochs))
    result = saccade.train(setup, config, output=folder / "run")
    print(f"trained in {result.seconds:.0f} s; {result.split}: {result.metrics}")

    # The run has the weights; a model directory has labels and preprocessing too, and every command opens it.
    weights = folder / "run" / "model" / "model.safetensors"
    net.load_state_dict(load_file(weights))
    preprocessing = Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.5,))
    saccade.save(net, folder / "model", labels=LABELS, preprocessing=preprocessing)

    # A predictor takes paths, PIL images, arrays, tensors, bytes and open files, one or many.
    predictor = saccade.load(folder / "model")
    image = np.full((8, 8), 40, dtype=np.uint8)
    image[:, 3] = 255
    print(predictor, "->", predictor(image))

    evaluation = saccade.evaluate(predictor, OwnDataset(stripes(200, 2)))
    print(f"{evaluation.split}: {evaluation.metrics}")

    # What it attends to, as a picture and as numbers.
    drawing = saccade.explain(predictor, image)
    drawing.figure.savefig(folder / "attention.png")
    with saccade.record(predictor.model) as trace:
        predictor.predict(image)
    print(trace)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), *map(int, sys.argv[1:]))
