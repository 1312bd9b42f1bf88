"""Token merging of a model as a whole, see :mod:`saccade.nn.token_merging`."""

import copy
from typing import TypeVar

from torch import nn

from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.models.deit import DistilledViT
from saccade.models.dpt import DPT
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTEncoder
from saccade.nn.token_merging import MergingEncoder
from saccade.nn.transformer import Block

T = TypeVar("T", Predictor, nn.Module)


def merge_count(model: nn.Module) -> int:
    """Number of tokens merged in each block of a model; 0 without merging."""
    return max((module.count for module in model.modules() if isinstance(module, MergingEncoder)), default=0)


def merge_tokens(model: T, r: int) -> T:
    """A faster model for inference, whose encoder has r fewer tokens after each block (Bolya et al., arXiv 2210.09461).

    Tokens are merged, not dropped: similar patches are replaced by their mean, which attention weights by its number of
    patches. If all patches are needed at the end (mean pooling, depth, segmentation), merged tokens are spread over
    their patches again.

    Args:
        model: a ViT, a DeiT or a DPT on one, or a predictor of one; it is unchanged, and its weights are shared.
        r: number of tokens to merge in each block; 0 for none. At most half of the patches are merged in a block.

    Returns:
        the same kind; `saccade.record` records it as attention over all patches.

    Raises:
        ConfigError: r is negative, or the model has no encoder whose tokens can be merged.
    """
    if r < 0:
        raise ConfigError(f"r is the number of tokens to merge in a block: 0 or more, not {r}")
    if isinstance(model, Predictor):
        predictor = copy.copy(model)
        predictor.model = merge_tokens(model.model, r)
        return predictor
    if not isinstance(model, VisionTransformer | DistilledViT | DPT):
        raise ConfigError(f"token merging is for ViT, DeiT and DPT; a {type(model).__name__} has other tokens")
    # Parameters and buffers are shared with the original.
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    merging = copy.deepcopy(model, tensors)
    encoders = [module for module in merging.modules() if isinstance(module, ViTEncoder)]
    if not encoders:
        raise ConfigError("token merging needs a transformer, and the backbone of this DPT is none")
    for encoder in encoders:
        if encoder.rotary is not None or encoder.config.pad:
            kind = "rotary positions" if encoder.rotary is not None else "padded images"
            raise ConfigError(f"token merging does not fit {kind}: a merged token has no single position")
        blocks = [block for block in encoder.blocks if isinstance(block, Block)]
        encoder.blocks = MergingEncoder(blocks, r, encoder.config.num_prefix)  # type: ignore[assignment]
    return merging
