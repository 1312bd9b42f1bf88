"""Cosine similarity of position embeddings.

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
from saccade.models.bert import Bert
from saccade.models.clip import CLIP
from saccade.models.detr import DETR
from saccade.models.encoder_decoder import EncoderDecoder
from saccade.models.model import Model
from saccade.models.perceiver_text import PerceiverText
from saccade.nn.positions import FixedPositions, FourierPositions, LearnedPositions


@dataclass(frozen=True)
class PositionSimilarity:
    """Similarity of positions.

    Attributes:
        values: ``[h, w, h, w]`` in [-1, 1], each place of the grid with every other; h is 1 for the tokens of a text.
        kind: of the positions.
        every: places of the model's grid between two of these, 1 for all.
        unit: what has the positions, "patches" or "tokens".
    """

    columns: ClassVar[tuple[str, ...]] = ("row", "column", "other_row", "other_column", "cosine")

    values: np.ndarray
    kind: str
    every: int = 1
    unit: str = "patches"

    def __str__(self) -> str:
        rows, columns = self.values.shape[:2]
        right = np.array([self.values[r, c, r, c + 1] for r in range(rows) for c in range(columns - 1)])
        below = np.array([self.values[r, c, r + 1, c] for r in range(rows - 1) for c in range(columns)])
        flat = self.values.reshape(rows * columns, -1)
        far = flat[~np.eye(len(flat), dtype=bool)]
        if self.unit == "tokens":
            part = f", every {self.every}th" if self.every > 1 else ""
            return (
                f"{self.kind} positions of {columns} tokens{part}; mean cosine similarity: neighbours "
                f"{_mean(right):.3f}, all pairs {_mean(far):.3f}"
            )
        part = f", every {self.every}th in both directions" if self.every > 1 else ""
        return (
            f"{self.kind} positions of {rows} x {columns} patches{part}; mean cosine similarity: neighbours in a row "
            f"{_mean(right):.3f}, in a column {_mean(below):.3f}, all pairs {_mean(far):.3f}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "grid": list(self.values.shape[:2]), "every": self.every,
            "cosine": to_plain(self.values),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        return [(*place, float(value)) for place, value in np.ndenumerate(self.values)]


@torch.no_grad()
def measure_positions(
    model: Model, image_size: tuple[int, int] | None = None, *, max_side: int | None = None
) -> PositionSimilarity:
    """The similarity of a model's positions: of its patches, of a model of texts alone of its tokens.

    Args:
        model: with positions.
        image_size: (H, W) in pixels, whose grid is taken; the model's own by default.
        max_side: maximum number of positions in a row or a column; from a larger grid every second, third, ... position
            is used.

    Raises:
        ConfigError: the model has no such positions.
    """
    if model.config.image_size is None and image_size is None:
        return measure_text_positions(model, max_tokens=max_side and max_side**2)
    table, grid, kind = position_table(model, image_size)
    every = 1 if max_side is None else -(-max(grid) // max_side)
    places = table.float().cpu().unflatten(0, grid)[::every, ::every]
    unit = F.normalize(places.flatten(0, 1), dim=1)
    return PositionSimilarity((unit @ unit.T).reshape(*places.shape[:2], *places.shape[:2]).numpy(), kind, every)


@torch.no_grad()
def measure_text_positions(model: Model, *, max_tokens: int | None = None) -> PositionSimilarity:
    """The similarity of the positions of a text's tokens: of the texts that a model reads or generates.

    Args:
        model: an encoder-decoder, a BERT, a Perceiver of bytes, the text encoder of a CLIP.
        max_tokens: maximum number of tokens; from a longer text every second, third, ... token is used.

    Raises:
        ConfigError: the model has no texts.
    """
    if isinstance(model, EncoderDecoder):
        table, kind = model.text_positions(model.config.context_length), "sinusoidal"
    elif isinstance(model, CLIP):
        table, kind = model.text.pos_embed, "learned"
    elif isinstance(model, Bert | PerceiverText):
        table, kind = model.pos_embed, "learned"
    else:
        raise ConfigError(f"this {type(model).__name__} reads no texts, whose tokens could have positions")
    every = 1 if max_tokens is None else -(-len(table) // max_tokens)
    unit = F.normalize(table[::every].float().cpu(), dim=1)
    return PositionSimilarity((unit @ unit.T)[None, :, None].numpy(), kind, every, "tokens")


def position_table(model: Model, image_size: tuple[int, int] | None = None) -> tuple[Tensor, tuple[int, int], str]:
    """The positions of the patches ``[h*w, D]``, their grid (h, w), and what kind they are; see above."""
    tables = (LearnedPositions, FixedPositions, FourierPositions)
    module = next((m for m in model.modules() if isinstance(m, tables)), None)
    layout = model.token_layout(image_size)
    if isinstance(model, DETR) and layout is not None and model.config.position_use != "none":
        like = torch.zeros(1, model.config.block.embed_dim, *layout.grid)
        place = next(model.parameters()).device
        kind = "sinusoidal" if model.pos_embed is None else "learned"
        return model.positions(like.to(place), None)[0].flatten(1).T, layout.grid, kind
    if module is None or layout is None:
        raise ConfigError(
            f"this {type(model).__name__} has no positions on a grid of patches; shift and shuffle measure "
            "its dependence on positions"
        )
    kind = {LearnedPositions: "learned", FixedPositions: "sinusoidal", FourierPositions: "Fourier"}[type(module)]
    grid = module.grid if image_size is None else layout.grid
    return module(grid)[0, module.num_prefix :], grid, kind


def position_similarity(model: Model) -> np.ndarray | None:
    """``[h, w, h, w]`` in [-1, 1]: each place of the grid with every other; None for a model without positions."""
    try:
        return measure_positions(model).values
    except ConfigError:
        return None


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
