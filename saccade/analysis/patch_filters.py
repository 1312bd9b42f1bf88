"""What the patch embedding has learned to see: the principal components of its filters.

Figure 7 of Dosovitskiy et al., arXiv 2010.11929: they look like a basis for what is in a patch.
"""

from dataclasses import dataclass

import numpy as np
import torch

from saccade.models.model import Model


@dataclass(frozen=True)
class PatchFilters:
    """``filters [K, p, q, C]``, each scaled to [0, 1] around 0.5; ``variance [K]``, the share of each in the whole."""

    filters: np.ndarray
    variance: np.ndarray


def patch_filters(model: Model, count: int = 28) -> PatchFilters | None:
    """The first `count` principal components; None for a model whose patches are not cut from the image itself."""
    encoder = getattr(model, "encoder", model)
    embedding = getattr(encoder, "patch_embed", None)
    if embedding is None or embedding.proj.in_channels != model.config.in_channels:
        return None
    weight = embedding.proj.weight.detach().float().cpu()  # [D, C, p, q]
    flat = weight.flatten(1)
    _, strengths, components = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)
    count = min(count, len(components))
    filters = components[:count].unflatten(1, weight.shape[1:]).permute(0, 2, 3, 1)  # [K, p, q, C]
    largest = filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    variance = strengths**2 / (strengths**2).sum()
    return PatchFilters((0.5 + 0.5 * filters / largest).numpy(), variance[:count].numpy())
