"""Attention flow: how much of each input token can reach an output token, as a maximum flow.

Abnar & Zuidema, arXiv 2005.00928: the tokens of all layers are the nodes of a graph, the attention weights (mean over
heads, half identity for the residual path) the capacities of its edges. Rollout multiplies weights along paths; the
flow through a path is limited by its smallest capacity, so that a token cannot pass on more than it receives.

L layers, N tokens.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

UNIT = 2**24  # capacities are integers: the attention of a row, which sums to 1, in units of 2⁻²⁴


def attention_flow(weights: Sequence[Tensor], query: int, *, residual: float = 0.5) -> Tensor:
    """The maximum flow from each input token to one output token.

    Args:
        weights: attention weights of each layer from first to last, ``[H, N, N]`` for one image, rows sum to 1.
        query: the output token.
        residual: fraction of a token in the residual path, in [0, 1).

    Returns:
        ``[N]``, each in [0, 1]. The flows of different inputs share edges, so they do not sum to 1.

    Raises:
        ValueError: there are no layers, their attention is not square, or there is no such token.
    """
    if not weights:
        raise ValueError("a flow needs the attention of at least one layer")
    if not 0 <= residual < 1:
        raise ValueError(f"residual must be in [0, 1), not {residual}")
    count = weights[0].shape[-1]
    for layer in weights:
        if layer.ndim != 3 or layer.shape[1:] != (count, count):
            raise ValueError(f"a flow needs whole self-attention [H, N, N], not {list(layer.shape)}")
    if not 0 <= query < count:
        raise ValueError(f"there is no token {query}: they are 0 to {count - 1}")
    depth = len(weights)
    tails, heads, capacities = [], [], []
    for number, layer in enumerate(weights):
        mixed = (1 - residual) * layer.double().mean(dim=0).cpu().numpy() + residual * np.eye(count)
        integers = np.rint(mixed * UNIT).astype(np.int32)
        to, source = np.nonzero(integers)  # row: the token after the layer; column: the token before it
        tails.append(number * count + source)
        heads.append((number + 1) * count + to)
        capacities.append(integers[to, source])
    size = (depth + 1) * count
    graph = coo_matrix(
        (np.concatenate(capacities), (np.concatenate(tails), np.concatenate(heads))), shape=(size, size)
    ).tocsr()
    sink = depth * count + query
    flows = [maximum_flow(graph, source, sink).flow_value for source in range(count)]
    return torch.tensor(flows, dtype=torch.float64).div(UNIT).float()
