"""RISE: the mean of random masks, weighted by the probability that the masked image keeps (Petsiuk et al., 2018).

    S(λ) = 1 / (N E[M]) Σ f(I ⊙ M) M(λ)                                                  arXiv 1806.07421

A mask is a small grid of zeros and ones, enlarged bilinearly and shifted by less than a cell. The model is a black box:
any classifier has such a map.

N masks, s x s cells, p their probability of being 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.analysis.gradient_maps import GradientMap, output_reader
from saccade.analysis.inputs import SINGLE_CLASS, class_probabilities, gives_one_class, gives_probabilities
from saccade.analysis.outputs import class_score, require_one_class
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode

BATCH = 32  # masked images at once
MAPS = "grad-cam or integrated-gradients"  # which need no probability, for messages


@dataclass(frozen=True)
class RiseMasks:
    """The masks of RISE.

    Attributes:
        count: N; the paper has 4,000 for VGG-16 and 8,000 for ResNet-50. The noise of a map falls with the root of N.
        cells: s, on each side; fewer where a cell would be smaller than two pixels.
        probability: p.
        seed: of the masks.
        on_masks: called with (masks done, masks in all).
    """

    count: int = 1000
    cells: int = 7
    probability: float = 0.5
    seed: int = 0
    on_masks: Callable[[int, int], None] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.count < 1 or self.cells < 1:
            raise ConfigError(f"RISE needs at least 1 mask of 1 cell, not {self.count} of {self.cells}")
        if not 0 < self.probability < 1:
            raise ConfigError(f"the probability of a cell must be between 0 and 1, not {self.probability:g}")


def random_masks(count: int, size: tuple[int, int], masks: RiseMasks, generator: torch.Generator) -> Tensor:
    """``[count, 1, H, W]`` in [0, 1], each pixel with the mean p."""
    height, width = size
    cells = max(1, min(masks.cells, height // 2, width // 2))
    tall, wide = math.ceil(height / cells), math.ceil(width / cells)  # of a cell, in pixels
    grids = (torch.rand(count, 1, cells + 1, cells + 1, generator=generator) < masks.probability).float()
    larger = F.interpolate(grids, size=((cells + 1) * tall, (cells + 1) * wide), mode="bilinear", align_corners=False)
    rows = torch.randint(tall, (count,), generator=generator).tolist()
    columns = torch.randint(wide, (count,), generator=generator).tolist()
    return torch.stack([mask[:, y : y + height, x : x + width] for mask, y, x in zip(larger, rows, columns)])


@torch.no_grad()
def rise_map(
    predictor: Predictor, inputs: Tensor, target: int | None = None, *, masks: RiseMasks | None = None
) -> GradientMap:
    """Mean probability of a class over the masks that leave a pixel visible.

    Args:
        predictor: a classifier.
        inputs: one image ``[1, C, H, W]``, prepared; what a mask hides has the mean colour.
        target: number of the class; the predicted one by default.
        masks: number and kind of masks; 1,000 of the paper's masks by default.

    Returns:
        ``values [H, W]``: at pixels without influence, the mean probability of the class over the masks.

    Raises:
        ConfigError: the model gives no scores of classes, or has a single one.
    """
    masks = masks or RiseMasks()
    reader, generator = output_reader(predictor), torch.Generator().manual_seed(masks.seed)
    image = inputs.to(predictor.device)
    height, width = image.shape[-2:]
    total, done = torch.zeros(height, width), 0
    with evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
        outputs = reader(image)
        require_one_class(outputs, "rise")
        if not gives_probabilities(predictor):
            raise ConfigError(f"rise weighs masks by the probability of a class, and this model gives none; use {MAPS}")
        if outputs.shape[1] == 1 and gives_one_class(predictor):
            raise ConfigError(f"rise weighs masks by the probability of a class: {SINGLE_CLASS}; use {MAPS}")
        _, logits = class_score(outputs, target)
        number = int(logits.argmax()) if target is None else target
        while done < masks.count:
            part = random_masks(min(BATCH, masks.count - done), (height, width), masks, generator)
            chances = reader(image * part.to(image)).float()
            chances = class_probabilities(predictor, chances)[:, number].cpu()
            total += (chances[:, None, None] * part[:, 0]).sum(dim=0)
            done += len(part)
            if masks.on_masks is not None:
                masks.on_masks(done, masks.count)
    return GradientMap(total / (masks.count * masks.probability), logits)
