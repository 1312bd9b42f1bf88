"""Positions for one image size: resampled once, and added to the prefix tokens and to the bias of the patches once.

A recording sees the same attention and the same tokens; another image size is an error.

P prefix tokens, N patches, D width.
"""

import torch
from torch import Tensor, nn

from saccade.models.hybrid import HybridViT
from saccade.models.vit_encoder import ViTEncoder
from saccade.nn.patches import Size


class TablePositions(nn.Module):
    """A table ``[1, N, D]`` for one grid of patches."""

    num_prefix = 0

    def __init__(self, table: Tensor, grid: Size):
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(table.clone())

    def forward(self, grid: Size) -> Tensor:
        if grid != self.grid:
            raise ValueError(f"this model is optimised for {self.grid} patches, not {grid}: optimise it for that size")
        return self.table


@torch.no_grad()
def fix_positions(model: nn.Module, image_size: Size) -> nn.Module:
    """Change the encoders of a model in place for images of (H, W) pixels, and return the model."""
    # the encoder of a hybrid receives maps of another size than the image
    behind_stems = {id(m.encoder) for m in model.modules() if isinstance(m, HybridViT)}
    for encoder in model.modules():
        if not isinstance(encoder, ViTEncoder) or encoder.pos_embed is None or encoder.patch_embed.pad:
            continue
        if id(encoder) in behind_stems:
            continue
        grid = encoder.patch_embed.grid(image_size)
        table, count = encoder.pos_embed(grid), encoder.pos_embed.num_prefix
        if count:
            prefix = [t for t in (encoder.cls_token, encoder.registers) if t is not None]
            start = 0
            for token in prefix:
                stop = min(start + token.shape[1], count)
                if stop > start:
                    token[:, : stop - start] += table[:, start:stop]
                start += token.shape[1]
        patches = table[:, count:]
        if encoder.patch_embed.proj.bias is not None:
            patches = patches + encoder.patch_embed.proj.bias
            encoder.patch_embed.proj.bias = None
        encoder.set_submodule("pos_embed", TablePositions(patches, grid))
    return model
