"""Weight tying: one table embeds tokens and predicts them (Press and Wolf, arXiv 1608.05859)."""

from typing import Any

import torch
from torch import Tensor, nn


class TiedLinear(nn.Linear):
    """Logits over a vocabulary from the table of an embedding: ``[..., D]`` -> ``[..., V]``.

    ``weight`` is the embedding's parameter itself. A state dict holds it once, under the embedding's name.

    Args:
        embedding: the table ``[V, D]``.
        bias: whether each token has a bias, 0 at the start.
    """

    def __init__(self, embedding: nn.Embedding, bias: bool = True):
        super().__init__(embedding.embedding_dim, embedding.num_embeddings, bias, device="meta")
        self.weight = embedding.weight
        if bias:
            self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings, device=embedding.weight.device))

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.pop(f"{prefix}weight", None)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        missing_keys: list[str] = args[2]
        if f"{prefix}weight" in missing_keys:
            missing_keys.remove(f"{prefix}weight")
