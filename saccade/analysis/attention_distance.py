"""Attention distance: the mean distance between a query's patch and the patches that it attends to.

Figure 7 of Dosovitskiy et al., arXiv 2010.11929: the receptive field of attention. In pixels of the model's input.

I images, L layers, H heads, Q queries, h x w grid of patches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.attention_maps import self_attention
from saccade.analysis.image_run import run_images
from saccade.analysis.inputs import ImageBatches
from saccade.analysis.placed_attention import PlacedBlock
from saccade.analysis.result import to_plain
from saccade.engine.predictor import Predictor
from saccade.nn.tokens import TokenLayout

SMALLEST_FRACTION = 1e-6  # of a query's attention; what is below is rounding of the softmax


@dataclass(frozen=True)
class AttentionDistance:
    """Mean attention distance of each head, over the queries of an image.

    Attributes:
        layers: the paths of the layers.
        per_image: ``[I, L, H]`` pixels of the model's input; NaN for a head that attends to prefix tokens only.
        note: description of the images.
    """

    columns: ClassVar[tuple[str, ...]] = ("layer", "path", "head", "mean_pixels", "std_pixels", "images")

    layers: tuple[str, ...]
    per_image: np.ndarray
    note: str = ""

    @property
    def pixels(self) -> np.ndarray:
        """``[L, H]``, the mean over the images for which the distance is defined; NaN if there are none."""
        return self._over_images(np.ma.mean)

    @property
    def spread(self) -> np.ndarray:
        """``[L, H]``, the standard deviation over those images."""
        return self._over_images(np.ma.std)

    @classmethod
    def joined(cls, parts: Sequence["AttentionDistance"], note: str = "") -> "AttentionDistance":
        """The distances of several batches."""
        return cls(parts[0].layers, np.concatenate([part.per_image for part in parts]), note)

    def __str__(self) -> str:
        lines = [
            f"mean attention distance in pixels, mean ± standard deviation over {len(self.per_image)} images",
            *([self.note] if self.note else []),
            "layer   mean   head by head",
        ]
        for number, (means, spreads) in enumerate(zip(self.pixels, self.spread)):
            heads = "  ".join(f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(means, spreads))
            lines.append(f"{number:>5} {np.ma.masked_invalid(means).mean():>6.1f}   {heads}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "note": self.note, "images": len(self.per_image), "layers": list(self.layers),
            "mean_pixels": to_plain(self.pixels), "std_pixels": to_plain(self.spread),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        mean, std = self.pixels, self.spread
        defined = np.isfinite(self.per_image).sum(axis=0)
        return [
            (layer, path, head, to_plain(mean[layer, head]), to_plain(std[layer, head]), int(defined[layer, head]))
            for layer, path in enumerate(self.layers)
            for head in range(mean.shape[1])
        ]

    def _over_images(self, statistic: Callable[..., Any]) -> np.ndarray:
        return np.ma.filled(statistic(np.ma.masked_invalid(self.per_image), axis=0), np.nan)


def query_distances(weights: Tensor, layout: TokenLayout) -> Tensor:
    """Self-attention ``[..., N, N]`` -> the expected distance of each patch's query, ``[..., h*w]`` pixels.

    Prefix tokens are left out, and each row is renormalised; NaN if nothing remains.
    """
    centres = layout.centres()
    distance = torch.cdist(centres, centres)  # [h*w, h*w]
    patches = weights[..., layout.num_prefix :, layout.num_prefix :].float()
    fraction = patches.sum(dim=-1)  # of the attention that goes to patches
    expected = (patches * distance.to(patches)).sum(dim=-1) / fraction
    return torch.where(fraction > SMALLEST_FRACTION, expected, torch.nan)


def attention_distance(attention: Mapping[str, Tensor], layout: TokenLayout) -> AttentionDistance:
    """Mean over queries of the expected distance, for each image.

    Args:
        attention: module path -> ``[B, H, N, N]``, as a recording gives it. A query without attention to patches does
            not count, and a head without any other query has NaN.
        layout: how the tokens are arranged over the image.
    """
    means = [query_distances(weights, layout).nanmean(dim=-1).cpu() for weights in attention.values()]  # [B, H] each
    heads = max(mean.shape[1] for mean in means)
    padded = [torch.nn.functional.pad(mean, (0, heads - mean.shape[1]), value=torch.nan) for mean in means]
    return AttentionDistance(tuple(attention), torch.stack(padded, dim=1).numpy())


def placed_distance(blocks: Sequence[PlacedBlock]) -> AttentionDistance:
    """The same for local and axial attention; a head's queries are the positions of its layer's map."""
    attentions = [attention for block in blocks for attention in block.attentions]
    means = [attention.distances().mean(dim=-1) for attention in attentions]  # [B, H] each
    return AttentionDistance(tuple(a.path for a in attentions), torch.stack(means, dim=1).numpy())


def measure_attention_distance(
    predictor: Predictor,
    images: ImageBatches,
    *,
    budget: str | int = "4 GiB",
    on_images: Callable[[int, int], None] | None = None,
) -> AttentionDistance:
    """The attention distance of every layer and head over a data set.

    Args:
        predictor: a model with self-attention over patches, or with local or axial attention.
        images: input images.
        budget: memory that the attention of one batch may take.
        on_images: called with (images done, total number of images).

    Raises:
        RecordingError: the model has no self-attention over patches, or the recording is larger than the budget.
    """
    parts, done = [], 0
    for batch in images.batches:
        run = run_images(predictor, batch.inputs, budget=budget)
        blocks = run.blocks()
        if blocks:
            parts.append(placed_distance(blocks))
        else:
            layout, layers = self_attention(run.trace, run.reader)
            parts.append(attention_distance(layers, layout))
        done += len(batch.names)
        if on_images is not None:
            on_images(done, images.count)
    return AttentionDistance.joined(parts, images.note)
