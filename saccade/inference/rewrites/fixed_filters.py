"""Standardised filters (BiT, the stems of the hybrids) computed once instead of in each call.

Recorded attention and tokens are the same.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.nn.convolution import StdConv2d, pad_same


class FixedConv2d(nn.Conv2d):
    """A convolution with the filters that a :class:`StdConv2d` uses."""

    def __init__(self, conv: StdConv2d):
        (height, width), (down, across), margin = conv.kernel_size, conv.stride, conv.padding[0]
        assert isinstance(margin, int)
        super().__init__(conv.in_channels, conv.out_channels, (height, width), (down, across), margin, bias=False)
        self.same = conv.same
        variance, mean = torch.var_mean(conv.weight.detach(), dim=(1, 2, 3), keepdim=True, correction=0)
        self.weight = nn.Parameter((conv.weight.detach() - mean) * torch.rsqrt(variance + conv.eps))

    def forward(self, input: Tensor) -> Tensor:
        if self.same:
            input = pad_same(input, self.kernel_size, self.stride)
        return F.conv2d(input, self.weight, None, self.stride, self.padding)


def fix_filters(model: nn.Module) -> nn.Module:
    """Change every standardised convolution of a model in place, and return the model."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, StdConv2d):
                setattr(parent, name, FixedConv2d(child))
    return model
