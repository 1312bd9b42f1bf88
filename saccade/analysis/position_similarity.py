"""Which positions a model takes for neighbours: cosine similarity of position embeddings.

Figure 7 of Dosovitskiy et al., arXiv 2010.11929. Learned positions at the size of their table or resampled; sinusoids
at any size.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.analysis.result import to_plain
from saccade.errors import ConfigError
from saccade.models.detr import DETR
from saccade.models.model import Model
from saccade.nn.positions import FixedPositions, FourierPositions, LearnedPositions


@dataclass(frozen=True)
class PositionSimilarity:
    """``values [h, w, h, w]`` in [-1, 1]: each place of the grid with every other; and the kind of the positions."""

    columns: ClassVar[tuple[str, ...]] = ("row", "column", "other_row", "other_column", "cosine")

    values: np.ndarray
    kind: str

    def __str__(self) -> str:
        rows, columns = self.values.shape[:2]
        right = np.array([self.values[r, c, r, c + 1] for r in range(rows) for c in range(columns - 1)])
        below = np.array([self.values[r, c, r + 1, c] for r in range(rows - 1) for c in range(columns)])
        flat = self.values.reshape(rows * columns, -1)
        far = flat[~np.eye(len(flat), dtype=bool)]
        return (
            f"{self.kind} positions of {rows} x {columns} patches; mean cosine similarity: neighbours in a row "
            f"{_mean(right):.3f}, in a column {_mean(below):.3f}, all pairs {_mean(far):.3f}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "grid": list(self.values.shape[:2]), "cosine": to_plain(self.values)}

    def rows(self) -> list[tuple[Any, ...]]:
        return [(*place, float(value)) for place, value in np.ndenumerate(self.values)]


@torch.no_grad()
def measure_positions(model: Model, image_size: tuple[int, int] | None = None) -> PositionSimilarity:
    """The similarity of a model's positions.

    Args:
        model: with positions on the grid of its patches.
        image_size: (H, W) in pixels, whose grid is taken; the model's own unless given.

    Raises:
        ConfigError: the model has no such positions.
    """
    tables = (LearnedPositions, FixedPositions, FourierPositions)
    module = next((m for m in model.modules() if isinstance(m, tables)), None)
    layout = model.token_layout(image_size)
    if isinstance(model, DETR) and layout is not None and model.config.position_use != "none":
        like = torch.zeros(1, model.config.block.embed_dim, *layout.grid)
        place = next(model.parameters()).device
        kind = "sinusoidal" if model.pos_embed is None else "learned"
        return PositionSimilarity(_similarity(model.positions(like.to(place), None)[0].flatten(1).T, layout.grid), kind)
    if module is None or layout is None:
        raise ConfigError(f"this {type(model).__name__} has no positions on a grid of patches")
    kind = {LearnedPositions: "learned", FixedPositions: "sinusoidal", FourierPositions: "Fourier"}[type(module)]
    grid = module.grid if image_size is None else layout.grid
    return PositionSimilarity(_similarity(module(grid)[0, module.num_prefix :], grid), kind)


def position_similarity(model: Model) -> np.ndarray | None:
    """``[h, w, h, w]`` in [-1, 1]: each place of the grid with every other; None for a model without positions."""
    try:
        return measure_positions(model).values
    except ConfigError:
        return None


def _similarity(table: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """Positions ``[h*w, D]`` -> ``[h, w, h, w]``."""
    unit = F.normalize(table.float().cpu(), dim=1)
    return (unit @ unit.T).reshape(*grid, *grid).numpy()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
