"""What a model that was pre-trained by hiding patches says of them, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade.inference.predictor import Predictor
from saccade.models.mae import MaskedAutoencoder
from saccade.models.masked_vit import COLOURS, MaskedViT
from saccade.nn.patches import patchify, unpatchify

GREY = 0.5  # of a hidden patch


@dataclass(frozen=True)
class Painting:
    """One image, ``[H, W, 3]`` uint8 each: with patches hidden, with these painted by the model, and whole."""

    name: str
    seen: np.ndarray
    painted: np.ndarray
    image: np.ndarray


@torch.inference_mode()
def paint(predictor: Predictor, images: Sequence[Image.Image], names: Sequence[str]) -> list[Painting]:
    """Hide patches, always the same pattern, and let the model say what they show.

    Raises:
        TypeError: the model was not pre-trained by hiding patches.
    """
    model = predictor.model
    inputs = torch.stack([predictor.prepare(image) for image in images])
    outputs = model(inputs.to(predictor.device))
    levels = predictor.preprocess.levels(inputs)
    if isinstance(model, MaskedAutoencoder):
        said = _pixels(predictor, model, inputs, outputs.patches.cpu())
    elif isinstance(model, MaskedViT):
        said = _colours(model, outputs.patches.cpu())
    else:
        raise TypeError(f"{type(model).__name__} hides no patches")
    patch_size = model.config.patch_size
    grid = (inputs.shape[-2] // patch_size[0], inputs.shape[-1] // patch_size[1])
    whole, hidden = patchify(levels, patch_size), outputs.hidden.cpu()[..., None]

    def pictures(patches: Tensor) -> np.ndarray:
        pixels = unpatchify(patches, grid, patch_size).clamp(0, 1).permute(0, 2, 3, 1)
        return (pixels.expand(*pixels.shape[:3], 3) * 255).round().byte().numpy()

    parts = (torch.where(hidden, torch.full_like(whole, GREY), whole), torch.where(hidden, said, whole), whole)
    return [Painting(name, *rows) for name, *rows in zip(names, *map(pictures, parts))]


def _pixels(predictor: Predictor, model: MaskedAutoencoder, inputs: Tensor, patches: Tensor) -> Tensor:
    """Painted patches ``[B, N, p*q*C]`` as levels from black 0 to white 1."""
    if model.config.norm_pixels:  # it was asked for the pattern: brightness and contrast are the true patch's
        true = patchify(inputs, model.config.patch_size)
        variance, mean = torch.var_mean(true, dim=-1, keepdim=True)
        patches = patches * (variance + 1e-6).sqrt() + mean
    grid = (inputs.shape[-2] // model.config.patch_size[0], inputs.shape[-1] // model.config.patch_size[1])
    images = unpatchify(patches, grid, model.config.patch_size)
    return patchify(predictor.preprocess.levels(images), model.config.patch_size)


def _colours(model: MaskedViT, logits: Tensor) -> Tensor:
    """The likeliest colour of each patch ``[B, N, K]`` as its pixels ``[B, N, p*q*C]``, levels from 0 to 1."""
    number, channels = logits.argmax(dim=-1), model.config.in_channels
    shade = torch.stack([(number // COLOURS**c % COLOURS + 0.5) / COLOURS for c in range(channels)], dim=-1)
    return shade.repeat(1, 1, model.config.patch_size[0] * model.config.patch_size[1])
