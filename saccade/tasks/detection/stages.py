"""Does a detector need its duplicates suppressed? Asked after each of DETR's decoder blocks, and of the classical one.

Carion et al. (arXiv 2005.12872, figure 4): after the first block suppression helps, because queries cannot yet see what
the others found; after the last it does not. A classical detector is nothing without it.

N images, Q boxes of an image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.inference.evaluation import collect_split
from saccade.inference.predictor import Predictor
from saccade.tasks.classical import ClassicalTask
from saccade.tasks.detection import DetectionTask
from saccade.tasks.predictions import DetectionMetrics


@dataclass(frozen=True)
class Suppression:
    """One stage of a detector without and with suppression.

    Attributes:
        stage: "decoder block 1" …, or "candidates".
        plain, suppressed: the metrics of its boxes as they come, and of those that suppression leaves.
        told: boxes an image from the threshold on, as they come.
        duplicates: share of these that suppression takes away, in [0, 1].
    """

    stage: str
    plain: DetectionMetrics
    suppressed: DetectionMetrics
    told: float
    duplicates: float


def suppression_study(
    predictor: Predictor,
    data: str,
    *,
    split: str = "auto",
    overlap: float = 0.6,
    batch_size: int = 32,
    workers: int | None = None,
    on_images: Callable[[int, int], None] | None = None,
) -> list[Suppression]:
    """Measure a detector after each of its decoder blocks, or a classical one at its end, with and without suppression.

    Args:
        predictor: a detector; its threshold decides which boxes count as told.
        data, split, batch_size, workers, on_images: as for :func:`~saccade.inference.evaluation.evaluate`.
        overlap: IoU from which the less sure of two boxes of a class is suppressed.

    Raises:
        ConfigError: the model is no detector.
    """
    task = predictor.about
    if not isinstance(task, DetectionTask):
        raise ConfigError(f"suppression is for detectors; this model's task is {predictor.task}")
    if isinstance(task, ClassicalTask):
        task = ClassicalTask(task.labels, task.weights, threshold=task.threshold)
        task.overlap = 1.0

    def keep(outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        found = [task.keep(stage, batch) for stage in (*getattr(outputs, "aux", ()), outputs)]
        return torch.stack([boxes for boxes, _ in found], dim=1), found[0][1]  # [B, stages, Q, 6]

    collected, _, _ = collect_split(predictor, data, keep, split, batch_size, workers, on_images)
    stages = collected.outputs.unbind(1)
    name = "candidates" if isinstance(task, ClassicalTask) else "decoder block {}"
    results = []
    for number, boxes in enumerate(stages, 1):
        left = suppressed(boxes, overlap)
        told, still = ((rows[..., 4] >= task.threshold).sum().item() for rows in (boxes, left))
        plain, fewer = (task.measure(rows, collected.targets) for rows in (boxes, left))
        results.append(
            Suppression(name.format(number), plain, fewer, told / len(boxes), 1 - still / told if told else 0.0)
        )
    return results


def suppressed(boxes: Tensor, overlap: float) -> Tensor:
    """Boxes ``[N, Q, 6]`` (corners, score, class), those taken away as rows of NaN."""
    left = torch.full_like(boxes, float("nan"))
    for image, rows in enumerate(boxes):
        there = (~rows[:, 4].isnan()).nonzero()[:, 0]
        known = rows[there]
        kept = there[batched_nms(known[:, :4], known[:, 4], known[:, 5].long(), overlap)]
        left[image, kept] = rows[kept]
    return left
