"""Pictures that tests make for themselves."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from saccade.data.samples import Batch


def make_photos(root: Path, layout: tuple[str, ...] = ("",), classes=("cat", "dog"), count: int = 10) -> Path:
    """Small pictures whose colour tells their class: cats are reddish, dogs blueish."""
    generator = np.random.default_rng(0)
    for split in layout:
        for number, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 120, (12, 16, 3), dtype=np.uint8)
                pixels[..., 2 * number % 3] += 120
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def batch_of(images: torch.Tensor, labels: torch.Tensor | None = None) -> Batch:
    """A batch of images without names; labels 0 unless given."""
    count = len(images)
    labels = torch.zeros(count, dtype=torch.long) if labels is None else labels
    return Batch(images, labels, ("",) * count, torch.arange(count))
