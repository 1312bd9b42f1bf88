"""What is where: a set of boxes with classes (Carion et al., arXiv 2005.12872).

Each object is paired with the query that fits it best; that query is to say its class and its box, all others "no
object". So nothing has to be suppressed afterwards.

B images, Q queries, K classes, n objects of an image.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, generalized_box_iou

from saccade.data.samples import Batch
from saccade.tasks.coco import coco_metrics
from saccade.tasks.mask_losses import mask_losses, mask_overlaps
from saccade.tasks.matching import Matches, corners, match
from saccade.tasks.predictions import Detection, DetectionMetrics, FoundBox
from saccade.tasks.weights import DetectionWeights


class Found(Protocol):
    """What a detector gives."""

    @property
    def logits(self) -> Tensor: ...  # [B, Q, K + 1]

    @property
    def boxes(self) -> Tensor: ...  # [B, Q, 4] centre x, y, width, height as shares of the image

    @property
    def aux(self) -> Sequence["Found"]: ...  # the same after earlier blocks

    @property
    def masks(self) -> Tensor | None: ...  # [B, Q, h, w] logits, of a detector that has a mask head


class DetectionTask:
    """Boxes with classes.

    Args:
        labels: K class names, in the order of the logits; "no object" comes last and has no name.
        weights: of the loss and of the pairing.
        threshold: score from which a box is told to people; metrics count all.
    """

    name = "detection"
    smallest_loss = 0.0

    def __init__(self, labels: Sequence[str], weights: DetectionWeights | None = None, *, threshold: float = 0.5):
        self.labels = tuple(labels)
        self.weights = weights or DetectionWeights()
        self.threshold = threshold

    def run(self, model: nn.Module, batch: Batch) -> Found:
        assert isinstance(batch.labels, dict)
        valid = batch.labels["valid"]
        return model(batch.inputs, None if bool(valid.all()) else valid)

    def step(self, outputs: Found, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(batch.labels, dict)
        w, classes, boxes = self.weights, batch.labels["classes"], batch.labels["boxes"]
        total = torch.zeros((), device=classes.device)
        parts: dict[str, Tensor] = {}
        layers = [*(outputs.aux if w.aux else ()), outputs]
        for depth, found in enumerate(layers):
            last = depth == len(layers) - 1
            costs = (w.class_cost, w.box_cost, w.giou_cost)
            pairs = match(found.logits, found.boxes, classes, boxes, costs, 1 if last else w.aux_repeats)
            parts = self.parts(found, classes, boxes, pairs)
            total = total + w.class_weight * parts["class"] + w.box_weight * parts["L1"] + w.giou_weight * parts["GIoU"]
            if last:
                if found.masks is not None and "masks" in batch.labels:
                    said, true = paired_masks(found.masks, batch.labels["masks"], pairs)
                    masks = mask_losses(said, true)
                    total = total + w.mask_weight * masks["mask"] + w.dice_weight * masks["Dice"]
                    parts |= masks | {"mask IoU": mask_overlaps(said, true).sum() / max(len(said), 1)}
                parts |= self.shown(found, classes, boxes, pairs)
        return total, {name: value.detach() * len(classes) for name, value in parts.items()}

    def parts(self, found: Found, classes: Tensor, boxes: Tensor, pairs: Matches) -> dict[str, Tensor]:
        """The three parts of the loss after one block, unweighted."""
        logits = found.logits.float()
        wanted = torch.full(logits.shape[:2], logits.shape[-1] - 1, device=logits.device)
        wanted[pairs.image, pairs.query] = classes[pairs.image, pairs.thing]
        weight = torch.ones(logits.shape[-1], device=logits.device)
        weight[-1] = self.weights.no_object
        said, true = found.boxes[pairs.image, pairs.query].float(), boxes[pairs.image, pairs.thing]
        count = max(len(pairs.image), 1)
        giou = 1 - torch.diag(generalized_box_iou(corners(said), corners(true)))
        return {
            "class": F.cross_entropy(logits.transpose(1, 2), wanted, weight),
            "L1": F.l1_loss(said, true, reduction="sum") / count,
            "GIoU": giou.sum() / count,
        }

    def shown(self, found: Found, classes: Tensor, boxes: Tensor, pairs: Matches) -> dict[str, Tensor]:
        """For people: how well paired boxes overlap, and how many objects some confident query has found."""
        said, true = found.boxes[pairs.image, pairs.query].float(), boxes[pairs.image, pairs.thing]
        overlap = torch.diag(box_iou(corners(said), corners(true)))
        right = found.logits[pairs.image, pairs.query].argmax(-1) == classes[pairs.image, pairs.thing]
        count = max(len(overlap), 1)
        return {"IoU": overlap.sum() / count, "recall": ((overlap > 0.5) & right).sum() / count}

    def keep(self, outputs: Found, batch: Batch) -> tuple[Tensor, Tensor]:
        """Boxes in pixels of the image as it lies, scores and classes ``[B, Q, 6]``; the truth ``[B, n, 5]``.

        Where masks are learned there is a seventh number: the overlap of a query's mask with that of its object.
        """
        scores, names = outputs.logits.float().softmax(-1)[..., :-1].max(-1)
        found = torch.cat((in_pixels(outputs.boxes, batch), scores[..., None], names[..., None]), dim=-1)
        assert isinstance(batch.labels, dict)
        if outputs.masks is not None and "masks" in batch.labels:
            costs = (self.weights.class_cost, self.weights.box_cost, self.weights.giou_cost)
            pairs = match(outputs.logits, outputs.boxes, batch.labels["classes"], batch.labels["boxes"], costs)
            overlaps = torch.full_like(scores, float("nan"))
            overlaps[pairs.image, pairs.query] = mask_overlaps(
                *paired_masks(outputs.masks, batch.labels["masks"], pairs)
            )
            found = torch.cat((found, overlaps[..., None]), dim=-1)
        return found.float().cpu(), self.true_boxes(batch)

    def true_boxes(self, batch: Batch) -> Tensor:
        """Corners in pixels of the image as it lies, and class: ``[B, n, 5]``, NaN where a row is no object."""
        assert isinstance(batch.labels, dict)
        classes = batch.labels["classes"]
        truth = torch.cat((in_pixels(batch.labels["boxes"], batch), classes[..., None]), dim=-1)
        return truth.masked_fill(classes[..., None] < 0, float("nan")).cpu()

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 100) -> list[Detection]:
        """Kept outputs ``[B, Q, 6]`` -> the boxes above the threshold, the surest first."""
        found = []
        for name, rows in zip(names, outputs):
            chosen = rows[rows[:, 4] >= self.threshold]
            chosen = chosen[chosen[:, 4].argsort(descending=True)][:top]
            boxes = [
                FoundBox(
                    self.labels[int(row[5])],
                    row[4].item(),
                    (row[0].item(), row[1].item(), row[2].item(), row[3].item()),
                )
                for row in chosen
            ]
            found.append(Detection(name, tuple(boxes)))
        return found

    def truth(self, target: Tensor) -> list[dict[str, Any]]:
        """The boxes of one image as plain values."""
        rows = target[~target[:, 4].isnan()].tolist()
        return [{"label": self.labels[int(row[4])], "box": row[:4]} for row in rows]

    def measure(self, outputs: Tensor, targets: Tensor) -> DetectionMetrics:
        metrics = coco_metrics(outputs[..., :6], targets, self.labels)
        if outputs.shape[-1] == 6:
            return metrics
        overlaps = outputs[..., 6]
        return replace(metrics, mask_iou=overlaps.nanmean().item() if not overlaps.isnan().all() else 0.0)


def paired_masks(said: Tensor, true: Tensor, pairs: Matches) -> tuple[Tensor, Tensor]:
    """Masks of queries ``[B, Q, h, w]`` and of objects ``[B, n, H, W]`` -> those of M pairs."""
    return said[pairs.image, pairs.query], true[pairs.image, pairs.thing]


def in_pixels(boxes: Tensor, batch: Batch) -> Tensor:
    """Boxes as shares ``[B, Q, 4]`` -> corners in pixels of the images as they lie."""
    assert isinstance(batch.labels, dict)
    sizes = batch.labels["sizes"]
    extent = torch.stack((sizes[:, 1], sizes[:, 0]), dim=1).repeat(1, 2)[:, None]  # [B, 1, 4] W, H, W, H
    return corners(boxes.float()) * extent
