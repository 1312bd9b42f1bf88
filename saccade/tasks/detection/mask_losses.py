"""Losses of instance masks: focal loss and Dice loss (Carion et al., arXiv 2005.12872, section 4.4).

M pairs of a query and an object, h x w of the mask head, H x W pixels of the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss


def mask_losses(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Mask logits ``[M, h, w]`` and target masks ``[M, H, W]`` -> sums over the pairs, two scalars.

    Returns:
        `loss_mask`: focal loss (Lin et al., arXiv 1708.02002), the mean over a pair's pixels; `loss_dice`: one minus
        the Dice coefficient (Milletari et al., arXiv 1606.04797).
    """
    if not len(logits):
        zero = logits.sum() * 0.0
        return {"loss_mask": zero, "loss_dice": zero}
    scores, truth = upsampled(logits, target).flatten(1), target.flatten(1).float()
    probability = scores.sigmoid()
    dice = (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
    focal = sigmoid_focal_loss(scores, truth, alpha=0.25, gamma=2.0)
    return {"loss_mask": focal.mean(1).sum(), "loss_dice": (1 - dice).sum()}


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of each pair's masks, ``[M]``; arguments as for :func:`mask_losses`."""
    if not len(logits):
        return logits.new_zeros(0)
    pred, truth = upsampled(logits, target) > 0, target.bool()
    return (pred & truth).sum((1, 2)) / (pred | truth).sum((1, 2)).clamp(min=1)


def upsampled(logits: Tensor, like: Tensor) -> Tensor:
    """Mask logits ``[M, h, w]`` at the height and width of another tensor, ``[M, H, W]``."""
    return F.interpolate(logits[:, None].float(), size=like.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
