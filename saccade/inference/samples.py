"""Real images for comparing a fast model with the plain one: crops of scikit-learn's two photographs."""

import random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade.data.preprocessing import Preprocessing
from saccade.deferred import Deferred

datasets = Deferred("sklearn.datasets")


def photographs(count: int, seed: int = 0) -> list[Image.Image]:
    """Crops of random places and sizes, the same for the same seed."""
    pictures = [Image.fromarray(np.asarray(pixels)) for pixels in datasets.load_sample_images().images]
    draw, crops = random.Random(seed), []
    for index in range(count):
        picture = pictures[index % len(pictures)]
        side = draw.randint(96, min(picture.size))
        left, top = (draw.randint(0, length - side) for length in picture.size)
        crops.append(picture.crop((left, top, left + side, top + side)))
    return crops


def sample_batch(preprocessing: Preprocessing, size: tuple[int, int], count: int) -> Tensor:
    """``[count, C, H, W]``: photographs as a model's input of (H, W) pixels."""
    images = []
    for picture in photographs(count):
        exact = picture.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        images.append(preprocessing.normalize(preprocessing.convert_mode(exact)))
    return torch.stack(images)
