"""Which positions a model takes for neighbours: cosine similarity of position embeddings.

Figure 7 of Dosovitskiy et al., arXiv 2010.11929.
"""

import numpy as np
import torch
import torch.nn.functional as F

from saccade.models.model import Model


@torch.no_grad()
def position_similarity(model: Model) -> np.ndarray | None:
    """``[h, w, h, w]`` in [-1, 1]: each place of the grid with every other; None for a model without positions."""
    encoder = getattr(model, "encoder", model)
    positions = getattr(encoder, "pos_embed", None)
    if positions is None:
        return None
    table = positions(positions.grid)[0, positions.num_prefix :].float().cpu()
    unit = F.normalize(table, dim=1)
    height, width = positions.grid
    return (unit @ unit.T).reshape(height, width, height, width).numpy()
