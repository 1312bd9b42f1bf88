"""FCOS: a dense one-stage detector without anchors (Tian et al., arXiv 1904.01355), trained and decoded.

Every location of the feature maps predicts a class and the distances to the four edges of its box. Several locations
predict the same object, so non-maximum suppression keeps the box with the highest score among overlapping ones.

Differences from the paper: only locations near the centre of an object are positive (centre sampling, as in the
authors' later code), instead of a centre-ness branch. An object belongs to the finest map whose stride fits its size,
in place of five ranges of distances. Boxes are learned by their generalised IoU (Rezatofighi et al., arXiv 1902.09630).

B images, P locations of all maps, K classes, n objects in the image that has most.
"""

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from saccade.data.samples import Batch
from saccade.engine.task import LossTerm, LossTerms
from saccade.tasks.detection.boxes import box_cxcywh_to_xyxy, boxes_to_pixels, valid_sizes
from saccade.tasks.detection.config import DetectionConfig
from saccade.tasks.detection.metrics import MAX_DETECTIONS
from saccade.tasks.detection.task import DetectionTask, PredictedBoxes, crowds_of, forward, targets_of

CENTER_RADIUS = 1.5  # strides from the middle of an object within which locations learn it
MAX_EXTENT = 3.0  # an object goes to the finest map whose stride times this reaches from its middle to its edges
TOP_CANDIDATES = 300  # boxes with the highest scores, before non-maximum suppression


class DensePrediction(Protocol):
    """Output of a dense detector."""

    @property
    def logits(self) -> Tensor: ...  # [B, P, K]

    @property
    def boxes(self) -> Tensor: ...  # [B, P, 4] centre x, centre y, width, height as fractions of the image

    @property
    def locations(self) -> Tensor: ...  # [P, 2] x, y in pixels of the input

    @property
    def strides(self) -> Tensor: ...  # [P] of each location's map


class DenseDetector(Protocol):
    """A model whose locations can be computed without running it."""

    def locations(self, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """``[P, 2]`` and ``[P]``: the locations and their strides for inputs of (H, W) pixels."""
        ...


class FcosTask(DetectionTask):
    """Boxes with classes from dense predictions and non-maximum suppression.

    Args:
        labels, config, threshold: as for :class:`DetectionTask`.
        nms_iou_threshold: of two boxes of a class with a higher IoU, the one with the lower score is suppressed; 1
            suppresses nothing.
        score_threshold: boxes with a lower score are dropped before non-maximum suppression.
    """

    def __init__(
        self,
        labels: Sequence[str],
        config: DetectionConfig | None = None,
        *,
        threshold: float = 0.5,
        nms_iou_threshold: float = 0.6,
        score_threshold: float = 0.01,
    ):
        super().__init__(labels, config, threshold=threshold)
        self.nms_iou_threshold, self.score_threshold = nms_iou_threshold, score_threshold

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Number of positive locations, those with an assigned object."""
        height, width = batch.inputs.shape[-2:]
        locations, strides = cast(DenseDetector, model).locations((height, width))
        assigned = self.assigned(batch, locations.to(batch.inputs.device), strides.to(batch.inputs.device))
        return {"positives": (assigned >= 0).sum()}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """The focal loss (Lin et al., arXiv 1708.02002) of the classes of all locations, since nearly all of them are
        background, and one minus the generalised IoU of the positive ones; in training also their mean IoU.

        A location in a crowd without an assigned object has no loss, since it may not be background."""
        outputs: DensePrediction = forward(model, batch)
        targets = targets_of(batch)
        assigned = self.assigned(batch, outputs.locations, outputs.strides)
        image, location = (assigned >= 0).nonzero(as_tuple=True)
        target = assigned[image, location]
        one_hot = torch.zeros_like(outputs.logits, dtype=torch.float32)
        one_hot[image, location, targets["classes"][image, target]] = 1.0
        logits = outputs.logits.float()
        if crowds_of(batch).shape[1]:
            learns = (assigned >= 0) | ~self.in_crowds(batch, outputs.locations)
            logits, one_hot = logits[learns], one_hot[learns]
        focal = sigmoid_focal_loss(logits, one_hot, reduction="sum")
        pred = box_cxcywh_to_xyxy(outputs.boxes[image, location].float())
        truth = box_cxcywh_to_xyxy(targets["boxes"][image, target].float())
        giou = generalized_box_iou_loss(pred, truth, reduction="sum")
        iou = torch.diag(box_iou(pred.detach(), truth)).sum()
        loss = {
            "loss_focal": LossTerm(focal, "positives"),
            "loss_giou": LossTerm(giou, "positives", self.config.loss_giou),
        }
        metrics = {name: term._replace(total=term.total.detach(), weight=1.0) for name, term in loss.items()}
        return LossTerms(loss, {**metrics, "IoU": LossTerm(iou, "positives")})

    def in_crowds(self, batch: Batch, locations: Tensor) -> Tensor:
        """``[B, P]`` boolean, whether a location is in a crowd."""
        crowds = boxes_to_pixels(crowds_of(batch), valid_sizes(targets_of(batch)["valid"]))[:, None]  # [B, 1, c, 4]
        points = locations[:, None]  # [P, 1, 2]
        return ((points > crowds[..., :2]) & (points < crowds[..., 2:])).all(-1).any(-1)

    def assigned(self, batch: Batch, locations: Tensor, strides: Tensor) -> Tensor:
        """The object assigned to each location of each image, ``[B, P]``; -1 for background."""
        targets = targets_of(batch)
        boxes = boxes_to_pixels(targets["boxes"], valid_sizes(targets["valid"]))
        return assign_targets(locations, strides, boxes, targets["classes"])

    def postprocess(self, outputs: DensePrediction, batch: Batch) -> list[PredictedBoxes]:
        """The boxes after non-maximum suppression, at most 100 per image."""
        boxes = boxes_to_pixels(outputs.boxes, targets_of(batch)["sizes"])
        predictions = []
        for logits, candidates in zip(outputs.logits.float(), boxes):
            scores, labels = logits.sigmoid().max(-1)
            best = scores.topk(min(TOP_CANDIDATES, len(scores))).indices
            predictions.append(self.suppressed(PredictedBoxes(candidates[best], scores[best], labels[best])))
        return predictions

    def suppressed(self, candidates: PredictedBoxes) -> PredictedBoxes:
        """The candidates of one image that remain after non-maximum suppression, highest score first."""
        boxes, scores, labels = (rows[candidates.scores > self.score_threshold] for rows in candidates)
        left = batched_nms(boxes, scores, labels, self.nms_iou_threshold)[:MAX_DETECTIONS]
        return PredictedBoxes(boxes[left], scores[left], labels[left])


def assign_targets(locations: Tensor, strides: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """The object assigned to each location, ``[B, P]``, -1 for background; of several objects the smallest.

    Args:
        locations: ``[P, 2]`` x, y in pixels.
        strides: ``[P]`` of each location's map.
        boxes: ``[B, n, 4]`` corners in pixels.
        classes: ``[B, n]``; negative rows are padding.
    """
    center = (boxes[..., :2] + boxes[..., 2:]) / 2  # [B, n, 2]
    extent = (boxes[..., 2:] - boxes[..., :2]).amax(-1) / 2  # [B, n] pixels from the middle to the farthest edge
    levels = strides.unique()  # ascending
    level = (extent[..., None] > MAX_EXTENT * levels[:-1]).sum(-1)  # [B, n] the finest map that fits, else the coarsest
    is_level = strides == levels[level][..., None]  # [B, n, P]
    is_near = (locations - center[:, :, None]).abs().amax(-1) < CENTER_RADIUS * strides  # [B, n, P]
    is_inside = (locations >= boxes[:, :, None, :2]).all(-1) & (locations <= boxes[:, :, None, 2:]).all(-1)
    positive = is_level & is_near & is_inside & (classes >= 0)[..., None]
    size = torch.where(positive, extent[..., None].square(), torch.inf)  # [B, n, P]
    smallest, target = size.min(dim=1)
    return torch.where(smallest.isfinite(), target, -1)
