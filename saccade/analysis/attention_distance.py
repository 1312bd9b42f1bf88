"""How far a head looks: the mean distance between a query's patch and what it attends to.

Figure 7 of Dosovitskiy et al., arXiv 2010.11929: the receptive field of attention. In pixels of the model's input.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saccade.nn.tokens import TokenLayout

SMALLEST_FRACTION = 1e-6  # of a query's attention; what is below is rounding of the softmax


@dataclass(frozen=True)
class AttentionDistance:
    """``pixels [layers, heads]``, NaN for a head that attends to prefix tokens only, and the paths of the layers."""

    layers: tuple[str, ...]
    pixels: np.ndarray


def attention_distance(attention: Mapping[str, Tensor], layout: TokenLayout) -> AttentionDistance:
    """Mean over images and queries of the expected distance.

    Args:
        attention: module path -> ``[B, H, N, N]``, as a recording gives it. Prefix tokens are left out, and what
            remains of a row is taken as the whole. Where nothing remains the distance is not defined: such a query
            does not count, and a head without any other query has NaN.
        layout: how the tokens lie over the image.
    """
    centres = layout.centres()
    distance = torch.cdist(centres, centres)  # [h*w, h*w]
    rows = []
    for weights in attention.values():
        patches = weights[..., layout.num_prefix :, layout.num_prefix :].float()
        fraction = patches.sum(dim=-1)  # [B, H, h*w], of the attention that goes to patches
        expected = (patches * distance.to(patches)).sum(dim=-1) / fraction
        expected = torch.where(fraction > SMALLEST_FRACTION, expected, torch.nan)
        rows.append(expected.nanmean(dim=(0, 2)).cpu().numpy())
    return AttentionDistance(tuple(attention), np.stack(rows))
