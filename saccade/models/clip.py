"""CLIP: images and texts in one space (Radford et al., arXiv 2103.00020).

An image encoder and a text encoder each end in a vector of the same width. The contrastive loss makes the vector of an
image nearest to that of its own caption; the temperature of the loss is learned too. A class is then a text: "a photo
of a cat".

B images, T texts, L tokens of a text, W width of the text encoder, E width of the common space.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.backbone import WithBackbone
from saccade.models.clip_resnet import ClipResNetConfig
from saccade.models.model import FeatureMap, LayerGroups, Model, block_groups, example_tokens
from saccade.models.resnet import ResNetConfig
from saccade.models.vit_encoder import ViTConfig
from saccade.models.zoo import build
from saccade.nn.masks import causal_mask
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig, Encoder, masked_mean

LARGEST_SCALE = 100.0  # of the cosines: temperatures below 0.01 made training unstable


@dataclass(frozen=True)
class TextConfig:
    """The text encoder: a causal transformer; or, for few captions, a bag of words (depth 0 and pooling "mean").

    Attributes:
        block: of the encoder.
        depth: number of blocks.
        vocab_size: tokens; the last of them is the end of a text.
        context_length: maximum number of tokens of a text, with its begin and end tokens.
        pooling: the output for a text: its end token, which attends to all others, or the mean of its tokens.
    """

    block: BlockConfig
    depth: int
    vocab_size: int = 49408
    context_length: int = 77
    pooling: Literal["end", "mean"] = "end"

    def __post_init__(self) -> None:
        if not self.depth and self.pooling == "end":
            raise ValueError("without blocks the end token attends to no other: pooling must be mean")


@dataclass(frozen=True)
class CLIPConfig(WithBackbone):
    """An image encoder and a text encoder.

    Attributes:
        backbone, backbone_config: the image encoder: any backbone, OpenAI's are "vit" and "clip_resnet".
        text: the text encoder.
        embed_dim: E.
    """

    backbone_config: Any
    text: TextConfig
    embed_dim: int
    backbone: str = "vit"
    num_classes: int = 0


class ClipOutput(NamedTuple):
    """Unit vectors of images and texts, and the factor of their cosines."""

    image: Tensor  # [B, E]
    text: Tensor  # [T, E]
    scale: Tensor  # [], at most 100

    @property
    def logits(self) -> Tensor:
        """Similarity of each image with each text: ``[B, T]``."""
        return self.scale * self.image @ self.text.T


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

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.token_embed(tokens) + self.pos_embed[: tokens.shape[1]])
        x = self.norm(self.blocks(x, mask=causal_mask(tokens.shape[1], device=tokens.device)).tokens)
        end = tokens.argmax(dim=-1)  # the largest token
        if self.config.pooling == "mean":
            return masked_mean(x, torch.arange(tokens.shape[1], device=x.device) <= end[:, None])
        return x[torch.arange(len(x), device=x.device), end]


class CLIP(Model):
    """``net(images [B, C, H, W], tokens [T, L])`` -> :class:`ClipOutput`."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        self.config = config
        self.backbone = build(config.backbone, config.backbone_config.to_dict())
        width = self.backbone.num_features
        self.image_proj: nn.Module = nn.Identity()  # a ResNet's attention pool ends in the common space itself
        if config.backbone != "clip_resnet":
            self.image_proj = nn.Linear(width, config.embed_dim, bias=False)
            nn.init.normal_(self.image_proj.weight, std=width**-0.5)
        self.num_features = config.embed_dim
        self.position_names = tuple(f"backbone.{name}" for name in self.backbone.position_names)
        self.text = TextTower(config.text)
        self.text_proj = nn.Linear(config.text.block.embed_dim, config.embed_dim, bias=False)
        nn.init.normal_(self.text_proj.weight, std=config.text.block.embed_dim**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images: Tensor, tokens: Tensor) -> ClipOutput:
        """Embed every image and every text.

        Args:
            images: normalised by the checkpoint's preprocessing.
            tokens: ``[T, L]`` from the tokenizer; zeros after the end token.
        """
        scale = self.logit_scale.exp().clamp(max=LARGEST_SCALE)
        image, text = self.encode_image(images), self.encode_text(tokens)
        return ClipOutput(F.normalize(image, dim=-1), F.normalize(text, dim=-1), scale)

    def encode_image(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, E]``, not normalised."""
        return self.image_proj(self.backbone.embed(images))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """``[T, L]`` -> ``[T, E]``, not normalised."""
        return self.text_proj(self.text(tokens))

    def embed(self, images: Tensor) -> Tensor:
        return self.encode_image(images)

    def layer_groups(self) -> LayerGroups:
        """Both encoders side by side, aligned at their outputs."""
        text = self.text
        embeddings = (text.token_embed, text.pos_embed)
        towers = self.backbone.layer_groups(), block_groups(embeddings, text.blocks, [text.norm])
        groups: LayerGroups = [[] for _ in range(max(len(tower) for tower in towers))]
        for tower in towers:
            for group, part in zip(groups[len(groups) - len(tower) :], tower):
                group += part
        return groups

    def features(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The image encoder's maps."""
        return self.backbone.features(images)

    def example_inputs(self, batch_size: int = 1, image_size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        text = self.config.text
        tokens = example_tokens(batch_size, text.context_length, text.vocab_size, None)
        return *super().example_inputs(batch_size, image_size), tokens

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout | None:
        return self.backbone.token_layout(image_size)


#              width, depth, patch, text width, common width
VIT_SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "b32": (768, 12, 32, 512, 512),
    "b16": (768, 12, 16, 512, 512),
    "l14": (1024, 24, 14, 768, 768),
}


def clip_vit_config(size: str, image_size: int = 224) -> CLIPConfig:
    """OpenAI's: ``clip_vit_config("b32")`` has 151,277,313 parameters."""
    width, depth, patch, text_width, common = VIT_SIZES[size]
    backbone = ViTConfig(
        clip_block(width), depth, (image_size, image_size), (patch, patch), num_classes=0, input_norm=True
    )
    return CLIPConfig(backbone, TextConfig(clip_block(text_width), 12), common)


def clip_resnet_config(layers: int) -> CLIPConfig:
    """OpenAI's with ResNets: 50 or 101 layers."""
    depths, common = {50: ((3, 4, 6, 3), 1024), 101: ((3, 4, 23, 3), 512)}[layers]
    tower = ClipResNetConfig(depths, out_dim=common)
    return CLIPConfig(tower, TextConfig(clip_block(512), 12), common, "clip_resnet")


def clip_block(width: int) -> BlockConfig:
    """A block of either encoder: heads of 64 features, OpenAI's approximation of GELU."""
    return BlockConfig(width, width // 64, 4 * width, norm_eps=1e-5, activation="quick_gelu")


def clip_ti16_config() -> CLIPConfig:
    """A ViT-Ti/16, which may be pre-trained (``--init``), and a text encoder of the same width, for few captions."""
    block = BlockConfig(192, 3, 768)
    backbone = ViTConfig(block, 12, (224, 224), (16, 16), num_classes=0)
    return CLIPConfig(backbone, TextConfig(replace(block, norm_eps=1e-5), 4, 1024, 48), 192)


def clip_small_config() -> CLIPConfig:
    """For images of 64 pixels and a small vocabulary, trained from fresh weights; a ResNet learns faster on these than
    a ViT."""
    backbone = ResNetConfig("basic", (1, 1, 2), image_size=(64, 64), num_classes=0, width=32)
    block = BlockConfig(128, 4, 256, norm_eps=1e-5)
    return CLIPConfig(backbone, TextConfig(block, 3, 1024, 48), 128, "resnet")


# The named models of the catalogue.
clip_vit_b32_config = partial(clip_vit_config, "b32")
clip_vit_b16_config = partial(clip_vit_config, "b16")
clip_vit_l14_config = partial(clip_vit_config, "l14")
clip_vit_l14_336_config = partial(clip_vit_config, "l14", image_size=336)
clip_r50_config = partial(clip_resnet_config, 50)
clip_r101_config = partial(clip_resnet_config, 101)
