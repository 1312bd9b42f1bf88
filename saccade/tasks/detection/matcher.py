"""Bipartite matching of predictions and objects (Carion et al., arXiv 2005.12872, section 3.1).

B images, Q queries, K classes, n objects in the image that has most.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou

from saccade.tasks.detection.boxes import box_cxcywh_to_xyxy


class Matches(NamedTuple):
    """M matched pairs of a batch as three index tensors ``[M]``."""

    image: Tensor
    query: Tensor
    target: Tensor


@dataclass(frozen=True)
class HungarianMatcher:
    """Assigns each object of an image to one query so that the sum of the costs is the smallest.

    The cost of a pair is ``- cost_class * p(class) + cost_bbox * L1 - cost_giou * GIoU``; the optimal assignment is
    computed by the Hungarian algorithm.

    Attributes:
        cost_class: weight of the predicted probability of the object's class.
        cost_bbox: weight of the L1 distance between the boxes, as fractions of the image.
        cost_giou: weight of their generalised IoU.
    """

    cost_class: float = 1.0
    cost_bbox: float = 5.0
    cost_giou: float = 2.0

    @torch.no_grad()
    def __call__(
        self, logits: Tensor, boxes: Tensor, target_classes: Tensor, target_boxes: Tensor, repeats: int = 1
    ) -> Matches:
        """Match a batch.

        Args:
            logits: ``[B, Q, K + 1]``.
            boxes: ``[B, Q, 4]`` centre x, centre y, width, height.
            target_classes: ``[B, n]``; negative rows are padding.
            target_boxes: ``[B, n, 4]``.
            repeats: queries for each object, fewer where there are not enough queries. 1 in DETR; more in auxiliary
                layers give the network more positive examples (Jia et al., arXiv 2207.13080).
        """
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        probabilities = logits.float().softmax(-1)
        for image in range(len(logits)):
            objects = (target_classes[image] >= 0).nonzero()[:, 0]
            if not len(objects):
                continue
            pred, target = boxes[image].float(), target_boxes[image, objects].float()
            cost = -self.cost_class * probabilities[image][:, target_classes[image, objects]]
            cost += self.cost_bbox * torch.cdist(pred, target, p=1)
            cost -= self.cost_giou * generalized_box_iou(box_cxcywh_to_xyxy(pred), box_cxcywh_to_xyxy(target))
            table = cost.cpu().repeat(1, min(repeats, max(len(cost) // len(objects), 1)))
            rows, columns = linear_sum_assignment(table.nan_to_num(1e6).numpy())
            query = torch.as_tensor(rows, device=logits.device)
            chosen = objects[torch.as_tensor(columns, device=logits.device) % len(objects)]
            parts.append((torch.full_like(query, image), query, chosen))
        if not parts:
            empty = torch.zeros(0, dtype=torch.long, device=logits.device)
            return Matches(empty, empty, empty)
        return Matches(*(torch.cat(tensors) for tensors in zip(*parts)))


def num_matches(target_classes: Tensor, num_queries: int, repeats: int = 1) -> Tensor:
    """How many pairs :class:`HungarianMatcher` finds in a batch, a scalar: known from the targets alone.

    Args:
        target_classes: ``[B, n]``; negative rows are padding.
        num_queries: Q.
        repeats: as for the matcher.
    """
    objects = (target_classes >= 0).sum(1)
    each = (num_queries // objects.clamp(min=1)).clamp(min=1, max=repeats)
    return (objects * each).clamp(max=num_queries).sum()
