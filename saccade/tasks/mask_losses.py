"""How masks of single things are learned: focal loss and overlap (Carion et al., arXiv 2005.12872, section 4.4).

M pairs of a query and an object, h x w of the mask head, H x W pixels of the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss


def mask_losses(said: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Mask logits ``[M, h, w]`` beside the truth ``[M, H, W]`` -> focal loss a pixel, and one minus Dice's overlap
    (Milletari et al., arXiv 1606.04797), the mean over pairs."""
    if not len(said):
        nothing = said.sum() * 0.0
        return {"mask": nothing, "Dice": nothing}
    logits, wanted = enlarged(said, true), true.flatten(1).float()
    probability = logits.flatten(1).sigmoid()
    overlap = (2 * (probability * wanted).sum(1) + 1) / (probability.sum(1) + wanted.sum(1) + 1)
    focal = sigmoid_focal_loss(logits.flatten(1), wanted, alpha=0.25, gamma=2.0)
    return {"mask": focal.mean(), "Dice": 1 - overlap.mean()}


@torch.no_grad()
def mask_overlaps(said: Tensor, true: Tensor) -> Tensor:
    """Intersection over union of each pair's masks, ``[M]``."""
    if not len(said):
        return said.new_zeros(0)
    found, wanted = enlarged(said, true) > 0, true.bool()
    return (found & wanted).sum((1, 2)) / (found | wanted).sum((1, 2)).clamp(min=1)


def enlarged(said: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(said[:, None].float(), size=like.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
