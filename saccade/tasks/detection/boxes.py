"""Coordinates of boxes: centre and size as fractions of the image, where models predict them; corners in pixels, where
they are measured and drawn."""

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


def valid_sizes(valid: Tensor) -> Tensor:
    """``[B, H, W]``, which pixels of a padded batch are image -> ``[B, 2]`` (height, width) of each image in it."""
    return torch.stack((valid.any(2).sum(1), valid.any(1).sum(1)), dim=1)
