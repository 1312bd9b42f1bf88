"""Effect of non-maximum suppression, after each decoder layer of a DETR and on the candidates of a dense detector.

Carion et al. (arXiv 2005.12872, figure 4): after the first layer suppression helps, because queries cannot yet see each
other's predictions; after the last it does not. A dense detector depends on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.evaluation import collect_split
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.tasks.detection.detr import DetrTask
from saccade.tasks.detection.fcos import FcosTask
from saccade.tasks.detection.metrics import DetectionMetrics
from saccade.tasks.detection.panoptic import PanopticTask
from saccade.tasks.detection.task import DetectionTask

PREDICTED = ("boxes", "scores", "labels", "num_boxes")  # collected tensors that differ from stage to stage
TARGETS = ("target_boxes", "target_labels", "target_areas", "target_crowd", "num_targets")


@dataclass(frozen=True)
class Stage:
    """The boxes of one stage of a detector, without and with non-maximum suppression.

    Attributes:
        stage: "decoder layer 1" …, or "candidates".
        plain, suppressed: metrics of all boxes, and of those that suppression leaves.
        boxes_per_image: boxes above the score threshold, without suppression.
        duplicates: fraction of these that suppression removes, in [0, 1].
    """

    stage: str
    plain: DetectionMetrics
    suppressed: DetectionMetrics
    boxes_per_image: float
    duplicates: float


@dataclass(frozen=True)
class SuppressionStudy:
    """The stages of a detector in their order."""

    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        lines = [f"{'':<16}      AP  AP with NMS    AP50  AP50 with NMS  boxes/image  duplicates"]
        for row in self.stages:
            lines.append(
                f"{row.stage:<16}   {row.plain.ap:.3f}        {row.suppressed.ap:.3f}   {row.plain.ap50:.3f}"
                f"          {row.suppressed.ap50:.3f}  {row.boxes_per_image:>11.1f}  {row.duplicates:>10.1%}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class StageEvaluator:
    """Collects the boxes of every stage: ``"1.boxes"``, ``"2.boxes"``, …, and the targets."""

    def __init__(self, task: DetectionTask):
        self.task = task

    def eval_step(self, model: nn.Module, batch: Batch) -> Any:
        return self.task.eval_step(model, batch)

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        layers = [*outputs.aux, outputs] if isinstance(self.task, DetrTask) else [outputs]
        tensors: dict[str, Tensor] = {}
        for number, layer in enumerate(layers, 1):
            of_layer = self.task.collect(layer, batch)
            tensors |= {f"{number}.{name}": of_layer.pop(name) for name in PREDICTED}
            tensors |= {name: of_layer[name] for name in TARGETS}
        return tensors


def suppression_study(
    predictor: Predictor,
    data: str,
    *,
    split: str = "auto",
    nms_iou_threshold: float = 0.6,
    batch_size: int = 32,
    workers: int | None = None,
    on_inputs: Callable[[int, int], None] | None = None,
) -> SuppressionStudy:
    """Measure a detector after each of its stages, with and without non-maximum suppression.

    Args:
        predictor: a detector; boxes from its score threshold on are counted.
        data, split, batch_size, workers, on_inputs: as for :func:`saccade.engine.evaluation.evaluate`.
        nms_iou_threshold: of two boxes of a class with a higher IoU, the one with the lower score is suppressed.

    Raises:
        ConfigError: the model is no detector.
    """
    task = predictor.task
    if isinstance(task, PanopticTask):
        raise ConfigError("--stages measures boxes: use it without --panoptic")
    if isinstance(task, FcosTask):
        task = FcosTask(task.labels, task.config, threshold=task.threshold, nms_iou_threshold=1.0)
    elif not isinstance(task, DetrTask):
        raise ConfigError(f"--stages measures detectors; this model is for {task.name}")
    evaluator = StageEvaluator(task)
    collected, _, _ = collect_split(predictor, data, evaluator, split, batch_size, workers, on_inputs)
    targets = {name: collected[name] for name in TARGETS}
    stages = []
    number = 1
    while f"{number}.boxes" in collected.tensors:
        predictions = {name: collected[f"{number}.{name}"] for name in PREDICTED}
        title = f"decoder layer {number}" if isinstance(task, DetrTask) else "candidates"
        plain = Collected({**predictions, **targets}, collected.names)
        stages.append(measure_stage(title, task, plain, nms_iou_threshold))
        number += 1
    return SuppressionStudy(tuple(stages))


def measure_stage(title: str, task: DetectionTask, plain: Collected, nms_iou_threshold: float) -> Stage:
    """One stage from its collected boxes."""
    suppressed = without_duplicates(plain, nms_iou_threshold)
    shown, left = ((c["scores"] >= task.threshold).sum().item() for c in (plain, suppressed))
    duplicates = 1 - left / shown if shown else 0.0
    return Stage(title, task.measure(plain), task.measure(suppressed), shown / len(plain), duplicates)


def without_duplicates(collected: Collected, nms_iou_threshold: float) -> Collected:
    """The collected boxes after non-maximum suppression, image by image and class by class."""
    images: Sequence = list(zip(*(collected.per_input(name, "num_boxes") for name in ("boxes", "scores", "labels"))))
    survivors = [batched_nms(boxes, scores, labels, nms_iou_threshold) for boxes, scores, labels in images]
    rows = {
        name: torch.cat([image[column][indices] for image, indices in zip(images, survivors)])
        for column, name in enumerate(("boxes", "scores", "labels"))
    }
    num_boxes = torch.tensor([len(indices) for indices in survivors])
    return Collected({**collected.tensors, **rows, "num_boxes": num_boxes}, collected.names)
