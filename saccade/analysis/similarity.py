"""Similarity of layers of one or two models: linear centred kernel alignment (CKA) of their representations.

Kornblith et al., arXiv 1905.00414. The unbiased estimate over batches of Nguyen et al., arXiv 2010.15327, which needs
the representations of one batch at a time: Raghu et al., arXiv 2108.08810, compare ViTs with ResNets by it.

n images of a batch, d numbers of a representation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.inputs import ImageBatches
from saccade.analysis.layers import layer_outputs
from saccade.analysis.result import to_plain
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError

SMALLEST_BATCH = 4  # the unbiased estimate divides by n - 3


@dataclass(frozen=True)
class LayerSimilarity:
    """``cka [L, M]``: 1 for the same representation up to rotation and scale, about 0 for independent ones."""

    columns: ClassVar[tuple[str, ...]] = ("layer", "other", "cka")

    layers: tuple[str, ...]
    others: tuple[str, ...]
    cka: np.ndarray
    names: tuple[str, str] = ("", "")
    note: str = ""

    def __str__(self) -> str:
        lines = [f"linear CKA of {len(self.layers)} x {len(self.others)} layers; {self.note}".rstrip("; ")]
        for path, row in zip(self.layers, self.cka):
            lines.append(" ".join(f"{value:5.2f}" for value in row) + f"  {path}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "models": list(self.names), "note": self.note, "layers": list(self.layers), "others": list(self.others),
            "cka": to_plain(self.cka),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (layer, other, to_plain(self.cka[row, column]))
            for row, layer in enumerate(self.layers)
            for column, other in enumerate(self.others)
        ]


class MinibatchCKA:
    """Linear CKA of every pair of two lists of representations, batch by batch."""

    def __init__(self) -> None:
        self.cross: Tensor = torch.zeros(())  # [L, M] sums over batches
        self.own: tuple[Tensor, Tensor] = (torch.zeros(()), torch.zeros(()))  # [L], [M]

    def add(self, first: list[Tensor], second: list[Tensor]) -> None:
        """Representations of a batch, ``[n, d]`` each; d may differ.

        Raises:
            ConfigError: fewer than 4 images.
        """
        if len(first[0]) < SMALLEST_BATCH:
            raise ConfigError(f"CKA needs batches of at least {SMALLEST_BATCH} images, not {len(first[0])}")
        left, right = ([without_diagonal(x.double() @ x.double().T) for x in part] for part in (first, second))
        pairs = torch.tensor([[unbiased_hsic(a, b) for b in right] for a in left], dtype=torch.float64)
        self.cross = self.cross + pairs
        self.own = (
            self.own[0] + torch.tensor([unbiased_hsic(a, a) for a in left], dtype=torch.float64),
            self.own[1] + torch.tensor([unbiased_hsic(b, b) for b in right], dtype=torch.float64),
        )

    def result(self) -> np.ndarray:
        """``[L, M]``; NaN where a representation is the same for all images."""
        scale = (self.own[0][:, None] * self.own[1]).clamp(min=0).sqrt()
        return torch.where(scale > 0, self.cross / scale, torch.nan).numpy()


def without_diagonal(gram: Tensor) -> Tensor:
    """``[n, n]`` with zeros on the diagonal."""
    return gram - torch.diag(gram.diagonal())


def unbiased_hsic(k: Tensor, l: Tensor) -> float:  # noqa: E741
    """The unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al., JMLR 13, 2012, equation 5).

    Of Gram matrices ``[n, n]`` whose diagonal is 0.
    """
    n = len(k)
    total = (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(dim=0) @ l.sum(dim=0)) / (n - 2)
    return (total / (n * (n - 3))).item()


def layer_similarity(
    first: Predictor,
    second: Predictor | None,
    images: ImageBatches,
    other_images: ImageBatches | None = None,
    *,
    on_images: Callable[[int, int], None] | None = None,
) -> LayerSimilarity:
    """Linear CKA of every layer with every other.

    A layer's representation is the concatenation of all of its patches, or its whole feature map.

    Args:
        first: the model whose layers are the rows.
        second: the model of the columns; None for the same.
        images: as the first model takes them, in batches of at least 4.
        other_images: the same images as the second model takes them; needed for a second model.
        on_images: called with (images done, images in all).
    """
    cka, done, rows, columns = MinibatchCKA(), 0, (), ()
    others = iter(other_images.batches) if other_images is not None else None
    for batch in images.batches:
        if len(batch.names) < SMALLEST_BATCH and done:
            break  # the rest of the images makes no batch
        left = _flat(first, batch.inputs)
        right = left
        if second is not None:
            if others is None:
                raise ConfigError("a second model needs its own batches of the same images")
            other = next(others)
            if other.names != batch.names:
                raise ConfigError("both models must be given the same images in the same order")
            right = _flat(second, other.inputs)
        cka.add(list(left.values()), list(right.values()))
        rows, columns, done = tuple(left), tuple(right), done + len(batch.names)
        if on_images is not None:
            on_images(done, images.count)
    names = (first.source.architecture, (second or first).source.architecture)
    return LayerSimilarity(rows, columns, cka.result(), names, images.note)


def _flat(predictor: Predictor, inputs: Tensor) -> dict[str, Tensor]:
    grids = layer_outputs(predictor, inputs).grids()
    return {path: x.float().flatten(1).cpu() for path, x in grids.items()}
