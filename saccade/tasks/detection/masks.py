"""Masks of a mask head at the size of an image.

Q queries, h x w of the mask head.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def masks_at_size(masks: Tensor, input_size: Sequence[int], valid_size: Sequence[int], size: Sequence[int]) -> Tensor:
    """Mask logits ``[Q, h, w]`` of one image, interpolated bilinearly: -> ``[Q, H, W]``; a pixel is in a mask where its
    logit is above 0.

    Args:
        masks: as the model predicts them for its whole input, the padding included.
        input_size: (height, width) of the input.
        valid_size: (height, width) of the image in it.
        size: (H, W) of the result, as a rule of the original image.
    """
    if tuple(valid_size) != tuple(input_size):  # cut the padding off at a whole number of pixels
        masks = _resized(masks, input_size)[:, : valid_size[0], : valid_size[1]]
    return _resized(masks, size)


def _resized(masks: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(masks[None].float(), size=tuple(size), mode="bilinear", align_corners=False)[0]
