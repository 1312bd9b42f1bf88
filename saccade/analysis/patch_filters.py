"""Filters of the first layer: those of a ConvNet, or the principal components of a patch embedding.

Figure 7 of Dosovitskiy et al., arXiv 2010.11929: the components resemble a basis for the content of a patch. Figure 3
of Krizhevsky et al. 2012: the filters of AlexNet are edges and colours.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from saccade.analysis.result import to_plain
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.nn.patches import PatchEmbed


@dataclass(frozen=True)
class PatchFilters:
    """Filters of the first layer.

    Attributes:
        filters: ``[K, p, q, C]``, each scaled to [0, 1] around 0.5, which stands for 0.
        variance: ``[K]``, of each component its share in the whole; of filters their share in the sum of squares.
        kind: "principal components of the patch embedding", or "filters of" a layer.
    """

    columns: ClassVar[tuple[str, ...]] = ("filter", "variance")

    filters: np.ndarray
    variance: np.ndarray
    kind: str = "principal components of the patch embedding"

    def __str__(self) -> str:
        count, height, width, channels = self.filters.shape
        return (
            f"{count} {self.kind}, {height} x {width} pixels of {channels} channels; together "
            f"{self.variance.sum():.1%} of the sum of squares"
        )

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "variance": to_plain(self.variance), "filters": to_plain(self.filters)}

    def rows(self) -> list[tuple[Any, ...]]:
        return [(number, float(value)) for number, value in enumerate(self.variance)]


def patch_filters(model: Model, count: int = 28) -> PatchFilters | None:
    """The first `count` principal components; None for a model whose patches are not cut from the image itself."""
    embedding = next((m for m in model.modules() if isinstance(m, PatchEmbed)), None)
    if embedding is None or embedding.proj.in_channels != model.config.in_channels:
        return None
    weight = embedding.proj.weight.detach().float().cpu()  # [D, C, p, q]
    flat = weight.flatten(1)
    _, strengths, components = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)
    count = min(count, len(components))
    variance = strengths**2 / (strengths**2).sum()
    return PatchFilters(_scaled(components[:count].unflatten(1, weight.shape[1:])), variance[:count].numpy())


def first_filters(model: Model, count: int = 96) -> PatchFilters:
    """The filters of the first convolution, or the rows of the patch embedding, that read the image itself; the
    strongest `count` of them in the order of the channels.

    Raises:
        ConfigError: no convolution reads the image.
    """
    path, conv = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if conv is None or conv.in_channels != model.config.in_channels:
        raise ConfigError(
            f"no convolution of this {type(model).__name__} reads an image; use relevance, which leads to its inputs"
        )
    weight = conv.weight.detach().float().cpu()  # [D, C, p, q]
    energy = weight.square().flatten(1).sum(dim=1)
    strongest = energy.topk(min(count, len(weight))).indices.sort().values
    return PatchFilters(_scaled(weight[strongest]), (energy / energy.sum())[strongest].numpy(), f"filters of {path}")


def _scaled(filters: Tensor) -> np.ndarray:
    """``[K, C, p, q]`` -> ``[K, p, q, C]``, each divided by its largest weight, in [0, 1] around 0.5."""
    images = filters.permute(0, 2, 3, 1)
    largest = images.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return (0.5 + 0.5 * images / largest).numpy()
