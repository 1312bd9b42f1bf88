"""Effective receptive field: the pixels that the centre of a layer depends on, measured by the gradient.

Luo et al., arXiv 1701.04128. The theoretical field of a ConvNet grows with its depth, the effective one is a small part
of it; that of a ViT is global from the first block with large attention distances.

L layers, H x W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from saccade.analysis.inputs import ImageBatches
from saccade.analysis.layers import layer_outputs
from saccade.analysis.result import to_plain
from saccade.engine.predictor import Predictor

THRESHOLD = 1 - 0.9545  # of the largest gradient: pixels above are inside (two standard deviations of a Gaussian)


@dataclass(frozen=True)
class ReceptiveField:
    """The effective receptive field of the centre of every layer.

    Attributes:
        model: its name.
        layers: the L layers.
        fields: ``[L, H, W]``, the mean over images of |gradient|, summed over channels; each sums to 1.
        note: which images.
    """

    columns: ClassVar[tuple[str, ...]] = ("layer", "name", "radius_pixels", "area")

    model: str
    layers: tuple[str, ...]
    fields: np.ndarray
    note: str = ""

    @property
    def radius(self) -> np.ndarray:
        """``[L]`` pixels: the root mean square distance from the centre of the field, weighted by it."""
        height, width = self.fields.shape[1:]
        y, x = np.mgrid[:height, :width]
        radii = []
        for field in self.fields:
            middle = (field * y).sum(), (field * x).sum()
            radii.append(np.sqrt((field * ((y - middle[0]) ** 2 + (x - middle[1]) ** 2)).sum()))
        return np.array(radii)

    @property
    def area(self) -> np.ndarray:
        """``[L]``, the share of the image's pixels whose gradient is above 4.55 % of the largest."""
        peaks = self.fields.max(axis=(1, 2), keepdims=True)
        return (self.fields > THRESHOLD * peaks).mean(axis=(1, 2))

    def __str__(self) -> str:
        lines = [f"effective receptive field of {self.model}; {self.note}".rstrip("; ")]
        lines.append("layer  radius (pixels)  share of the image")
        for number, (radius, area) in enumerate(zip(self.radius, self.area)):
            lines.append(f"{number:>5} {radius:>16.1f} {area:>19.1%}  {self.layers[number]}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "note": self.note, "layers": list(self.layers), "radius_pixels": to_plain(self.radius),
            "area": to_plain(self.area), "fields": to_plain(self.fields),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (n, name, float(radius), float(area))
            for n, (name, radius, area) in enumerate(zip(self.layers, self.radius, self.area))
        ]


def receptive_field(
    predictor: Predictor, images: ImageBatches, *, on_images: Callable[[int, int], None] | None = None
) -> ReceptiveField:
    """The effective receptive field of every layer over some images of one size.

    Args:
        predictor: any model with feature maps or patches.
        images: whose gradients are averaged.
        on_images: called with (images done, images in all).
    """
    total: np.ndarray | None = None
    names: tuple[str, ...] = ()
    done = 0
    for batch in images.batches:
        inputs = batch.inputs.to(predictor.device).requires_grad_()
        grids = layer_outputs(predictor, inputs, grad=True).grids()
        names = tuple(grids)
        fields = []
        for number, grid in enumerate(grids.values()):
            rows, columns = grid.shape[2:]
            middle = grid[:, :, rows // 2, columns // 2].sum()
            (gradient,) = torch.autograd.grad(middle, inputs, retain_graph=number < len(grids) - 1)
            fields.append(gradient.abs().sum(dim=(0, 1)).double().cpu().numpy())
        total = np.stack(fields) if total is None else total + np.stack(fields)
        done += len(batch.names)
        if on_images is not None:
            on_images(done, images.count)
    assert total is not None  # there is at least one image
    scale = total.sum(axis=(1, 2), keepdims=True)
    return ReceptiveField(predictor.source.architecture, names, total / np.where(scale > 0, scale, 1), images.note)
