"""The base of all detectors: predicted boxes with classes and scores, in pixels of the original image, and their
average precision. The losses are in `detr.py` and `fcos.py`.

B images, n boxes of an image, N boxes of all images.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.results import Result
from saccade.engine.task import Direction, IndependentParts, LossTerms
from saccade.tasks.detection.batches import BoxDataset, BoxSample
from saccade.tasks.detection.boxes import boxes_to_pixels
from saccade.tasks.detection.config import DetectionConfig
from saccade.tasks.detection.metrics import MAX_DETECTIONS, DetectionMetrics, detection_metrics, detection_resampler
from saccade.tasks.detection.results import Box, Detection


class PredictedBoxes(NamedTuple):
    """The predicted boxes of one image."""

    boxes: Tensor  # [n, 4] left, top, right, bottom in pixels of the original image
    scores: Tensor  # [n] in [0, 1]
    labels: Tensor  # [n] class numbers


class DetectionTask(IndependentParts):
    """Detection: boxes with classes.

    Args:
        labels: K class names, in the order of the logits.
        config: costs and weights of the loss.
        threshold: lowest score of a box in a result; metrics are computed from all boxes.
    """

    name = "detection"
    better: Mapping[str, Direction] = dict.fromkeys(
        ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR", "mask IoU"), "higher"
    )
    class_targets: tuple[str, ...] = ("target_labels",)
    smallest_loss = 0.0

    def __init__(self, labels: Sequence[str], config: DetectionConfig | None = None, *, threshold: float = 0.5):
        self.labels = tuple(labels)
        self.config = config or DetectionConfig()
        self.threshold = threshold

    @abstractmethod
    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """As in :class:`saccade.engine.task.Task`."""

    @abstractmethod
    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """As in :class:`saccade.engine.task.Task`."""

    @abstractmethod
    def postprocess(self, outputs: Any, batch: Batch) -> list[PredictedBoxes]:
        """Raw outputs of a batch -> the boxes of each image, whatever their score."""

    def eval_step(self, model: nn.Module, batch: Batch) -> Any:
        return forward(model, batch)

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Predictions ``boxes [N, 4]``, ``scores [N]``, ``labels [N]`` with ``num_boxes [B]``; targets ``target_boxes
        [M, 4]``, ``target_labels [M]``, ``target_areas [M]``, ``target_crowd [M]`` with ``num_targets [B]``. Boxes are
        corners in pixels of the original images, areas pixels of these."""
        return self.collect_boxes(self.postprocess(outputs, batch), batch)

    def collect_boxes(self, predictions: Sequence[PredictedBoxes], batch: Batch) -> dict[str, Tensor]:
        """:meth:`collect` for the boxes of each image."""
        truth = truth_of(batch)
        is_object = truth["truth_classes"] >= 0
        return {
            "boxes": torch.cat([p.boxes for p in predictions]).float(),
            "scores": torch.cat([p.scores for p in predictions]).float(),
            "labels": torch.cat([p.labels for p in predictions]),
            "num_boxes": torch.tensor([len(p.boxes) for p in predictions]),
            "target_boxes": truth["truth_boxes"][is_object],
            "target_labels": truth["truth_classes"][is_object],
            "target_areas": truth["truth_areas"][is_object],
            "target_crowd": truth["truth_crowd"][is_object],
            "num_targets": is_object.sum(1),
        }

    def measure(self, collected: Collected) -> DetectionMetrics:
        return detection_metrics(collected, self.labels)

    def resampler(self, collected: Collected) -> Resampler:
        return detection_resampler(collected, self.labels)

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        predictions = zip(*(collected.per_input(name, "num_boxes") for name in ("boxes", "scores", "labels")))
        columns = ("target_boxes", "target_labels", "target_crowd")
        targets = zip(*(collected.per_input(name, "num_targets") for name in columns))
        rows = []
        for name, pred, target in zip(collected.names, predictions, targets):
            detection = self.detection(name, PredictedBoxes(*pred))
            truth = [
                {"label": self.labels[n], "box": box, **({"crowd": True} if crowd else {})}
                for box, n, crowd in zip(*(column.tolist() for column in target))
            ]
            rows.append({**detection.to_dict(), "truth": truth})
        return rows

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        """Images ``[C, h, w]`` of any shapes, padded to the largest."""
        none, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        samples = [
            BoxSample(image, none, no_labels, torch.tensor(size), name, index, "")
            for index, (image, size, name) in enumerate(zip(inputs, sizes, names))
        ]
        return BoxDataset.collate(samples)[0]

    def decode(self, outputs: Any, batch: Batch) -> Sequence[Result]:
        """The boxes of each image above the threshold, highest score first."""
        return [self.detection(name, pred) for name, pred in zip(batch.names, self.postprocess(outputs, batch))]

    def detection(self, name: str, pred: PredictedBoxes) -> Detection:
        chosen = self.confident(pred.scores)
        columns = (tensor[chosen].tolist() for tensor in (pred.labels, pred.scores, pred.boxes))
        boxes = tuple(Box(self.labels[label], score, tuple(box)) for label, score, box in zip(*columns))
        best = float(pred.scores.max()) if len(pred.scores) else None
        return Detection(name, boxes, self.labels, best, self.threshold)

    def confident(self, scores: Tensor) -> Tensor:
        """Indices of the scores ``[n]`` from the threshold on, highest first, at most 100."""
        order = scores.argsort(descending=True)
        return order[scores[order] >= self.threshold][:MAX_DETECTIONS]


def targets_of(batch: Batch) -> dict[str, Tensor]:
    """The labels of a batch by name, as :meth:`BoxDataset.collate` makes them."""
    assert isinstance(batch.labels, dict)
    return batch.labels


def crowds_of(batch: Batch) -> Tensor:
    """``[B, c, 4]``, the regions of crowds as fractions of the image; c = 0 for a batch without them."""
    labels = targets_of(batch)
    return labels["crowd_boxes"] if "crowd_boxes" in labels else labels["boxes"][:, :0]


def truth_of(batch: Batch) -> dict[str, Tensor]:
    """The ground truth for evaluation, by name, as :meth:`BoxDataset.collate` makes it; the training boxes for a batch
    without separate ground truth."""
    labels = targets_of(batch)
    if "truth_boxes" in labels:
        return labels
    boxes = boxes_to_pixels(labels["boxes"], labels["sizes"]).double()
    return {
        "truth_classes": labels["classes"],
        "truth_boxes": boxes,
        "truth_areas": (boxes[..., 2:] - boxes[..., :2]).prod(-1),
        "truth_crowd": torch.zeros_like(labels["classes"], dtype=torch.bool),
    }


def forward(model: nn.Module, batch: Batch) -> Any:
    """The raw outputs for a batch; the mask of valid pixels is passed on only where some are padding."""
    valid = targets_of(batch)["valid"]
    return model(batch.inputs, None if bool(valid.all()) else valid)
