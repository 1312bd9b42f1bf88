"""Detection as it was before DETR: every place a candidate, suppression afterwards.

A place learns an object if it lies near the object's middle and its map's stride fits the object's size. Classes are
learned with the focal loss (Lin et al., arXiv 1708.02002), because nearly every place is background.

B images, P places, K classes, n objects of an image.
"""

from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from saccade.data.samples import Batch
from saccade.tasks.detection import DetectionTask, in_pixels
from saccade.tasks.matching import corners

RADIUS = 1.5  # strides from the middle of an object within which a place learns it
REACH = 3.0  # an object goes to the finest map whose stride times this reaches from its middle to its edges
CANDIDATES, KEPT = 300, 100  # boxes before and after suppression
LEAST_SCORE = 0.01


class Places(Protocol):
    """What a detector of one stage gives."""

    @property
    def logits(self) -> Tensor: ...  # [B, P, K]

    @property
    def boxes(self) -> Tensor: ...  # [B, P, 4] centre x, y, width, height as shares of the image

    @property
    def places(self) -> Tensor: ...  # [P, 2] pixels

    @property
    def strides(self) -> Tensor: ...  # [P]


class ClassicalTask(DetectionTask):
    """Boxes with classes from candidates and suppression; arguments and metrics as of its modern sibling.

    Attributes:
        overlap: IoU from which the less sure of two boxes of a class is suppressed; 1 suppresses nothing.
    """

    overlap = 0.6

    def step(self, outputs: Places, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(batch.labels, dict)
        classes, boxes = batch.labels["classes"], batch.labels["boxes"].float()
        sizes = batch.labels["valid"]
        extent = torch.stack((sizes.any(1).sum(1), sizes.any(2).sum(1)), dim=1).repeat(1, 2)[:, None]  # W, H, W, H
        thing = assign(outputs.places, outputs.strides, corners(boxes) * extent, classes)  # [B, P]
        image, place = (thing >= 0).nonzero(as_tuple=True)
        count = max(len(image), 1)
        wanted = torch.zeros_like(outputs.logits)
        wanted[image, place, classes[image, thing[image, place]]] = 1.0
        focal = sigmoid_focal_loss(outputs.logits.float(), wanted.float(), reduction="sum") / count
        said, true = corners(outputs.boxes[image, place].float()), corners(boxes[image, thing[image, place]])
        giou = generalized_box_iou_loss(said, true, reduction="sum") / count
        overlap = torch.diag(box_iou(said.detach(), true)).sum() / count
        figures = {"class": focal.detach(), "GIoU": giou.detach(), "IoU": overlap}
        return focal + self.weights.giou_weight * giou, {n: v * len(classes) for n, v in figures.items()}

    def keep(self, outputs: Places, batch: Batch) -> tuple[Tensor, Tensor]:
        """Boxes that suppression leaves, scores and classes ``[B, 100, 6]``, NaN where there are fewer; the truth."""
        boxes = in_pixels(outputs.boxes, batch)
        found = outputs.logits.new_full((len(boxes), KEPT, 6), float("nan"), dtype=torch.float32)
        for row, (logits, candidates) in enumerate(zip(outputs.logits.float(), boxes)):
            scores, names = logits.sigmoid().max(-1)
            best = scores.topk(min(CANDIDATES, len(scores))).indices
            best = best[scores[best] > LEAST_SCORE]
            left = best[batched_nms(candidates[best], scores[best], names[best], self.overlap)][:KEPT]
            found[row, : len(left)] = torch.cat((candidates[left], scores[left, None], names[left, None]), dim=1)
        return found.cpu(), self.true_boxes(batch)


def assign(places: Tensor, strides: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """Which object each place learns, ``[B, P]``, -1 for none; of several the smallest.

    Args:
        places: ``[P, 2]`` x, y in pixels.
        strides: ``[P]`` of each place's map.
        boxes: ``[B, n, 4]`` corners in pixels.
        classes: ``[B, n]``, negative where a row is no object.
    """
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2  # [B, n, 2]
    reach = (boxes[..., 2:] - boxes[..., :2]).amax(-1) / 2  # [B, n] pixels from the middle to the farthest edge
    levels = strides.unique()  # ascending
    level = (reach[..., None] > REACH * levels[:-1]).sum(-1)  # [B, n] the finest map that reaches, else the coarsest
    own = strides == levels[level][..., None]  # [B, n, P]
    near = (places - middle[:, :, None]).abs().amax(-1) < RADIUS * strides  # [B, n, P]
    left_top = (places >= boxes[:, :, None, :2]).all(-1)
    right_bottom = (places <= boxes[:, :, None, 2:]).all(-1)
    fits = own & near & left_top & right_bottom & (classes >= 0)[..., None]
    area = torch.where(fits, reach[..., None].square(), torch.inf)  # [B, n, P]
    smallest, thing = area.min(dim=1)
    return torch.where(smallest.isfinite(), thing, -1)
