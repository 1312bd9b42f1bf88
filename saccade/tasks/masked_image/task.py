"""Masked image modelling: predict masked patches from the visible ones, without labels.

    pixels     mean squared error of the masked patches' pixels            (MAE; He et al., arXiv 2111.06377)
    colours    cross-entropy of the masked patches' mean colour, in 3 bits a channel
               (masked patch prediction; Dosovitskiy et al., arXiv 2010.11929, appendix B.1.2)

The loss is the mean over the masked patches of the batch.

B images, N patches, p x q pixels of a patch, C channels, K colours.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.attention_groups import AttentionGroup, Axis
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler, remeasure
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, Task, image_batch
from saccade.errors import ConfigError
from saccade.models.mae import MaskedAutoencoder
from saccade.nn.patches import Size, patchify, unpatchify
from saccade.tasks.masked_image.metrics import MaskedImageMetrics
from saccade.tasks.masked_image.results import Reconstruction, to_pixels

LEVELS = 8  # of each channel of a colour
GREY = 0.5  # level of a masked patch in pictures
VARIANCE_EPS = 1e-6  # of MAE's normalised pixels


class MaskedOutput(Protocol):
    """The output of a masked model."""

    @property
    def pred(self) -> Tensor: ...  # [B, N, p*q*C] pixels, or [B, N, K] logits

    @property
    def mask(self) -> Tensor: ...  # [B, N] boolean, True for masked patches

    @property
    def visible(self) -> Tensor | None: ...  # [B, V] the patches that the encoder reads; None where it reads all


class MaskingModel(Protocol):
    """A model that masks patches."""

    def num_masked(self, num_patches: int) -> int: ...


class MaskedImageTask(IndependentParts):
    """Prediction of masked patches.

    Batches to train on bring `noise` ``[B, N]``, by which the model masks patches; in evaluation the model masks the
    same evenly spread patches in every image.

    Args:
        patch_size: (p, q) in pixels.
        preprocessing: how pixels were normalised.
    """

    name = "masked_image"
    labels: tuple[str, ...] = ()
    better: Mapping[str, Direction] = {"loss": "lower"}
    class_targets: tuple[str, ...] = ()
    smallest_loss = 0.0
    target_kind: str  # what a model predicts of a patch

    def __init__(self, patch_size: Size, preprocessing: Preprocessing):
        self.patch_size, self.preprocessing = patch_size, preprocessing

    @abstractmethod
    def errors(self, outputs: MaskedOutput, images: Tensor) -> Tensor:
        """The error of each patch, masked or not: ``[B, N]``."""

    @abstractmethod
    def levels(self, outputs: MaskedOutput, images: Tensor) -> Tensor:
        """The predicted pixels of each patch, ``[B, N, p*q*C]`` from black 0 to white 1."""

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        rows, columns = grid_of(batch.inputs, self.patch_size)
        num_masked = cast(MaskingModel, model).num_masked(rows * columns)
        return {"masked patches": torch.tensor(len(batch.names) * num_masked)}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        assert isinstance(batch.labels, dict)
        outputs: MaskedOutput = model(batch.inputs, batch.labels["noise"])
        total = (self.errors(outputs, batch.inputs) * outputs.mask).sum()
        return LossTerms({"reconstruction": LossTerm(total, "masked patches")})

    def eval_step(self, model: nn.Module, batch: Batch) -> MaskedOutput:
        masked = batch.labels.get("masked") if isinstance(batch.labels, dict) else None
        return model(batch.inputs) if masked is None else model(batch.inputs, masked=masked)

    def with_masked(self, batch: Batch, masked: Tensor) -> Batch:
        """The batch with these patches masked in evaluation instead of evenly spread ones: ``[B, N]`` boolean, the same
        number in every image."""
        assert isinstance(batch.labels, dict)
        return batch._replace(labels=batch.labels | {"masked": masked})

    def collect(self, outputs: MaskedOutput, batch: Batch) -> dict[str, Tensor]:
        """``error [N]``, the sum over each image's masked patches, and ``num_masked [N]``."""
        return {"error": self.masked_error(outputs, batch.inputs), "num_masked": outputs.mask.sum(dim=1)}

    def masked_error(self, outputs: MaskedOutput, images: Tensor) -> Tensor:
        """The sum of the errors of each image's masked patches: ``[B]``."""
        return (self.errors(outputs, images) * outputs.mask).sum(dim=1).float()

    def targets(self) -> str:
        """Description of the targets."""
        (height, width), (rows, columns) = self.patch_size, self.preprocessing.size
        scale = ", ".join(f"{value:.3g}" for value in (*self.preprocessing.mean, *self.preprocessing.std))
        places = f"patches of {height} x {width} in images of {rows} x {columns}"
        return f"{self.target_kind} of {places} (mean and std {scale})"

    def incomparable_metrics(self, other: Task) -> Mapping[str, str]:
        """The loss, if the targets differ."""
        assert isinstance(other, MaskedImageTask)
        if self.targets() == other.targets():
            return {}
        return {"loss": f"one model predicts {self.targets()}, the other {other.targets()}"}

    def measure(self, collected: Collected) -> MaskedImageMetrics:
        if not len(collected):
            raise ConfigError("there are no images to measure on")
        loss = collected["error"].double().sum() / collected["num_masked"].sum().clamp(min=1)
        return MaskedImageMetrics(loss.item(), len(collected))

    def resampler(self, collected: Collected) -> Resampler:
        return remeasure(self.measure, collected)

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        """No rows: the predictions are pictures."""
        return []

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        return image_batch(inputs, sizes, names)

    def attention_groups(self, model: nn.Module, outputs: MaskedOutput, batch: Batch) -> list[AttentionGroup]:
        """Of a masked autoencoder: the visible patches in the encoder, all patches in the decoder."""
        if not isinstance(model, MaskedAutoencoder) or outputs.visible is None:
            return []
        layout = model.token_layout((batch.inputs.shape[-2], batch.inputs.shape[-1]))
        first = torch.zeros(1, dtype=torch.long)
        read = torch.cat((first, outputs.visible[0].cpu() + layout.num_prefix))
        visible, every = Axis("visible patches", ("CLS",), layout, read), Axis("patches", ("CLS",), layout)
        return [
            AttentionGroup("encoder", "encoder", ("encoder.*",), visible, visible),
            AttentionGroup("self", "decoder", ("decoder_blocks.*",), every, every),
        ]

    def decode(self, outputs: MaskedOutput, batch: Batch) -> list[Reconstruction]:
        """Each image with its masked patches grey, and with these reconstructed."""
        images = batch.inputs
        original = patchify(self.preprocessing.levels(images), self.patch_size)
        mask = outputs.mask[..., None]
        masked = torch.where(mask, torch.full_like(original, GREY), original)
        reconstruction = torch.where(mask, self.levels(outputs, images), original)
        grid = grid_of(images, self.patch_size)
        pictures = [to_pixels(unpatchify(p, grid, self.patch_size).float().cpu().numpy())
                    for p in (original, masked, reconstruction)]  # fmt: skip
        num_masked = outputs.mask.sum(dim=1).tolist()
        errors = self.masked_error(outputs, images).tolist()
        return [
            Reconstruction(name, error / max(count, 1), count, grid[0] * grid[1], *views)
            for name, error, count, *views in zip(batch.names, errors, num_masked, *pictures)
        ]


class MaskedPixelsTask(MaskedImageTask):
    """Reconstruct the pixels.

    Args:
        patch_size: (p, q) in pixels.
        preprocessing: how pixels were normalised.
        norm_pixels: whether the target of each patch is its pixels normalised to mean 0 and variance 1: the pattern of
            a patch, not its brightness.
    """

    def __init__(self, patch_size: Size, preprocessing: Preprocessing, norm_pixels: bool = True):
        super().__init__(patch_size, preprocessing)
        self.norm_pixels = norm_pixels
        self.target_kind = "normalised pixels" if norm_pixels else "pixels"

    def errors(self, outputs: MaskedOutput, images: Tensor) -> Tensor:
        """Mean squared error of each patch: ``[B, N]``."""
        target = patchify(images, self.patch_size)
        if self.norm_pixels:
            variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
            target = (target - mean) / (variance + VARIANCE_EPS).sqrt()
        return (outputs.pred.float() - target).square().mean(dim=-1)

    def levels(self, outputs: MaskedOutput, images: Tensor) -> Tensor:
        """With normalised pixels the brightness and contrast of each patch are those of the true one."""
        pred = outputs.pred.float()
        if self.norm_pixels:
            variance, mean = torch.var_mean(patchify(images, self.patch_size), dim=-1, keepdim=True)
            pred = pred * (variance + VARIANCE_EPS).sqrt() + mean
        pixels = unpatchify(pred, grid_of(images, self.patch_size), self.patch_size)
        return patchify(self.preprocessing.levels(pixels), self.patch_size)


class MaskedColoursTask(MaskedImageTask):
    """Predict the mean colour of each patch, one of 512 (of 8 in grey images)."""

    target_kind = "mean colours"

    def errors(self, outputs: MaskedOutput, images: Tensor) -> Tensor:
        """Cross-entropy of each patch, in nats: ``[B, N]``."""
        return F.cross_entropy(outputs.pred.float().transpose(1, 2), self.colours(images), reduction="none")

    def colours(self, images: Tensor) -> Tensor:
        """The number of each patch's mean colour: ``[B, C, H, W]`` -> ``[B, N]`` int64 in [0, 8^C)."""
        mean = F.avg_pool2d(self.preprocessing.levels(images).clamp(0, 1), self.patch_size).flatten(2)  # [B, C, N]
        level = (mean * LEVELS).long().clamp(max=LEVELS - 1)
        weights = torch.tensor([LEVELS**c for c in range(level.shape[1])], device=images.device)
        return (level * weights[:, None]).sum(dim=1)

    def levels(self, outputs: MaskedOutput, images: Tensor) -> Tensor:
        """Patches of the most probable colour."""
        number = outputs.pred.argmax(dim=-1)
        colour = torch.stack([(number // LEVELS**c % LEVELS + 0.5) / LEVELS for c in range(images.shape[1])], dim=-1)
        return colour.repeat(1, 1, self.patch_size[0] * self.patch_size[1])


def grid_of(images: Tensor, patch_size: Size) -> tuple[int, int]:
    """Rows and columns of patches in images ``[B, C, H, W]``."""
    return images.shape[-2] // patch_size[0], images.shape[-1] // patch_size[1]
