"""Attention rollout: the share of each input token in each output token, through all layers.

Abnar & Zuidema, arXiv 2005.00928: mean over heads, half identity for the residual path, product over the layers. It
ignores values and MLPs, so it shows possible sources of information, not how the information is used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def attention_rollout(weights: Sequence[Tensor], *, residual: float = 0.5) -> Tensor:
    """Multiply the attention of every layer.

    Args:
        weights: attention weights of each layer from first to last, ``[B, H, N, N]``, rows sum to 1.
        residual: fraction of a token in the residual path, in [0, 1).

    Returns:
        ``[B, N, N]``: rows (output tokens) that sum to 1 over the input tokens.
    """
    if not weights:
        raise ValueError("a rollout needs the attention of at least one layer")
    if not 0 <= residual < 1:
        raise ValueError(f"residual must be in [0, 1), not {residual}")
    result = None
    for layer in weights:
        if layer.ndim != 4 or layer.shape[2] != layer.shape[3]:
            raise ValueError(f"a rollout needs whole self-attention [B, H, N, N], not {list(layer.shape)}")
        mixed = (1 - residual) * layer.mean(dim=1) + residual * torch.eye(layer.shape[3], device=layer.device)
        result = mixed if result is None else mixed @ result
    assert result is not None
    return result
