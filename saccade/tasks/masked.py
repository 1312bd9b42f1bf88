"""Masked image modelling: hide patches, ask what they show. No labels.

    pixels     mean squared error of the hidden patches' pixels            (He et al., arXiv 2111.06377)
    colours    cross-entropy of the hidden patches' mean colour, in 3 bits a channel
               (Dosovitskiy et al., arXiv 2010.11929, appendix B.1.2)

B batch, N patches, p x q pixels of a patch, C channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.nn.patches import Size, patchify
from saccade.tasks.predictions import MaskedMetrics
from saccade.tasks.task import Metrics

LEVELS = 8  # of each channel of a colour


class Painted(Protocol):
    """What a model says of hidden patches."""

    @property
    def patches(self) -> Tensor: ...  # [B, N, p*q*C] pixels, or [B, N, K] logits

    @property
    def hidden(self) -> Tensor: ...  # [B, N] boolean, the patches that are asked for


class MaskedTask(ABC):
    """What hidden patches and hidden words have in common: the mean over them is the loss."""

    name = "pretraining"
    labels: tuple[str, ...] = ()
    smallest_loss = 0.0

    def run(self, model: nn.Module, batch: Batch) -> Any:
        return model(batch.inputs)

    @abstractmethod
    def hidden(self, outputs: Any, batch: Batch) -> Tensor:
        """Which places are asked for: ``[B, N]`` boolean."""

    @abstractmethod
    def errors(self, outputs: Any, batch: Batch) -> Tensor:
        """How wrong each place is, hidden or not: ``[B, N]``."""

    def step(self, outputs: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(outputs, batch), {}

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Mean over the hidden places; 0 where chance has hidden none."""
        errors = self.errors(outputs, batch)[self.hidden(outputs, batch)]
        return errors.mean() if len(errors) else errors.sum()

    def keep(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum of each image's errors, and the number of its hidden places."""
        hidden = self.hidden(outputs, batch)
        summed = (self.errors(outputs, batch) * hidden).sum(dim=1)
        return summed.float().cpu(), hidden.sum(dim=1).cpu()

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Any]:
        """Nothing: it answers no question about an image until it is fine-tuned."""
        return []

    def truth(self, target: Tensor) -> Any:
        return None

    @abstractmethod
    def measure(self, outputs: Tensor, targets: Tensor) -> Metrics: ...


class MaskedPatches(MaskedTask):
    """Of images; the model itself draws what it hides.

    Args:
        patch_size: (p, q) in pixels.
    """

    def __init__(self, patch_size: Size):
        self.patch_size = patch_size

    def hidden(self, outputs: Painted, batch: Batch) -> Tensor:
        return outputs.hidden

    def measure(self, outputs: Tensor, targets: Tensor) -> MaskedMetrics:
        return MaskedMetrics((outputs.double().sum() / targets.sum()).item(), len(outputs))


class MaskedPixels(MaskedPatches):
    """Paint the pixels again.

    Args:
        patch_size: (p, q) in pixels.
        norm_pixels: whether the pixels of each patch are brought to mean 0 and variance 1 first: what is asked is then
            the pattern in a patch, not its brightness.
    """

    def __init__(self, patch_size: Size, norm_pixels: bool = True):
        super().__init__(patch_size)
        self.norm_pixels = norm_pixels

    def errors(self, outputs: Painted, batch: Batch) -> Tensor:
        """Mean squared error of each patch."""
        target = patchify(batch.inputs, self.patch_size)
        if self.norm_pixels:
            variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
            target = (target - mean) / (variance + 1e-6).sqrt()
        return (outputs.patches.float() - target).square().mean(dim=-1)


class MaskedColours(MaskedPatches):
    """Name the mean colour of each patch, one of 512 (of 8 in grey images).

    Args:
        patch_size: (p, q) in pixels.
        preprocessing: how pixels were normalised, to find their colour again.
    """

    def __init__(self, patch_size: Size, preprocessing: Preprocessing):
        super().__init__(patch_size)
        self.preprocessing = preprocessing

    def errors(self, outputs: Painted, batch: Batch) -> Tensor:
        """Cross-entropy of each patch, in nats."""
        return F.cross_entropy(outputs.patches.float().transpose(1, 2), self.colours(batch.inputs), reduction="none")

    def colours(self, images: Tensor) -> Tensor:
        """The number of each patch's mean colour: ``[B, C, H, W]`` -> ``[B, N]`` int64 in [0, 8^C)."""
        shade = F.avg_pool2d(self.preprocessing.levels(images).clamp(0, 1), self.patch_size).flatten(2)  # [B, C, N]
        level = (shade * LEVELS).long().clamp(max=LEVELS - 1)
        weights = torch.tensor([LEVELS**c for c in range(level.shape[1])], device=images.device)
        return (level * weights[:, None]).sum(dim=1)
