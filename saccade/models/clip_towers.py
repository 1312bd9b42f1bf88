"""The encoders of CLIP (Radford et al., arXiv 2103.00020) and SigLIP (Zhai et al., arXiv 2303.15343): the text
transformer, and the start of the image one.

T texts, L tokens of a text, W width of the text encoder.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from saccade.models.vit import SIZES, VisionTransformer
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.attention import MultiHeadAttention, zero_biases
from saccade.nn.masks import causal_mask
from saccade.nn.pooling import masked_mean
from saccade.nn.transformer import BlockConfig, Encoder


@dataclass(frozen=True)
class TextConfig:
    """The text encoder: a causal transformer (CLIP); one in which all tokens attend to all, padding included (SigLIP);
    or, for few captions, a bag of words (depth 0 and pooling "mean").

    Attributes:
        block: of the encoder.
        depth: number of blocks.
        vocab_size: number of tokens; with pooling "end" and "mean" the last of them is the end of a text.
        context_length: maximum number of tokens of a text, with its begin and end tokens.
        pooling: the output for a text: that of its end token, which attends to all others, the mean of its tokens, or
            the output of the last of `context_length` tokens, which may be padding.
        causal: whether a token attends only to itself and to those before it.
    """

    block: BlockConfig
    depth: int
    vocab_size: int = 49408
    context_length: int = 77
    pooling: Literal["end", "mean", "last"] = "end"
    causal: bool = True

    def __post_init__(self) -> None:
        if not self.depth and self.pooling != "mean":
            raise ValueError("without blocks the end token attends to no other: pooling must be mean")

    @property
    def fixed_length(self) -> bool:
        """Whether the output for a text depends on its padding, so that every text has `context_length` tokens."""
        return self.pooling == "last" or not self.causal

    def output_index(self, tokens: Tensor) -> Tensor:
        """The token whose output represents a text: ``[T, L]`` -> ``[T]``."""
        if self.pooling == "last":
            return torch.full_like(tokens[:, 0], tokens.shape[1] - 1)
        return tokens.argmax(dim=-1)  # the largest token

    def without_padding(self, tokens: Tensor) -> Tensor:
        """Texts ``[T, L]`` up to the last of their end tokens; unchanged if outputs depend on the padding."""
        return tokens if self.fixed_length else tokens[:, : int(tokens.argmax(dim=-1).max()) + 1]


def siglip_towers(size: str, patch_size: int, image_size: int, vocab_size: int) -> tuple[ViTConfig, TextConfig]:
    """Both encoders of Google's SigLIP and SigLIP 2, of the same width except for the giant's."""

    def block(name: str) -> tuple[BlockConfig, int]:
        embed_dim, depth, mlp_dim, num_heads = SIZES[name]
        return BlockConfig(embed_dim, num_heads, mlp_dim, activation="gelu_tanh"), depth

    sides = (image_size, image_size), (patch_size, patch_size)
    image = ViTConfig(
        *block(size), *sides, num_classes=0, class_token=False, prefix_positions=0, pooling="attention",
        crop=image_size % patch_size > 0, position_resampling="bicubic",
    )  # fmt: skip
    text = TextConfig(*block("so" if size == "gopt" else size), vocab_size, 64, pooling="last", causal=False)
    return image, text


class TextTower(nn.Module):
    """Tokens ``[T, L]`` -> one vector a text, ``[T, W]``."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.token_embed = nn.Embedding(config.vocab_size, dim)
        self.pos_embed = nn.Parameter(torch.empty(config.context_length, dim))
        self.dropout = nn.Dropout(config.block.dropout)
        self.blocks = Encoder(config.block, config.depth)
        self.norm = nn.LayerNorm(dim, config.block.norm_eps)
        nn.init.normal_(self.token_embed.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.01)
        into_stream = dim**-0.5 * (2 * max(config.depth, 1)) ** -0.5
        spreads = {
            "attn.qkv.weight": dim**-0.5, "attn.proj.weight": into_stream, "mlp.fc1.weight": (2 * dim) ** -0.5,
            "mlp.fc2.weight": into_stream,
        }  # fmt: skip
        for name, parameter in self.blocks.named_parameters():
            spread = spreads.get(name.split(".", 1)[1])
            if spread is not None:
                nn.init.normal_(parameter, std=spread)
        zero_biases(self.blocks, MultiHeadAttention)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.token_embed(tokens) + self.pos_embed[: tokens.shape[1]])
        mask = causal_mask(tokens.shape[1], device=tokens.device) if self.config.causal else None
        x = self.norm(self.blocks(x, mask=mask).tokens)
        end = self.config.output_index(tokens)
        if self.config.pooling == "mean":
            return masked_mean(x, torch.arange(tokens.shape[1], device=x.device) <= end[:, None])
        return x[torch.arange(x.shape[0], device=x.device), end]


def initialise_image_tower(vit: VisionTransformer) -> None:
    """Fresh weights as OpenAI's image encoder has them: tokens and positions from a normal of std D^-1/2, attention
    as in ``torch.nn.MultiheadAttention``, the patches' embedding and the MLPs as PyTorch's layers."""
    encoder, spread = vit.encoder, vit.config.block.embed_dim**-0.5
    tokens = (encoder.cls_token, encoder.registers, getattr(encoder.pos_embed, "table", None))
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.reset_parameters()
    for module in encoder.modules():
        if isinstance(module, MultiHeadAttention):
            nn.init.xavier_uniform_(module.qkv.weight)
    zero_biases(encoder, MultiHeadAttention)
    for token in tokens:
        if isinstance(token, nn.Parameter):
            nn.init.normal_(token, std=spread)
