"""Attention masks: which query may attend to which key. Masks are boolean, True where it may, and broadcast to [B,
heads, Q, K]."""

import torch
from torch import Tensor


def padding_mask(valid: Tensor) -> Tensor:
    """Hide padded keys: ``valid [B, K]`` (True for a real token) -> ``[B, 1, 1, K]``, the same for every query."""
    if valid.dtype != torch.bool or valid.ndim != 2:
        raise ValueError(f"valid must be a boolean tensor [B, K], not {valid.dtype} {list(valid.shape)}")
    return valid[:, None, None, :]


def key_padding_mask(valid: Tensor | None, num_prefix: int = 0) -> Tensor | None:
    """:func:`padding_mask` for tokens that may be padding, after prefix tokens that never are.

    Args:
        valid: ``[B, K]`` boolean; None if nothing is padded, in which case the result is None.
        num_prefix: P, number of prefix tokens in front.

    Returns:
        ``[B, 1, 1, P + K]``.
    """
    if valid is None:
        return None
    return padding_mask(torch.cat((valid.new_ones(valid.shape[0], num_prefix), valid), dim=1))


def lengths_mask(lengths: Tensor, num_keys: int) -> Tensor:
    """Hide keys past the end of each sequence: ``lengths [B]`` -> ``[B, 1, 1, num_keys]``."""
    return padding_mask(torch.arange(num_keys, device=lengths.device) < lengths[:, None])


def causal_mask(num_queries: int, num_keys: int | None = None, device: torch.device | None = None) -> Tensor:
    """A query attends to itself and to earlier tokens: ``[Q, K]``.

    With more keys than queries (a key-value cache) the last query is aligned with the last key::

        3 queries, 3 keys    1 query, 3 keys
        1 . .
        1 1 .
        1 1 1                1 1 1
    """
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys, dtype=torch.bool, device=device).tril(num_keys - num_queries)


def combine_masks(*masks: Tensor | None) -> Tensor | None:
    """A query may see a key only where every mask allows it. ``None`` allows everything."""
    combined = None
    for mask in masks:
        if mask is not None:
            combined = mask if combined is None else combined & mask
    return combined
