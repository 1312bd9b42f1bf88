"""Coordinates of boxes: centre and size as fractions of the image for models, corners in pixels for metrics and
drawing."""

import torch
from torch import Tensor
from torchvision.ops import box_convert


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """``[..., 4]`` centre x, centre y, width, height -> left, top, right, bottom."""
    return box_convert(boxes, "cxcywh", "xyxy")


def boxes_to_pixels(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes ``[B, n, 4]`` (centre x, centre y, width, height as fractions of the image) -> corners in pixels.

    Args:
        boxes: of B images.
        sizes: ``[B, 2]`` (H, W) of each image in pixels.
    """
    extent = torch.stack((sizes[:, 1], sizes[:, 0]), dim=1).repeat(1, 2)[:, None]  # [B, 1, 4] W, H, W, H
    return box_cxcywh_to_xyxy(boxes.float()) * extent


def box_ious(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(IoU, generalised IoU) of boxes ``[..., 4]`` (left, top, right, bottom), pair by pair as their shapes broadcast.

    As torchvision's `box_iou` and `generalized_box_iou`, which compare every box with every other.
    """
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b)]
    inside = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection, hull = inside[..., 0] * inside[..., 1], around[..., 0] * around[..., 1]
    union = areas[0] + areas[1] - intersection
    iou = intersection / union
    return iou, iou - (hull - union) / hull


def valid_sizes(valid: Tensor) -> Tensor:
    """``[B, H, W]``, which pixels of a padded batch are image -> ``[B, 2]`` (height, width) of each image in it."""
    return torch.stack((valid.any(2).sum(1), valid.any(1).sum(1)), dim=1)


def inside_crowds(boxes: Tensor, crowd_boxes: Tensor) -> Tensor:
    """``[B, n]`` boolean, whether more than half of a box is in one crowd, where COCO's evaluation at IoU 0.5 counts it
    neither as correct nor as wrong.

    Args:
        boxes: ``[B, n, 4]`` centre x, centre y, width, height.
        crowd_boxes: ``[B, c, 4]`` likewise; c may be 0.
    """
    a, b = box_cxcywh_to_xyxy(boxes.float())[:, :, None], box_cxcywh_to_xyxy(crowd_boxes.float())[:, None]
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1)  # [B, n, 1]
    return (common > 0.5 * area).any(-1)
