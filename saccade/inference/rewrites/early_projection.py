"""DPT's 1 x 1 convolutions before the doubling instead of behind it: a quarter of the places.

Bilinear doubling mixes places with weights that sum to 1, the convolution mixes channels: they commute.
A recording sees the same attention and the same tokens.
"""

from torch import Tensor, nn

from saccade.models.dpt_decoder import Fusion, doubled


class EarlyFusion(Fusion):
    """A :class:`~saccade.models.dpt_decoder.Fusion` whose last two steps are exchanged."""

    def __init__(self, fusion: Fusion):
        nn.Module.__init__(self)
        self.added, self.fused, self.out = fusion.added, fusion.fused, fusion.out

    def enlarged(self, x: Tensor) -> Tensor:
        return doubled(self.out(x))


def project_early(model: nn.Module) -> nn.Module:
    """Change every fusion of a model in place, and return the model."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is Fusion:
                setattr(parent, name, EarlyFusion(child))
    return model
