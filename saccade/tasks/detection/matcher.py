"""Bipartite matching of predictions and objects (Carion et al., arXiv 2005.12872, section 3.1).

B images, Q queries, K classes, n objects in the image that has most.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from saccade.tasks.detection.boxes import box_cxcywh_to_xyxy, box_ious


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
        costs = self.costs(logits.float(), boxes.float(), target_classes, target_boxes.float()).cpu().numpy()
        is_object = (target_classes >= 0).cpu().numpy()
        parts = [np.zeros((3, 0), np.int64)]
        for image, (cost, real) in enumerate(zip(costs, is_object)):
            objects = np.flatnonzero(real)
            if len(objects):
                each = min(repeats, max(len(cost) // len(objects), 1))
                query, column = linear_sum_assignment(np.tile(cost[:, objects], (1, each)))
                parts.append(np.stack((np.full_like(query, image), query, objects[column % len(objects)])))
        return Matches(*torch.from_numpy(np.concatenate(parts, axis=1)).to(logits.device))

    def costs(self, logits: Tensor, boxes: Tensor, target_classes: Tensor, target_boxes: Tensor) -> Tensor:
        """The cost of every pair, ``[B, Q, n]``; columns of padding have no meaning."""
        classes = target_classes.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1)  # [B, Q, n]
        cost = -self.cost_class * logits.softmax(-1).gather(2, classes)
        cost += self.cost_bbox * torch.cdist(boxes, target_boxes, p=1)
        pred, target = box_cxcywh_to_xyxy(boxes)[:, :, None], box_cxcywh_to_xyxy(target_boxes)[:, None]
        cost -= self.cost_giou * box_ious(pred, target)[1]
        return cost.nan_to_num(1e6)


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
