"""Which query answers for which object: the assignment of the smallest cost (Carion et al., arXiv 2005.12872).

B images, Q queries, n objects of an image.
"""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou


class Matches(NamedTuple):
    """Pairs over a whole batch, each ``[M]``: image, query, object."""

    image: Tensor
    query: Tensor
    thing: Tensor


@torch.no_grad()
def match(
    logits: Tensor, boxes: Tensor, classes: Tensor, targets: Tensor, costs: tuple[float, float, float], repeats: int = 1
) -> Matches:
    """Pair every object with one query.

    Args:
        logits: ``[B, Q, K + 1]``.
        boxes: ``[B, Q, 4]`` centre x, y, width, height.
        classes: ``[B, n]``, negative where a row is no object.
        targets: ``[B, n, 4]``.
        costs: of a class's missing probability, of the L1 distance, of the generalised IoU.
        repeats: queries for each object; 1 in the original.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    probabilities = logits.float().softmax(-1)
    for row in range(len(logits)):
        things = (classes[row] >= 0).nonzero()[:, 0]
        if not len(things):
            continue
        wanted = targets[row, things].float()
        cost = -costs[0] * probabilities[row][:, classes[row, things]]
        cost += costs[1] * torch.cdist(boxes[row].float(), wanted, p=1)
        cost -= costs[2] * generalized_box_iou(corners(boxes[row].float()), corners(wanted))
        table = cost.cpu().repeat(1, min(repeats, max(len(cost) // len(things), 1)))
        queries, columns = linear_sum_assignment(table.nan_to_num(1e6).numpy())
        query = torch.as_tensor(queries, device=logits.device)
        thing = things[torch.as_tensor(columns, device=logits.device) % len(things)]
        found.append((torch.full_like(query, row), query, thing))
    if not found:
        empty = torch.zeros(0, dtype=torch.long, device=logits.device)
        return Matches(empty, empty, empty)
    return Matches(*(torch.cat(parts) for parts in zip(*found)))


def corners(boxes: Tensor) -> Tensor:
    """``[..., 4]`` centre x, y, width, height -> left, top, right, bottom."""
    return box_convert(boxes, "cxcywh", "xyxy")
