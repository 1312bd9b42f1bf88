"""The output that a map explains: the score of a class for an image, a box or a point, or the depth at a point.

B images, K classes, Q queries, P locations, H x W pixels.
"""

from typing import Any

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.detr import DetrOutput
from saccade.models.dpt import DPTOutput
from saccade.models.yolo import YoloOutput

Point = tuple[float, float]


def class_score(
    outputs: Any, target: int | None, query: int | None = None, point: Point | None = None
) -> tuple[Tensor, Tensor]:
    """The output that is explained, a scalar with its graph, and the scores ``[K]`` that it is one of.

    Args:
        outputs: of one image: logits ``[1, K]``; of a detector; ``[1, K, H, W]`` or ``[1, H, W]`` of a dense model.
        target: the class; the best one by default.
        query: the query or location of a detector; that with the best score by default.
        point: (x, y) in [0, 1] of the input: of a dense output this place; of a detector the best box around it.

    Returns:
        of a segmentation without a point the mean logit of the class over its area: the pixels where it is the best,
        all pixels where it is the best nowhere. Of depth the depth, which needs a point.

    Raises:
        ConfigError: the output has no classes, or there is no such query, class or place.
    """
    if isinstance(outputs, DetrOutput | YoloOutput):
        number = best_query(outputs, query, point)
        return _chosen(outputs.logits[0, number], target)
    if query is not None:
        raise ConfigError("a query is for detectors")
    dense = dense_values(outputs)
    if dense is not None:
        return _dense_score(dense, target, point)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise ConfigError("the model has no class scores, whose gradient could be computed")
    if point is not None:
        raise ConfigError("a point is for dense outputs and detectors: this model classifies the whole image")
    return _chosen(outputs[0], target)


def require_one_class(outputs: Any, method: str) -> None:
    """Raise ConfigError where a model does not classify the whole image."""
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise ConfigError(
            f"{method} explains the class of a whole image; use grad-cam for a box or, with --point, for a place"
        )


def best_query(outputs: DetrOutput | YoloOutput, query: int | None = None, point: Point | None = None) -> int:
    """The number of the query or location of one image: the given one, else that with the best score, of those whose
    box is around the point where one is given.

    Raises:
        ConfigError: there is no such query, or no box around the point.
    """
    count = outputs.logits.shape[1]
    if query is not None:
        if point is not None:
            raise ConfigError("choose a query or a point")
        if not 0 <= query < count:
            raise ConfigError(f"there is no query {query}: they are 0 to {count - 1}")
        return query
    logits = outputs.logits[0].detach().float()
    scores = logits.sigmoid() if isinstance(outputs, YoloOutput) else logits.softmax(-1)[:, :-1]
    best = scores.amax(dim=1)
    if point is not None:
        x, y, width, height = outputs.boxes[0].detach().float().unbind(-1)
        around = ((x - point[0]).abs() <= width / 2) & ((y - point[1]).abs() <= height / 2)
        if not around.any():
            raise ConfigError(f"no predicted box is around the point {point[0]:.2f}, {point[1]:.2f}")
        best = best.masked_fill(~around, -1)
    return int(best.argmax())


def dense_values(outputs: Any) -> Tensor | None:
    """Logits ``[K, H, W]`` or depth ``[1, H, W]`` of one image; None of a model whose output is not dense."""
    if isinstance(outputs, DPTOutput):
        values = outputs.values[0]
        return values if values.ndim == 3 else values[None]
    return outputs[0] if isinstance(outputs, Tensor) and outputs.ndim == 4 else None


def pixel_at(size: tuple[int, int], point: Point) -> tuple[int, int]:
    """(row, column) of the place of a map of (H, W) at a point (x, y) in [0, 1]."""
    return min(int(point[1] * size[0]), size[0] - 1), min(int(point[0] * size[1]), size[1] - 1)


def class_area(values: Tensor, target: int) -> Tensor:
    """Where a class of ``[K, H, W]`` is the best, ``[H, W]`` boolean; everywhere if it is nowhere."""
    area = values.argmax(dim=0) == target
    return area if area.any() else torch.ones_like(area)


def _dense_score(values: Tensor, target: int | None, point: Point | None) -> tuple[Tensor, Tensor]:
    """Of ``[K, H, W]``."""
    if point is not None:
        row, column = pixel_at((values.shape[1], values.shape[2]), point)
        return _chosen(values[:, row, column], target)
    if len(values) == 1:
        raise ConfigError("depth is explained at one place: give its point (--point 0.5 0.5)")
    number = int(values.argmax(dim=0).flatten().mode().values) if target is None else target
    if not 0 <= number < len(values):
        raise ConfigError(f"there is no class {number}: they are 0 to {len(values) - 1}")
    return _chosen(values[:, class_area(values, number)].mean(dim=1), number)


def _chosen(row: Tensor, target: int | None) -> tuple[Tensor, Tensor]:
    """A score of ``[K]``, and all of them."""
    number = int(row.argmax()) if target is None else target
    if not 0 <= number < len(row):
        raise ConfigError(f"there is no class {number}: they are 0 to {len(row) - 1}")
    return row[number], row.detach().float().cpu()
